"""The bundled coding tasks."""

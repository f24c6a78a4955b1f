"""One trial of a stage, from its records."""

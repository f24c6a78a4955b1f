"""The HTTP server in front of the engine, and the text of its replies."""

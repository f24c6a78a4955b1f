"""A proxy between a coding agent and its model that keeps what goes by: bytes first, sense afterwards, then a trace."""

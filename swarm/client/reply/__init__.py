"""The bytes of a streamed reply, read."""

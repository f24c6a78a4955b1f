"""Map tiles, served from memory where they fit."""

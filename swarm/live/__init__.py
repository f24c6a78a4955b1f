"""A run as it goes on, on the terminal."""

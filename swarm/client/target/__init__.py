"""Facts about a target, and the numbers that it reports about itself."""

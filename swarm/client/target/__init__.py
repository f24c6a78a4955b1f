"""What a target is, and what it reports about itself."""

"""What to run: the schema of scenario files, and their loading."""

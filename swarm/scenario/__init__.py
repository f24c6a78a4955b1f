"""The schema of scenario files, which say what to run, and their loading."""

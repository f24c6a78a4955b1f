"""Runs compared with each other, and checked against a baseline."""

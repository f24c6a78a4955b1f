"""Turns away clients that send too much."""

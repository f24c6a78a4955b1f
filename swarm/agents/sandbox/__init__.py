"""Walls around code that nobody vouches for."""

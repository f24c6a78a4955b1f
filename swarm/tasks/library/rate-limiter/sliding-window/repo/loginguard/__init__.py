"""Slows down people who guess passwords."""

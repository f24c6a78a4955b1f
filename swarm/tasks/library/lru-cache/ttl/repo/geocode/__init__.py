"""Coordinates of addresses, remembered for a while."""

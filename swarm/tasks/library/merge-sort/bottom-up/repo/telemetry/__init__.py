"""Readings of sensors, brought into order."""

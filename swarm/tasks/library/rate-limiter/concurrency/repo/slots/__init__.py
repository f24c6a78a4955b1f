"""Limits how many reports are rendered at a time."""

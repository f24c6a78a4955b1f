"""Stages, targets, and the composition root."""

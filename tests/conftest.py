"""Puts this folder on the path, for what several packages of tests share."""

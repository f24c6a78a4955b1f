"""The cart of a small web shop."""

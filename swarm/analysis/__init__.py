"""Pure functions from records to results."""

"""The windows of a soak, and what changed while it ran."""

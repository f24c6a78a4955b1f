"""A stage: which one is next, its agents, its target, and what ends it."""

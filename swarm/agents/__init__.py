"""The closed loop of a coding agent."""

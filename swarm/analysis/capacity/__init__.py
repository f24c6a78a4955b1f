"""The search for the maximum number of agents that meet an SLO: judging a level, choosing the next, the answer."""

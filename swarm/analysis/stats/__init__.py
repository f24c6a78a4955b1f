"""Statistics that know nothing of runs: percentiles, intervals, trends, scaling."""

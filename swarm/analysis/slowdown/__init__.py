"""Why an agent among many is slower than one alone."""

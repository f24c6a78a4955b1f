"""The results of a stage, from its trials."""

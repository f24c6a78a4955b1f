"""A run as Prometheus sees it: live at `/metrics`, and afterwards as OpenMetrics text of the run's files.

Both come from one place: `Metrics` takes records and gives families of series, `text` writes them, `endpoint` serves
them while a run lasts, and `replay` writes them down for a run that is over.
"""

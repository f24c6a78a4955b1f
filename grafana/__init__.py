"""The Grafana dashboards, written by code: `python -m grafana` makes the JSON files in `grafana/dashboards/`."""

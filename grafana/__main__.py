"""Writes `grafana/dashboards/*.json`."""

from pathlib import Path

from grafana import live, models, nights
from grafana.panels import to_json

FOLDER = Path(__file__).parent / "dashboards"
DASHBOARDS = {"live": live.dashboard, "models": models.dashboard, "nights": nights.dashboard}


def main() -> None:
    for name, build in DASHBOARDS.items():
        (FOLDER / f"{name}.json").write_text(to_json(build()), encoding="utf-8")


if __name__ == "__main__":
    main()

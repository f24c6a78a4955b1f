"""The committed dashboards, and their queries as Grafana would ask them."""

import json
import math
import re
from pathlib import Path

from prometheus import Prometheus

ROOT = Path(__file__).parents[2]
RATE_INTERVAL = "5s"


def dashboard(name: str) -> dict:
    return json.loads((ROOT / f"grafana/dashboards/{name}.json").read_text())


def panels(board: dict) -> list[dict]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def resolve(expr: str, variables: dict[str, str]) -> str:
    return re.sub(r"\$(\w+)", lambda found: variables[found[1]], expr)


def variables_of(board: dict, prometheus: Prometheus, seconds: float) -> dict[str, str]:
    """The values that Grafana starts with: of queries all of them, of choices the first."""
    found = {"__rate_interval": RATE_INTERVAL, "__range": f"{round(seconds)}s"}
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            values = prometheus.label_values(resolve(variable["query"], found))
            assert values, f"{variable['name']}: {variable['query']} finds nothing"
            found[variable["name"]] = f"({'|'.join(values)})"
        elif variable["type"] == "custom":
            found[variable["name"]] = variable["current"]["value"]
    return found


def numbers(series: list[dict]) -> list[float]:
    points = [point for one in series for point in one.get("values", [one.get("value")])]
    return [number for _, text in points if not math.isnan(number := float(text))]


def answers(board: dict, prometheus: Prometheus, span: tuple[float, float], step: float) -> dict[str, list[float]]:
    """Every query of every panel: "panel, legend" -> the numbers it gives."""
    variables = variables_of(board, prometheus, span[1] - span[0])
    found = {}
    for panel in panels(board):
        for target in panel["targets"]:
            expr = resolve(target["expr"], variables)
            once = target.get("instant")
            series = prometheus.instant(expr, span[1]) if once else prometheus.range(expr, *span, step)
            found[f"{panel['title']}, {target['legendFormat']}"] = numbers(series)
    return found

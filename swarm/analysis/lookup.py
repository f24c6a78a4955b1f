"""A number of a stage's results by the name that thresholds and comparisons give it."""

from typing import Any

from swarm.analysis.distribution import INFINITY


def lookup(stage: dict[str, Any], key: str, stat: str | None = None) -> float | None:
    """The value of `key` (such as "contention") or of its statistic ("ttft_s", "p95"); None where it was not measured.

    Keys and statistics are those of `swarm.scenario.thresholds`; KeyError for others.
    """
    if key == "errors":
        return None if stage["window_s"] is None else sum(stage["errors"].values())
    if key == "error_adjusted.e2e_s":
        found = stage["error_adjusted"]["e2e_s"]
    else:
        blocks = (stage, stage["achieved"], stage["throughput"], stage["latency"], stage["client"])
        found = next(block for block in blocks if key in block)[key]
    value = found if stat is None else found[stat]
    return float("inf") if value == INFINITY else value

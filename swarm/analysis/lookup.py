"""A number of a stage's results by the name that the catalogue gives it."""

from typing import Any

from swarm.analysis.distribution import INFINITY
from swarm.catalogue import Number, Stat, metric_of


def lookup(stage: dict[str, Any], key: str, stat: Stat = None) -> float | None:
    """The value of `key` (such as "contention") or of its statistic ("ttft_s", "p95"); None where it was not measured.

    Raises KeyError for what the catalogue does not have.
    """
    metric = metric_of(key)
    block = stage[metric.block] if metric.block else stage
    found = block[key.rpartition(".")[2]]
    if stat is not None:
        found = found[stat]
    elif isinstance(found, dict):  # counts by kind
        found = None if stage["window_s"] is None else sum(found.values())
    return float("inf") if found == INFINITY else found


def value_of(stage: dict[str, Any], number: Number) -> float | None:
    return lookup(stage, number.metric.key, number.stat)

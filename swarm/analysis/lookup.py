"""A number of a stage's results by the name that the catalogue gives it."""

from swarm.analysis.stats.distribution import INFINITY
from swarm.catalogue import Number, Stat, metric_of
from swarm.results import Measured


def lookup(stage: Measured, key: str, stat: Stat = None) -> float | None:
    """The value of `key` (such as "contention") or of its statistic ("ttft_s", "p95"); None where it was not measured.

    Raises KeyError for what the catalogue does not have.
    """
    metric = metric_of(key)
    block = getattr(stage, metric.block) if metric.block else stage
    name = key.rpartition(".")[2]
    found = block[name] if isinstance(block, dict) else getattr(block, name)
    if stat is not None:
        found = getattr(found, stat)
    elif isinstance(found, dict):  # counts by kind
        found = None if stage.window_s is None else sum(found.values())
    return float("inf") if found == INFINITY else found


def value_of(stage: Measured, number: Number) -> float | None:
    return lookup(stage, number.metric.key, number.stat)

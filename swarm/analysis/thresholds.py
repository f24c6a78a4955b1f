"""Thresholds checked against the results."""

from collections.abc import Sequence

from swarm import results
from swarm.analysis.lookup import lookup
from swarm.analysis.stats.distribution import INFINITY
from swarm.catalogue import Number, metric_of
from swarm.results import TargetResults
from swarm.scenario.thresholds import Threshold, parse_threshold


def evaluate(expressions: Sequence[str], targets: Sequence[TargetResults]) -> list[results.Threshold]:
    """The `thresholds` of the results: one entry for each expression and target that it speaks of.

    A value that was not measured fails its threshold, with the reason "no value".
    """
    rows = []
    for threshold in map(parse_threshold, expressions):
        meant = [target for target in targets if threshold.target in ("*", target.name)]
        rows += [_row(threshold, target.name, _value(threshold, target)) for target in meant]
        if not meant:
            rows.append(_row(threshold, threshold.target, None))
    return rows


def value_of(row: results.Threshold) -> str:
    """The value that a threshold was checked against, with its unit."""
    if row.value is None:
        return "no value"
    try:
        asked = parse_threshold(row.expression)
    except ValueError:  # of another version's results
        return str(row.value)
    return Number(metric_of(asked.key), asked.stat).shown(row.value)


def _value(threshold: Threshold, target: TargetResults) -> float | None:
    stage = next((stage for stage in target.stages if stage.agents == threshold.agents), None)
    return lookup(stage, threshold.key, threshold.stat) if stage else None


def _row(threshold: Threshold, target: str, value: float | None) -> results.Threshold:
    return results.Threshold(
        expression=threshold.expression,
        target=target,
        value=INFINITY if value == float("inf") else value,
        passed=value is not None and threshold.holds(value),
        reason="no value" if value is None else None,
    )

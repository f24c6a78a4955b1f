"""Targets side by side, level by level: each MoE model against each dense one."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from swarm.analysis.lookup import value_of
from swarm.analysis.stats.paired_ratio import Ratio, paired_log_ratio
from swarm.catalogue import Number, numbers
from swarm.results import Comparison, Crossing, StageResults, TargetResults


def compare(targets: Sequence[TargetResults], *, predicted: bool = False) -> list[Comparison]:
    """The `comparison` of the results: candidate / baseline, the geometric mean over the trials, paired.

    None unless both stages are valid. A difference is significant when the 95% t interval of the log ratios leaves
    out 0; below 3 trials, and of predictions, it is None.
    """
    return [
        row
        for baseline, candidate in _pairs(targets)
        for below in baseline.stages
        for above in candidate.stages
        if below.agents == above.agents
        for row in side_by_side(baseline.name, candidate.name, below, above, predicted=predicted)
    ]


def _pairs(targets: Sequence[TargetResults]) -> Iterator[tuple[TargetResults, TargetResults]]:
    """(baseline, candidate): dense and MoE; where there is only one kind, the first target and each other."""
    dense = [target for target in targets if target.architecture == "dense"]
    moe = [target for target in targets if target.architecture == "moe"]
    if not dense or not moe:
        dense, moe = list(targets[:1]), list(targets[1:])
    return ((baseline, candidate) for baseline in dense for candidate in moe)


def side_by_side(
    baseline: str, candidate: str, below: StageResults, above: StageResults, *, predicted: bool
) -> Iterator[Comparison]:
    """One level of two targets, metric by metric; `trials` is how many pairs the ratio and its interval are of.

    `predicted`: one of them at least; then there is no interval, as predicted trials differ in the order of jobs alone.
    """
    for number in numbers(lambda metric: metric.compared):
        values = value_of(below, number), value_of(above, number)
        pairs = list(_trials(below, above, number))
        found = _ratio(values, pairs) if below.valid and above.valid else Ratio(None, None, None)
        yield Comparison(
            agents=below.agents,
            baseline=baseline,
            candidate=candidate,
            metric=number.name,
            baseline_value=values[0],
            candidate_value=values[1],
            ratio=found.value,
            ci95=list(found.interval) if found.interval and not predicted else None,
            significant=None if predicted else found.significant,
            trials=0 if predicted else len(pairs),
        )


def _trials(below: StageResults, above: StageResults, number: Number) -> Iterator[tuple[float, float]]:
    """The values of a metric in the trials that both stages have, by the trial's number."""
    others = {trial.trial: trial for trial in above.trials_detail}
    for trial in below.trials_detail:
        if trial.trial in others:
            pair = value_of(trial, number), value_of(others[trial.trial], number)
            if pair[0] is not None and pair[1] is not None:
                yield pair[0], pair[1]


def _ratio(values: tuple[float | None, float | None], pairs: Sequence[tuple[float, float]]) -> Ratio:
    """Over the trials; of the stages' own values where no trial has one of its own, such as few jobs in each."""
    if pairs:
        return paired_log_ratio([below for below, _ in pairs], [above for _, above in pairs])
    below, above = values
    return Ratio(above / below if above is not None and below else None, None, None)


def crossings(rows: Sequence[Comparison]) -> list[Crossing]:
    """Where the curves of two targets cross: between two neighbouring levels, the candidate is ahead at one only.

    `agents` is where the ratio would be 1, the logarithms of both joined by a line. `significant`: the ratio leaves
    out 1 at both levels; None where it is not known at one of them.
    """
    crossing = {number.name for number in numbers(lambda metric: metric.crossing)}
    curves: dict[tuple[str, str, str], list[Comparison]] = {}
    for row in rows:
        if row.metric in crossing and row.ratio:
            curves.setdefault((row.metric, row.baseline, row.candidate), []).append(row)
    return [
        _crossing(*key, low, high)
        for key, curve in curves.items()
        for low, high in pairwise(sorted(curve, key=lambda row: int(row.agents)))
        if low.ratio and high.ratio and (low.ratio < 1) != (high.ratio < 1)
    ]


def _crossing(metric: str, baseline: str, candidate: str, low: Comparison, high: Comparison) -> Crossing:
    ends = [math.log(row.agents) for row in (low, high)]
    ratios = [math.log(row.ratio) for row in (low, high) if row.ratio]
    at = ends[0] + (ends[1] - ends[0]) * ratios[0] / (ratios[0] - ratios[1])
    known = None not in (low.significant, high.significant)
    return Crossing(
        metric=metric,
        baseline=baseline,
        candidate=candidate,
        between=[low.agents, high.agents],
        agents=math.exp(at),
        significant=bool(low.significant and high.significant) if known else None,
    )

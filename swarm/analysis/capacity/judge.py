"""One level of a search for capacity, judged against its objectives: it holds, it fails, or that is not decided yet."""

from collections.abc import Sequence

from swarm.analysis.lookup import lookup, value_of
from swarm.analysis.stage.intervals import interval_of
from swarm.analysis.stats.distribution import INFINITY
from swarm.analysis.trial.jobs import ENOUGH_PER_AGENT
from swarm.catalogue import Number, Stat, metric_of
from swarm.results import Objective, Probe, StageResults, Verdict
from swarm.scenario.thresholds import Slo

NEAR = 0.1
"""A value within this share of its limit may lie on the other side in the next trial."""
ROUGH_NEAR = 0.5
"""The same for a percentile of fewer observations than `enough`."""
ROUGH = 20
"""Observations that a first look at a level takes."""
_ENOUGH: dict[Stat, int] = {"p99": 300, "p95": 60, "p90": 30}
"""So many observations hold one beyond the percentile with a probability of 95%: ln 0.05 / ln 0.95 is 58."""
_OF_JOBS = frozenset({"job_s", "ttfat_s", "slowdown"})


def judge(stage: StageResults, slos: Sequence[Slo], *, predicted: bool = False) -> Probe:
    """One level held against the objectives: an entry of `probes`. An invalid stage cannot be shown to hold.

    `verdict` is "undecided" while the value is near its limit, the trials disagree, too little was seen, or the stage
    is invalid. `sure`: the 95% intervals over its trials lie on the same side of the limits as the values; None: not
    known, as of a prediction, whose trials differ in the order of jobs alone.
    """
    values = [_value(stage, slo, predicted) for slo in slos]
    holds = stage.valid and all(value.holds for value in values)
    deciding = [value.sure for value in values if value.holds == holds]
    return Probe(
        agents=stage.agents,
        trials=sum(trial.status == "run" for trial in stage.trials_detail),
        valid=stage.valid,
        invalid_reasons=stage.invalid_reasons,
        holds=holds,
        verdict=_verdict(stage, slos, values),
        sure=(all(deciding) if holds else any(deciding)) if stage.valid and None not in deciding else None,
        values=values,
    )


def observations_needed(slos: Sequence[Slo]) -> int:
    """Requests of a stage that the percentiles of the objectives need."""
    return max((_ENOUGH.get(slo.stat, ROUGH) for slo in slos if _counts_requests(slo)), default=ROUGH)


def jobs_needed(slos: Sequence[Slo]) -> int | None:
    """Finished jobs per agent that the objectives need; None: they are on no number of jobs."""
    return ENOUGH_PER_AGENT if any(slo.key in _OF_JOBS for slo in slos) else None


def _verdict(stage: StageResults, slos: Sequence[Slo], values: Sequence[Objective]) -> Verdict:
    if not stage.valid:
        return "undecided"
    clear = [_clear(stage, slo, value) for slo, value in zip(slos, values, strict=True)]
    if any(decided and not value.holds for decided, value in zip(clear, values, strict=True)):
        return "fails"
    return "holds" if all(clear) and all(value.holds for value in values) else "undecided"


def _clear(stage: StageResults, slo: Slo, value: Objective) -> bool:
    """Whether it is clear on which side of its limit a number lies."""
    if value.value is None:
        return False
    number = Number(metric_of(slo.key), slo.stat)
    found = [value_of(trial, number) for trial in stage.trials_detail if trial.status == "run"]
    if any(one is not None and slo.holds(one) != value.holds for one in found):
        return bool(value.sure)
    if slo.limit == 0 or value.value == INFINITY or value.sure:
        return True
    needed = _ENOUGH.get(slo.stat, ROUGH) if _counts_requests(slo) else 0
    margin = NEAR if (_observations(stage, slo) or 0) >= needed else ROUGH_NEAR
    return abs(float(value.value) / slo.limit - 1) >= margin


def _counts_requests(slo: Slo) -> bool:
    return "count" in metric_of(slo.key).stats and slo.key not in _OF_JOBS and slo.stat != "count"


def _observations(stage: StageResults, slo: Slo) -> float | None:
    return lookup(stage, slo.key, "count") if "count" in metric_of(slo.key).stats else None


def _value(stage: StageResults, slo: Slo, predicted: bool) -> Objective:
    value = lookup(stage, slo.key, slo.stat)
    interval = None if predicted else interval_of(stage.trials_detail, Number(metric_of(slo.key), slo.stat))
    holds = value is not None and slo.holds(value)
    return Objective(
        slo=slo.expression,
        value=INFINITY if value == float("inf") else value,
        ci95=interval,
        holds=holds,
        sure=all(slo.holds(end) == holds for end in interval) if interval else None,
    )

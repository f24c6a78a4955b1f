"""How sure the numbers of a stage are: 95% intervals over its trials."""

import math
from collections.abc import Sequence

from swarm.analysis.lookup import value_of
from swarm.analysis.stats.paired_ratio import t_interval
from swarm.catalogue import Number, number_of, numbers
from swarm.results import TrialResults


def intervals(trials: Sequence[TrialResults]) -> dict[str, list[float] | None]:
    """The `ci95` of a stage, from its `trials_detail`: by name, None where fewer than two trials tell."""
    return {number.name: interval_of(trials, number) for number in numbers(lambda metric: metric.interval)}


def interval_of(trials: Sequence[TrialResults], number: Number) -> list[float] | None:
    """A t interval of one number over the trials that ran; None where one of them lacks it."""
    if number.name == "contention":
        kept = interval_of(trials, number_of("retention"))
        return None if kept is None else [1 - kept[1], 1 - kept[0]]
    values = [value_of(trial, number) for trial in trials if trial.status == "run"]
    if any(value is None or not math.isfinite(value) for value in values):
        return None
    known = [value for value in values if value is not None]
    if number.metric.relative:
        found = t_interval([math.log(value) for value in known]) if all(known) else None
        return None if found is None else [math.exp(found[0]), math.exp(found[1])]
    found = t_interval(known)
    most = math.inf if number.metric.most is None else number.metric.most
    return None if found is None else [max(0.0, found[0]), min(most, found[1])]

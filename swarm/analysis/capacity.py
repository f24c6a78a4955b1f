"""The most agents that a target carries within its service level objectives: which level to try next, and the answer.

Assumes what makes the question one: where N agents break an objective, more agents break it too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from swarm.analysis.lookup import lookup
from swarm.analysis.stage.intervals import interval_of
from swarm.analysis.stats.distribution import INFINITY
from swarm.catalogue import Number, metric_of
from swarm.results import Objective, Probe, StageResults, TargetCapacity
from swarm.scenario.thresholds import Slo
from swarm.text import counted


@dataclass(frozen=True)
class Border:
    """`low`: the highest level that holds, 0 where none does; `high`: the lowest that does not, None: not tried."""

    low: int
    high: int | None


def judge(stage: StageResults, slos: Sequence[Slo], *, predicted: bool = False) -> Probe:
    """One level held against the objectives: an entry of `probes`. An invalid stage cannot be shown to hold.

    `sure`: the 95% intervals over its trials lie on the same side of the limits as the values; None: not known, as of
    a prediction, whose trials differ in the order of jobs alone.
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
        sure=(all(deciding) if holds else any(deciding)) if stage.valid and None not in deciding else None,
        values=values,
    )


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


def border(probes: Mapping[int, Probe]) -> Border:
    high = min((level for level, probe in probes.items() if not probe.holds), default=None)
    low = max((level for level, probe in probes.items() if probe.holds and (not high or level < high)), default=0)
    return Border(low, high)


def next_level(probes: Mapping[int, Probe], start: int, most: int, trials: int) -> int | None:
    """The level to try next, from `judge` of those tried, each over all its trials. None: enough is known.

    From `start` in steps that double, up or down, until one level holds and one does not; then the middle between
    them; then both again, until each has had `trials` trials. What these overturn is searched anew. One agent may have
    been tried before, as what others are compared with.
    """
    start, at = min(start, most), border(probes)
    if at.high is None:
        if at.low < most:
            return min(most, at.low + (at.low - start + 1)) if at.low >= start else start
    elif at.high - at.low > 1:
        middle = (at.low + at.high) // 2 if at.low else 1
        return max(middle, at.high - (start - at.high + 1)) if at.high <= start else middle
    again = [level for level in (at.low, at.high) if level and probes[level].trials < trials]
    return min(again, key=lambda level: int(probes[level].trials), default=None)


def answer(target: str, probes: Mapping[int, Probe], most: int, *, predicted: bool = False) -> TargetCapacity:
    """An entry of the results' `capacity.targets`: `agents` is the most that hold, `next` the fewest that do not."""
    at = border(probes)
    above = probes.get(at.high) if at.high else None
    found = at.high == at.low + 1 if at.high else at.low == most
    return TargetCapacity(
        target=target,
        agents=at.low,
        sure=probes[at.low].sure if at.low else None,
        next=at.high,
        next_sure=above.sure if above else None,
        conclusive=bool(found and (above is None or _why_open(above) is None)),
        sentence=_sentence(target, at, probes, most, bool(found), predicted),
        probes=[probes[level] for level in sorted(probes)],
    )


def _sentence(target: str, at: Border, probes: Mapping[int, Probe], most: int, found: bool, predicted: bool) -> str:
    if not probes:
        return f"{target}: nothing was tried."
    agents = counted(at.low, "agent")
    carries = f"{target} carries {agents} within the SLO{_told(probes[at.low], holds=True)}" if at.low else ""
    if at.high is None:
        limit = "the most that was tried" if at.low == most else "and the search broke off"
        return f"{carries}: at least, as {at.low} is {limit}."
    above = probes[at.high]
    if not found:
        return f"{carries or target + ' carries no level that was tried'}; the search broke off below {at.high}."
    if why := _why_open(above):
        return f"{carries or target}; whether {at.high} would do is not known, as {why}."
    if not at.low:
        return f"{target} does not keep the SLO with a single agent{_told(above, holds=False)}."
    surely = "" if predicted else f" {_surely(probes[at.low], above)}"
    return f"{carries}, and not {at.high}{_told(above, holds=False)}.{surely}"


def _why_open(probe: Probe) -> str | None:
    """Why a level that does not hold is not shown to break an objective either; None where it is."""
    if not probe.valid:
        return f"that stage is invalid: {probe.invalid_reasons[0]}"
    if any(not value.holds and value.value is not None for value in probe.values):
        return None
    missing = next((value.slo for value in probe.values if value.value is None), None)
    return missing and f"nothing was measured there to judge {missing} by; the notes on that stage say why"


def _told(probe: Probe, *, holds: bool) -> str:
    told = [
        f"{value.slo.split('<')[0].split('>')[0].strip()} {_number(value)}"
        for value in probe.values
        if value.holds == holds
    ]
    return f" ({', '.join(told)})" if told else ""


def _number(value: Objective) -> str:
    if value.value is None or isinstance(value.value, str):
        return value.value or "not measured"
    interval = value.ci95
    return f"{value.value:.3g}" + (f" [{interval[0]:.3g}, {interval[1]:.3g}]" if interval else "")


def _surely(below: Probe, above: Probe) -> str:
    if below.sure and above.sure:
        return "Both are sure (95%)."
    if None in (below.sure, above.sure):
        return "How sure that is needs 2 trials or more at both."
    unsure = " and ".join(str(probe.agents) for probe in (below, above) if not probe.sure)
    return f"At {unsure} that is not sure: the interval holds the limit; longer windows or more trials would tell."

"""The answer of a search for capacity: how many agents hold the objectives, and what breaks with more."""

from collections.abc import Mapping, Sequence

from swarm.analysis.capacity.search import Border, Bounds, border
from swarm.analysis.slowdown.words import causes_of
from swarm.catalogue import Metric, metric_of
from swarm.results import CurvePoint, Objective, Probe, StageResults, TargetCapacity
from swarm.scenario.thresholds import parse_slo
from swarm.text import counted

WORTH_A_PAUSE = 0.05
"""Share of its agents that a level must have in pauses, for people to be told apart from agents at work."""


def answer(
    target: str,
    probes: Mapping[int, Probe],
    most: int,
    *,
    predicted: bool = False,
    stages: Sequence[StageResults] = (),
) -> TargetCapacity:
    """An entry of the results' `capacity.targets`: `agents` is the most that hold, `next` the fewest that do not.

    `stages`: those of the target, for the causes, the curve and the people behind the agents.
    """
    at = border(probes)
    above = probes.get(at.high) if at.high else None
    found = _found(at, probes, most)
    by_level = {int(stage.agents): stage for stage in stages}
    at_work = _at_work(by_level.get(at.low))
    sentences = [_sentence(target, at, probes, found, by_level)]
    if found and at.low:
        sentences += [*_people(at.low, at_work), *([] if predicted else _confidence(at, probes, most))]
    return TargetCapacity(
        target=target,
        agents=at.low,
        sure=probes[at.low].sure if at.low else None,
        next=at.high,
        next_sure=above.sure if above else None,
        conclusive=bool(found and (above is None or _why_open(above) is None)),
        at_work=at_work,
        sentence=" ".join(sentences),
        probes=[probes[level] for level in sorted(probes)],
        curve=[_point(stage, probes[level]) for level, stage in sorted(by_level.items()) if level in probes],
    )


def _found(at: Border, probes: Mapping[int, Probe], most: int) -> bool:
    """Whether the search came to its end, and was not broken off."""
    spent = sum(int(probe.trials) for probe in probes.values())
    return most == at.low or at.high == at.low + 1 or spent >= Bounds(1, most, 1).stages


def _point(stage: StageResults, probe: Probe) -> CurvePoint:
    ttft = stage.latency["ttft_s"]
    return CurvePoint(
        agents=stage.agents,
        output_tokens_per_s=stage.throughput.output_tokens_per_s,
        ttft_s_p50=ttft.p50,
        ttft_s_p95=ttft.p95,
        holds=probe.holds,
        valid=stage.valid,
    )


def _sentence(
    target: str, at: Border, probes: Mapping[int, Probe], found: bool, stages: Mapping[int, StageResults]
) -> str:
    if not probes:
        return f"{target}: nothing was measured."
    holding = ""
    if at.low:
        objectives = " and ".join(f"{_objective(value)} ({_shown(value)})" for value in probes[at.low].values)
        holding = f"{counted(at.low, 'agent')} {'holds' if at.low == 1 else 'hold'} {objectives}"
    if at.high is None:
        rest = f"more than {at.low} were not measured" if found else "the search stopped there"
        return f"{target}: at least {holding}; {rest}."
    above = probes[at.high]
    if not found:
        return f"{target}: {holding or 'no level that was measured holds'}; the search stopped below {at.high}."
    if why := _why_open(above):
        return f"{target}: {holding or 'no level that was measured holds'}; no answer for {at.high}, as {why}."
    broken = [value for value in above.values if not value.holds and value.value is not None]
    told = " and ".join(
        f"it is {_shown(value)}" if len(above.values) == 1 else f"{_name(value)} is {_shown(value)}" for value in broken
    )
    causes = causes_of(stages[at.high].attribution) if at.high in stages else ""
    why_slow = f": {causes}" if causes else ""
    if not at.low:
        objectives = " and ".join(_objective(value) for value in broken)
        return f"{target}: not even 1 agent holds {objectives} ({', '.join(map(_shown, broken))})."
    close = ", too close to the limit to be certain" if above.verdict == "undecided" else ""
    return f"{target}: {holding}; at {at.high} {told}{close}{why_slow}."


def _why_open(probe: Probe) -> str | None:
    """Why a level that does not hold is not shown to break an objective either; None where it is."""
    if not probe.valid:
        return f"that stage is invalid: {probe.invalid_reasons[0]}"
    if any(not value.holds and value.value is not None for value in probe.values):
        return None
    missing = next((value.slo for value in probe.values if value.value is None), None)
    return missing and f"nothing was measured there to judge {missing} by; the notes on that stage say why"


def _objective(value: Objective) -> str:
    """ "TTFT p95 < 2 s"."""
    slo = parse_slo(value.slo)
    return f"{_name(value)} {slo.operator} {_unit(slo.limit, metric_of(slo.key), slo.stat)}"


def _name(value: Objective) -> str:
    slo = parse_slo(value.slo)
    return f"{metric_of(slo.key).label} {slo.stat}" if slo.stat else metric_of(slo.key).label


def _shown(value: Objective) -> str:
    if value.value is None or isinstance(value.value, str):
        return value.value or "not measured"
    slo = parse_slo(value.slo)
    metric = metric_of(slo.key)
    text = _unit(value.value, metric, slo.stat)
    if not value.ci95:
        return text
    low, high = (_digits(end * metric.scale) for end in value.ci95)
    return f"{text}, 95% interval {low} to {high}"


def _unit(number: float, metric: Metric, stat: str | None) -> str:
    if stat == "count":
        return _digits(number)
    return f"{_digits(number * metric.scale)}{'' if metric.unit == '%' else ' '}{metric.unit}".rstrip()


def _digits(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"


def _confidence(at: Border, probes: Mapping[int, Probe], most: int) -> list[str]:
    levels = [probes[level] for level in (at.low, at.high) if level]
    if all(probe.sure for probe in levels):
        return ["Significant at 95%." if len(levels) == 1 else "Both are significant at 95%."]
    once = [str(probe.agents) for probe in levels if probe.sure is None]
    if once:
        return [f"Measured too few times at {' and '.join(once)} for a confidence interval; use 3 trials."]
    unsure = " and ".join(str(probe.agents) for probe in levels if not probe.sure)
    return [f"Not significant at {unsure}: the 95% interval includes the limit; use longer windows or more trials."]


def _at_work(stage: StageResults | None) -> float | None:
    """Agents in no pause, on average; None where the work has no pauses worth telling."""
    if stage is None or stage.achieved.thinking_mean is None:
        return None
    if stage.achieved.thinking_mean < WORTH_A_PAUSE * stage.agents:
        return None
    return max(0.0, stage.agents - stage.achieved.thinking_mean)


def _people(agents: int, at_work: float | None) -> list[str]:
    if at_work is None:
        return []
    return [f"That is about {counted(agents, 'developer')} with these pauses, {at_work:.2g} of them at work at a time."]

"""The meaning of a run, in a sentence or two, from its results alone."""

from collections.abc import Mapping

from swarm.analysis.slowdown.words import causes_of
from swarm.results import Results, StageResults
from swarm.text import counted

Stages = dict[str, dict[int, StageResults]]
"""Target -> level -> stage, of those stages that are valid and saw agents write."""


SPEED = "agent_output_tokens_per_s.p50"
PREDICTED = "Predicted by the contention model, not measured."


def sentences(results: Results) -> list[str]:
    """The answer, and then its details."""
    return [*answer(results), *details(results)]


def answer(results: Results) -> list[str]:
    """The run's answer in a sentence or two, after those that say which numbers must not be used."""
    if results.capacity:
        told: tuple[str, ...] = (PREDICTED if results.predicted else "", *carried(results))
    else:
        told = (warning(results), meaning(results))
    return [line for line in told if line]


def details(results: Results) -> list[str]:
    """Everything else that the numbers mean, and how far they can be trusted."""
    if results.capacity:
        told: tuple[str, ...] = (unequal(results),)
    else:
        told = (
            jobs(results),
            *why(results),
            *wins(results),
            *peaks(results),
            unequal(results),
            caveat(results),
        )
    return [line for line in told if line]


def carried(results: Results) -> list[str]:
    """The answers of a search for capacity, one per target."""
    return [found.sentence for found in results.capacity.targets] if results.capacity else []


def wins(results: Results) -> list[str]:
    """Which of two targets writes faster per agent at which levels, as far as trials tell; and where that changes."""
    pairs = {(row.baseline, row.candidate): None for row in results.comparison}
    lines = []
    for baseline, candidate in pairs:
        rows = [
            row
            for row in results.comparison
            if (row.baseline, row.candidate, row.metric) == (baseline, candidate, SPEED) and row.significant is not None
        ]
        parts = [
            _won(candidate, {row.agents: row.ratio for row in rows if row.significant and row.ratio and row.ratio > 1}),
            _won(
                baseline, {row.agents: 1 / row.ratio for row in rows if row.significant and row.ratio and row.ratio < 1}
            ),
            _even([row.agents for row in rows if not row.significant]),
        ]
        if any(parts):
            crossed = [found for found in results.crossings if found.metric == SPEED and found.significant]
            at = "".join(
                f" The curves cross at about {found.agents:.0f} agents."
                for found in crossed
                if (found.baseline, found.candidate) == (baseline, candidate)
            )
            text = ", ".join(part for part in parts if part)
            lines.append(f"Per agent, {text} ({_trials(results)}).{at}")
    return lines


def _won(name: str, times: Mapping[int, float]) -> str:
    """`times`: how much faster, by level."""
    if not times:
        return ""
    ratios = sorted({f"{ratio:.1f}x" for ratio in times.values()}, key=lambda text: float(text[:-1]))
    range_of = ratios[0] if len(ratios) == 1 else f"{ratios[0]} to {ratios[-1]}"
    return f"{name} is significantly faster at {_listed([*times])} agents ({range_of})"


def _even(levels: list[int]) -> str:
    return f"no significant difference at {_listed(levels)} agents" if levels else ""


def _listed(levels: list[int]) -> str:
    *most, last = (str(level) for level in levels)
    return f"{', '.join(most)} and {last}" if most else last


def _trials(results: Results) -> str:
    trials = min(stage.trials for target in results.targets for stage in target.stages)
    return f"95%, {trials} trials"


def peaks(results: Results) -> list[str]:
    """At how many agents a target writes the most in all, where the scaling law is sure that it has a peak."""
    return [
        f"{target.name}'s total output peaks at about {peak.value:.0f} agents "
        f"({peak.ci95[0]:.0f} to {peak.ci95[1]:.0f}, Universal Scalability Law)."
        for target in results.targets
        if (peak := target.usl.peak_agents) and peak.ci95
    ]


def warning(results: Results) -> str:
    """That the run is a prediction, and how much of it does not count; empty when it was measured and all counts."""
    return " ".join(filter(None, (PREDICTED if results.predicted else "", _invalid(results))))


def _invalid(results: Results) -> str:
    stages = [stage for target in results.targets for stage in target.stages]
    bad = sum(not stage.valid for stage in stages)
    if not bad:
        return ""
    if len(stages) == 1:
        return "The only stage is invalid: do not use its numbers."
    whose = "is invalid: do not use its" if bad == 1 else "are invalid: do not use their"
    return f"{bad} of {len(stages)} stages {whose} numbers."


def meaning(results: Results) -> str:
    """How fast each agent is, how much of its speed alone it keeps, and which model is faster at the highest level."""
    usable = _usable(results)
    if not usable:
        ran = any(stage.window_s for target in results.targets for stage in target.stages)
        return "No stage is valid, so nothing can be concluded." if ran else "Nothing was measured."
    level = _common_level(usable)
    if level is None:
        return " ".join(_alike({name: stages}, max(stages)) for name, stages in usable.items())
    return _alike(usable, level)


def jobs(results: Results) -> str:
    """How long a job takes, at the level that `meaning` speaks of; empty where too few jobs finished."""
    usable = _usable(results)
    level = _common_level(usable)
    if level is None:
        return ""
    parts = []
    for name, stages in usable.items():
        stage = stages[level]
        seconds, slower = stage.latency["job_s"].p50, stage.slowdown
        if seconds is None:
            return ""
        alone = f" ({slower:.1f}x as long as alone)" if slower is not None and level > 1 else ""
        parts.append(f"{seconds:.3g} s on {name}{alone}")
    return f"A job takes {', '.join(parts)}."


def unequal(results: Results) -> str:
    """Said of agents that a model drove; empty of scripted ones."""
    if results.driver != "model" or not _usable(results):
        return ""
    return (
        "The model chose what its agents did, so levels and models did not do equal work; "
        "to compare them, use driver: script."
    )


def caveat(results: Results) -> str:
    """The conclusion that a reader must not draw."""
    usable = _usable(results)
    if not usable or results.predicted:
        return ""
    trials = min(stage.trials for stages in usable.values() for stage in stages.values())
    return (
        "One trial: small differences may be noise. Use at least 3 trials before drawing conclusions."
        if trials == 1
        else ""
    )


def _alike(usable: Stages, level: int) -> str:
    at = {name: stages[level] for name, stages in usable.items()}
    rate = {name: stage.agent_output_tokens_per_s.p50 or 0.0 for name, stage in at.items()}
    kept = {name: stage.retention for name, stage in at.items() if stage.retention is not None}
    contended = level > 1 and kept.keys() == at.keys()
    first, *others = at
    if contended:
        speed = f"{_rate(rate[first])} tok/s per agent"
        parts = [f"{first} keeps {kept[first]:.0%} of its single-agent speed ({speed})"]
        parts += [f"{name} {kept[name]:.0%} ({_rate(rate[name])} tok/s)" for name in others]
    else:
        parts = [f"{first} writes {_rate(rate[first])} tok/s per agent"]
        parts += [f"{name} {_rate(rate[name])}" for name in others]
    text = f"At {counted(level, 'agent')} {', '.join(parts)}{_faster(rate, kept if contended else {})}."
    if contended:
        return text
    lacking = "a valid stage of more agents" if level == 1 else "a valid stage of 1 agent"
    return f"{text} How much agents slow each other down was not measured: add {lacking}."


def _faster(rate: dict[str, float], kept: dict[str, float]) -> str:
    """By how much one of two targets is faster; "still" when it is the one that lost more."""
    if len(rate) != 2 or not all(rate.values()):
        return ""
    slow, fast = sorted(rate, key=rate.__getitem__)
    times = rate[fast] / rate[slow]
    if times < 1.05:
        return "; both are about equally fast per agent"
    still = "still " if kept and kept[fast] < kept[slow] else ""
    return f"; {fast} is {still}{times:.1f}x as fast per agent"


def _usable(results: Results) -> Stages:
    stages = {
        target.name: {
            stage.agents: stage
            for stage in target.stages
            if stage.valid and stage.agent_output_tokens_per_s.p50 is not None
        }
        for target in results.targets
    }
    return {name: levels for name, levels in stages.items() if levels}


def _common_level(usable: Stages) -> int | None:
    """The highest that all targets have; None when some have only lower ones, and contention to tell beyond."""
    if not usable:
        return None
    level = max(set.intersection(*(set(levels) for levels in usable.values())), default=None)
    return None if level == 1 and any(max(levels) > 1 for levels in usable.values()) else level


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def why(results: Results) -> list[str]:
    """Such as "Why dense slows down at 8 agents: 62% queueing, 38% preemption.": at the highest valid level."""
    lines = []
    for target in results.targets:
        told = [(stage.agents, stage.attribution) for stage in target.stages if stage.valid and stage.attribution]
        if told:
            agents, shares = max(told, key=lambda one: one[0])
            lines.append(f"Why {target.name} slows down at {counted(agents, 'agent')}: {causes_of(shares)}.")
    return lines

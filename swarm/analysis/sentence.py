"""What a run means, in a sentence or two, from its results alone."""

from typing import Any

from swarm.analysis.why import why
from swarm.analysis.words import counted

Stages = dict[str, dict[int, dict[str, Any]]]
"""Target -> level -> stage, of those stages that are valid and saw agents write."""


def sentences(results: dict[str, Any]) -> list[str]:
    """What must not be used, what the numbers mean, and how far they can be trusted."""
    said = (warning(results), meaning(results), jobs(results), *why(results), unequal(results), caveat(results))
    return [line for line in said if line]


def warning(results: dict[str, Any]) -> str:
    """How much of the run does not count; empty when all of it does."""
    stages = [stage for target in results["targets"] for stage in target["stages"]]
    bad = sum(not stage["valid"] for stage in stages)
    if not bad:
        return "Predicted by the contention model, not measured." if results["predicted"] else ""
    if len(stages) == 1:
        return "The only stage is invalid: its numbers must not be used."
    whose = "is invalid: its" if bad == 1 else "are invalid: their"
    return f"{bad} of {len(stages)} stages {whose} numbers must not be used."


def meaning(results: dict[str, Any]) -> str:
    """How fast each agent is, how much of its speed alone it keeps, and which model is faster at the highest level."""
    usable = _usable(results)
    if not usable:
        ran = any(stage["window_s"] for target in results["targets"] for stage in target["stages"])
        return "No stage is valid, so nothing can be concluded." if ran else "Nothing was measured."
    level = _common_level(usable)
    if level is None:
        return " ".join(_alike({name: stages}, max(stages)) for name, stages in usable.items())
    return _alike(usable, level)


def jobs(results: dict[str, Any]) -> str:
    """How long a job takes, at the level that `meaning` speaks of; empty where too few jobs finished."""
    usable = _usable(results)
    level = _common_level(usable)
    if level is None:
        return ""
    parts = []
    for name, stages in usable.items():
        stage = stages[level]
        seconds, slower = stage["latency"]["job_s"]["p50"], stage["slowdown"]
        if seconds is None:
            return ""
        alone = f" ({slower:.1f}x its time alone)" if slower is not None and level > 1 else ""
        parts.append(f"{seconds:.3g} s on {name}{alone}")
    return f"A job takes {', '.join(parts)}."


def unequal(results: dict[str, Any]) -> str:
    """Said of agents that a model drove; empty of scripted ones."""
    if results["driver"] != "model" or not _usable(results):
        return ""
    return (
        "The model decided what its agents did, so levels and models were not compared on equal work; "
        "for that, use driver: script."
    )


def caveat(results: dict[str, Any]) -> str:
    """What the reader must not conclude."""
    usable = _usable(results)
    if not usable or results["predicted"]:
        return ""
    trials = min(stage["trials"] for stages in usable.values() for stage in stages.values())
    return "Measured once: small differences may be chance; a claim needs 3 trials or more." if trials == 1 else ""


def _alike(usable: Stages, level: int) -> str:
    at = {name: stages[level] for name, stages in usable.items()}
    rate = {name: stage["agent_output_tokens_per_s"]["p50"] for name, stage in at.items()}
    kept = {name: stage["retention"] for name, stage in at.items()}
    contended = level > 1 and None not in kept.values()
    first, *others = at
    if contended:
        parts = [f"{first} keeps {kept[first]:.0%} of its single-agent speed ({_rate(rate[first])} tok/s each)"]
        parts += [f"{name} {kept[name]:.0%} ({_rate(rate[name])} tok/s each)" for name in others]
    else:
        parts = [f"{first} writes {_rate(rate[first])} tok/s per agent"]
        parts += [f"{name} {_rate(rate[name])}" for name in others]
    text = f"At {counted(level, 'agent')} {', '.join(parts)}{_faster(rate, kept if contended else {})}."
    if contended:
        return text.replace("%", " %")
    lacking = "a valid stage of more agents" if level == 1 else "a valid stage of 1 agent"
    return f"{text} How much agents slow each other down was not measured: that needs {lacking}."


def _faster(rate: dict[str, float], kept: dict[str, float]) -> str:
    """Of two targets, by how much one is faster; "still" when it is the one that lost more."""
    if len(rate) != 2 or not all(rate.values()):
        return ""
    slow, fast = sorted(rate, key=rate.__getitem__)
    times = rate[fast] / rate[slow]
    if times < 1.05:
        return "; both write about as fast per agent"
    still = "still " if kept and kept[fast] < kept[slow] else ""
    return f"; {fast} {still}writes {times:.1f}x as fast per agent"


def _usable(results: dict[str, Any]) -> Stages:
    stages = {
        target["name"]: {
            stage["agents"]: stage
            for stage in target["stages"]
            if stage["valid"] and stage["agent_output_tokens_per_s"]["p50"] is not None
        }
        for target in results["targets"]
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

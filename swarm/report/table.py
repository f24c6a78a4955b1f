"""The table of a run as text cells: one row a stage, in the units that people read. Terminal and Markdown draw it."""

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches

from swarm.analysis.lookup import lookup
from swarm.analysis.thresholds import value_of
from swarm.catalogue import METRICS, Column, Metric, number_of, numbers
from swarm.errors import UsageError
from swarm.results import Finding, Results, StageResults, Threshold, stage_name
from swarm.text import MOST_SETTINGS, listed

FIRST = " (values from the first stage listed)"


Measured = tuple[Metric, Column]
SERVED = '"tok/s per agent": the median agent\'s output rate while it has a request in flight (no tool and think time).'
"""Printed under every table: an agent that waits on tools gets less than that by the clock."""
OFF = '"may be off": four of five published points of such machines were within it.'


def every() -> list[Measured]:
    """All columns of the catalogue."""
    return [(metric, column) for metric in METRICS for column in metric.columns]


def usual() -> list[Measured]:
    """The columns that a terminal shows unless others are asked for."""
    return [(metric, column) for metric, column in every() if not column.extra]


def chosen(names: str) -> list[Measured]:
    """The columns that `names` asks for: `all`, or numbers such as `ttft_s.p95,jobs_per_h`. Raises UsageError."""
    return every() if names == "all" else [_column(name.strip()) for name in names.split(",")]


def _column(name: str) -> Measured:
    try:
        number = number_of(name)
    except KeyError:
        known = [one.name for one in numbers(lambda metric: metric.stats)]
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"expected all, or some of {', '.join(known)}"
        raise UsageError(f"--columns {name}: no such number; {hint}") from None
    metric, stat = number.metric, number.stat
    column = next((one for one in metric.columns if one.stat == stat), None)
    unit = f"{stat or ''} {metric.unit}".strip()
    return metric, column or Column(head=metric.label, unit=unit, stat=stat, digits=metric.digits)


def columns(shown: Sequence[Measured], *, predicted: bool = False) -> list[Column]:
    """The model and its agents, and then `shown`; `predicted`: and by how much they may be off."""
    errors = [Column(head="may be off", unit="tok/s, TTFT")] if predicted else []
    return [Column(head="model"), Column(head="agents"), *(column for _, column in shown), *errors]


def rows(results: Results, shown: Sequence[Measured], *, predicted: bool = False) -> list[list[str]]:
    """A row per stage and target, a cell per column; an invalid stage has a "!" behind its agents."""
    return [
        [target.name, *_cells(stage, shown), *([off(stage)] if predicted else [])]
        for target in results.targets
        for stage in target.stages
    ]


def off(stage: StageResults) -> str:
    """`±12%, ±25%`: by how much tok/s and TTFT of a predicted stage may be off."""
    error = stage.expected_error
    return f"±{percent(error.tokens_per_s)}, ±{percent(error.ttft_s)}" if error else "-"


def trust(results: Results) -> list[str]:
    """Lines on the meaning of a prediction's errors, and on where only a measurement helps."""
    stages = [(target.name, stage) for target in results.targets for stage in target.stages if stage.expected_error]
    if not stages:
        return []
    unknown: dict[str, dict[str, None]] = {}
    for name, stage in stages:
        if stage.expected_error and stage.expected_error.advice:
            unknown.setdefault(stage.expected_error.advice, {})[f"{name} at {stage.agents}"] = None
    return [OFF, *(f"{listed(where, MOST_SETTINGS)}: {advice}." for advice, where in unknown.items())]


def judged(threshold: Threshold) -> str:
    """The expression of a threshold and the value that it was checked against, with its unit."""
    whose = f"{threshold.target}: " if threshold.expression.startswith("*") else ""
    return f"{whose}{threshold.expression} ({value_of(threshold)})"


def notes(results: Results) -> list[str]:
    """Facts that a reader should know, each once, with the stages that it holds for."""
    found = _once(one for one in _findings(results) if one[-1].kind == "note")
    places = {text: (f"{target} at {agents}" for target, agents in where) for text, where in found.items()}
    return [*results.notes, *(f"{text} ({listed(where, MOST_SETTINGS)})" for text, where in places.items())]


def reasons(results: Results) -> list[str]:
    """Why stages are invalid: each reason once, behind the stages that it holds for."""
    counts = set(results.invalid_reasons)  # a search for capacity does not mind invalid stages beside its answer
    found = _once(
        (target, agents, one)
        for target, agents, one in _findings(results)
        if one.kind == "invalid" and f"{stage_name(target, agents)}: {one.sentence()}" in counts
    )
    places = {text: (stage_name(*stage) for stage in where) for text, where in found.items()}
    return [f"{listed(where, MOST_SETTINGS)}: {text}" for text, where in places.items()]


def _findings(results: Results) -> Iterator[tuple[str, int, Finding]]:
    for target in results.targets:
        for stage in target.stages:
            yield from ((target.name, stage.agents, one) for one in stage.findings)


def _once(found: Iterable[tuple[str, int, Finding]]) -> dict[str, list[tuple[str, int]]]:
    """The stages that each text holds for. The first text of a code and target stands for all of them."""
    alike: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for target, agents, one in found:
        alike.setdefault((target, one.code), []).append((agents, one.text))
    texts: dict[str, list[tuple[str, int]]] = {}
    for (target, _), told in alike.items():
        text = told[0][1] + ("" if len({text for _, text in told}) == 1 else FIRST)
        texts.setdefault(text, []).extend((target, agents) for agents in dict.fromkeys(agents for agents, _ in told))
    return texts


def _cells(stage: StageResults, shown: Sequence[Measured]) -> list[str]:
    return [f"{stage.agents}{'' if stage.valid else '!'}", *(_cell(stage, *one) for one in shown)]


def _cell(stage: StageResults, metric: Metric, column: Column) -> str:
    value = lookup(stage, metric.key, column.stat)
    if metric.key == "errors" and (lost := stage.tool_errors.get("lost")):
        return f"{number(value, 0)}, {lost} lost"
    return percent(value) if metric.unit == "%" else number(value, column.digits, metric.scale)


def number(value: float | str | None, digits: int, scale: float = 1.0) -> str:
    """1,234.5; "-" for what was not measured, "inf" as it is."""
    if value is None or isinstance(value, str):
        return value or "-"
    return f"{value * scale:,.{digits}f}"


def percent(share: float | None, digits: int = 0) -> str:
    return "-" if share is None else f"{share * 100:.{digits}f}%"

"""The table of a run as text cells: one row a stage, in the units that people read. Terminal and Markdown draw it."""

import re

from swarm.analysis.lookup import lookup
from swarm.catalogue import METRICS, Column, Metric
from swarm.results import Results, StageResults
from swarm.text import MOST_SETTINGS, listed

_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")
_TRIAL = re.compile(r"^trial \d+: ")


def columns() -> list[Column]:
    """Those of the catalogue, behind the model and its agents; the failed requests have no unit and stay."""
    return [Column(head="model"), Column(head="agents"), *(column for _, column in _measured())]


def _measured() -> list[tuple[Metric, Column]]:
    return [(metric, column) for metric in METRICS for column in metric.columns]


SERVED = '"tok/s each while served": of the median agent, per second of its requests; tools and thinking are left out.'
"""Said under every table: an agent that waits on tools gets less than that by the clock."""


def rows(results: Results) -> list[list[str]]:
    """A row per stage and target, a cell per column; an invalid stage has a "!" behind its agents."""
    return [[target.name, *_cells(stage)] for target in results.targets for stage in target.stages]


def notes(results: Results) -> list[str]:
    """Notes that make nothing invalid, each once, with the stages that it holds for."""
    found = [
        (note, f"{target.name} at {stage.agents}")
        for target in results.targets
        for stage in target.stages
        for note in stage.notes
    ]
    return [*results.notes, *(f"{text} ({where})" for text, where in _alike(found))]


def reasons(results: Results) -> list[str]:
    """Why stages are invalid: each reason once, behind the stages that it holds for."""
    found = []
    for reason in results.invalid_reasons:
        where, _, text = reason.partition(": ")
        found.append((_TRIAL.sub("", text), where))
    return [f"{where}: {text}" for text, where in _alike(found)]


def _alike(found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Texts that say the same but for their numbers become one: the first, and all the places that it was found at."""
    places: dict[str, dict[str, None]] = {}
    texts: dict[str, list[str]] = {}
    for text, where in found:
        key = _NUMBER.sub("#", text)
        places.setdefault(key, {})[where] = None
        texts.setdefault(key, []).append(text)
    return [
        (
            texts[key][0] + ("" if len(set(texts[key])) == 1 else " [numbers: the first]"),
            listed(places[key], MOST_SETTINGS),
        )
        for key in texts
    ]


def _cells(stage: StageResults) -> list[str]:
    return [f"{stage.agents}{'' if stage.valid else '!'}", *(_cell(stage, *shown) for shown in _measured())]


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
    return "-" if share is None else f"{share * 100:.{digits}f} %"

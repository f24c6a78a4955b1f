"""The history of runs as a table, as CSV and as plots."""

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from swarm.catalogue import Number, gated, kept, number_of
from swarm.errors import UsageError
from swarm.recording.history import Entry, StageEntry
from swarm.report.plot import Axis, plot

_BARS = "▁▂▃▄▅▆▇█"
_COLUMNS = (
    *("started_at", "name", "kind", "predicted", "directory", "scenario", "hardware", "swarm"),
    *("target", "model", "engine", "agents", "valid"),
)
_HEADS = ("started", "run", "kind", "target", "agents", "verdict")
_LAST = "directory"


def _shown() -> list[Number]:
    """The numbers of the table: those that gates go by, and the failed requests."""
    return [*gated(), number_of("errors")]


class Row(NamedTuple):
    entry: Entry
    stage: StageEntry

    @property
    def group(self) -> tuple[str, ...]:
        """Rows of one group can be compared."""
        entry, stage = self.entry, self.stage
        model, engine = stage.model or "?", stage.engine or "?"
        return (entry.scenario, entry.hardware, str(entry.predicted), stage.target, model, engine, str(stage.agents))


def rows(
    entries: Sequence[Entry],
    name: str | None = None,
    target: str | None = None,
    model: str | None = None,
    agents: int | None = None,
    since: str | None = None,
    valid: bool = False,
) -> list[Row]:
    """A row a run and stage, the oldest first, of those that are asked for."""
    return [
        Row(entry, stage)
        for entry in entries
        if name in (None, entry.name) and entry.started_at >= (since or "")
        for stage in entry.stages
        if target in (None, stage.target) and model in (None, stage.model) and agents in (None, stage.agents)
        if stage.valid or not valid
    ]


def to_table(rows: Sequence[Row]) -> str:
    lines = [(*_HEADS, *map(_head, _shown()), _LAST), *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _head(number: Number) -> str:
    unit = number.metric.unit
    return number.label if unit in ("", "tok/s") else f"{number.label} {unit}"


def _cells(row: Row) -> tuple[str, ...]:
    numbers = row.stage.numbers
    shown = (
        "-" if (value := numbers.get(number.name)) is None else f"{value * number.metric.scale:.4g}"
        for number in _shown()
    )
    verdict = "valid" if row.stage.valid else "INVALID"
    kind = "predicted" if row.entry.predicted else row.entry.kind
    started = row.entry.started_at[:16].replace("T", " ")
    return (
        started,
        row.entry.name,
        kind,
        row.stage.target,
        str(row.stage.agents),
        verdict,
        *shown,
        row.entry.directory,
    )


def to_objects(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One object per run and stage, with all numbers under the names that thresholds give them."""
    names = [number.name for number in kept()]
    return [
        {key: getattr(entry if hasattr(entry, key) else stage, key) for key in _COLUMNS}
        | {name: stage.numbers.get(name) for name in names}
        for entry, stage in rows
    ]


def to_csv(rows: Sequence[Row]) -> str:
    """The same as lines of values; true and false are 1 and 0."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_COLUMNS, *(number.name for number in kept())])
    for found in to_objects(rows):
        writer.writerow([int(value) if isinstance(value, bool) else value for value in found.values()])
    return out.getvalue()


def to_plot(rows: Sequence[Row], metric: str) -> str:
    """A line of bars for each group of comparable runs, with its range; invalid runs are left out."""
    lines = []
    for group, points in _series(rows, metric).items():
        values = [value for _, value in points]
        low, high = min(values), max(values)
        bars = "".join(_BARS[round((value - low) / (high - low or 1) * (len(_BARS) - 1))] for value in values)
        lines.append(f"{group}  {bars}  {low:.4g} to {high:.4g}, last {values[-1]:.4g}")
    return "\n".join(lines)


def to_svg(rows: Sequence[Row], metric: str) -> str:
    series = _series(rows, metric)
    begin = min(when for points in series.values() for when, _ in points)
    days = {name: [((when - begin) / 86400, value) for when, value in points] for name, points in series.items()}
    flat = [point for points in days.values() for point in points]
    top, last = max(value for _, value in flat), max(day for day, _ in flat)
    x, y = Axis("days", 0, max(1.0, last)), Axis(metric, 0, top * 1.1 or 1.0)
    return plot(f"{metric} over {len(flat)} runs", x, y, days, lines=list(days))


def _series(rows: Sequence[Row], metric: str) -> dict[str, list[tuple[float, float]]]:
    """Name of a group -> seconds since 1970 and the value of each valid run."""
    known = [number.name for number in kept()]
    if metric not in known:
        raise UsageError(f"--plot {metric}: no such number; known are {', '.join(known)}")
    grouped: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        if row.stage.valid and metric in row.stage.numbers:
            grouped[row.group].append(row)
    if not grouped:
        raise UsageError(f"--plot {metric}: no valid run has it, of those that were asked for")
    found: dict[str, list[tuple[float, float]]] = {}
    for of_group in grouped.values():
        entry, stage = of_group[-1]
        title = f"{entry.name}: {stage.target} at {stage.agents}"
        number = 2
        while title in found:
            title, number = f"{entry.name}: {stage.target} at {stage.agents} ({number})", number + 1
        found[title] = [
            (datetime.fromisoformat(row.entry.started_at).timestamp(), row.stage.numbers[metric]) for row in of_group
        ]
    return found

"""A soak's results beyond a stage's table: how it went, what disturbed it, what changed. Lines of plain text."""

from collections.abc import Iterator
from itertools import groupby

from swarm.recording.records import SIGNALS
from swarm.results import Results, Soak
from swarm.text import counted

SHOWN = 8
"""Stretches of disturbed windows that are named one by one."""


def soak_lines(results: Results) -> list[str]:
    """Empty for a run that is no soak. Findings for the worse begin with "WORSE"."""
    soak = results.soak
    if not soak:
        return []
    return [_headline(soak), *_parts(soak), *_disturbances(soak), *_drift(soak)]


def _headline(soak: Soak) -> str:
    windows = len(soak.windows)
    return (
        f"soak ({soak.pattern}): {_hours(soak.measured_s)} of {_hours(soak.planned_s)} measured, "
        f"{counted(windows, 'window')} of {soak.window_s:g} s, {soak.undisturbed} undisturbed"
    )


def _parts(soak: Soak) -> Iterator[str]:
    for number, part in enumerate(soak.parts, 1):
        if part.ended == "finished" and number == 1:
            continue
        lost = f"; lost: {part.lost}" if part.lost else "; nothing lost"
        how = f"interrupted ({part.ended})" if part.ended in SIGNALS else part.ended
        yield f"part {number}, from {_hours(part.t_s)} on: {how} after {_hours(part.measured_s)}{lost}"


def _disturbances(soak: Soak) -> Iterator[str]:
    found = []
    for why, rows in groupby(soak.windows, key=lambda row: row.disturbed):
        stretch = list(rows)
        if why:
            windows = f" ({len(stretch)} windows)" if len(stretch) > 1 else ""
            found.append(f"at {_hours(stretch[0].t_s)}: {why}{windows}")
    yield from found[:SHOWN]
    if len(found) > SHOWN:
        yield f"and {len(found) - SHOWN} more disturbances; see soak.windows in results.json"


def _drift(soak: Soak) -> Iterator[str]:
    """Changes first, then numbers without change, then those that could not be decided."""
    for row in soak.drift:
        if row.finding:
            yield f"{'WORSE' if row.worse else 'changed'}: {row.text}"
    quiet = [row.text.partition(":")[0] for row in soak.drift if not row.finding and not row.why_not]
    if quiet:
        yield f"no change in {', '.join(quiet)}"
    untold: dict[str, list[str]] = {}
    for row in soak.drift:
        if row.why_not:
            untold.setdefault(row.why_not, []).append(row.text.partition(":")[0])
    for why, names in untold.items():
        yield f"{', '.join(names)}: {why}"


def _hours(seconds: float) -> str:
    for size, unit, digits in ((3600, "h", 2), (60, "min", 1)):
        if seconds >= size:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds:.1f} s"

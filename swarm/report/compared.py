"""Runs side by side, for people: what differs in their configuration first, then the numbers with their confidence."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from swarm.catalogue import better_is_lower
from swarm.results import Compared, ComparedRow, ComparedRun, Comparison
from swarm.text import MOST_SETTINGS, counted, listed

COLUMNS = ("agents", "metric", "baseline", "candidate", "ratio", "95% interval", "")
MANY = 20
"""Comparisons from which on one is likely to be called significant by chance."""


def to_text(compared: Compared) -> str:
    """For a terminal."""
    lines = [
        *answers(compared),
        "",
        *_aligned([["run", run.name, run.started_at or "-", _standing(run)] for run in compared.runs]),
    ]
    lines += [*_workload(compared), "", *_differences_text(compared)]
    for (baseline, candidate), rows in _by_pair(compared):
        cells = [list(COLUMNS), *([str(row.agents), row.metric, *cells_of(row)] for row in rows)]
        lines += ["", f"{candidate} against {baseline}", *_aligned(cells, right={0, 2, 3, 4})]
    return "\n".join([*lines, "", *conclusions(compared)])


def to_markdown(compared: Compared) -> str:
    """For a pull request."""
    lines = [f"**{said}**\n" for said in answers(compared)]
    lines += [f"- `{run.name}`, {run.started_at or '-'}, {_standing(run)}" for run in compared.runs]
    lines += [*(f"- {said}" for said in _workload(compared)), ""]
    names = [f"`{run.name}`" for run in compared.runs]
    if compared.differences:
        lines += [_line(["differs", *names]), _line(["---"] * (len(names) + 1))]
        lines += [_line([f"{one.key}", *map(_shown, one.values)]) for one in compared.differences]
    else:
        lines.append(ALIKE)
    for (baseline, candidate), rows in _by_pair(compared):
        head = ["agents", "metric", baseline, candidate, *COLUMNS[4:]]
        lines += ["", _line(head), _line(["--:", "---", "--:", "--:", "--:", "---", "---"])]
        lines += [_line([str(row.agents), f"`{row.metric}`", *cells_of(row)]) for row in rows]
    return "\n".join([*lines, "", *conclusions(compared)])


ALIKE = (
    "As far as swarm can see, the runs are configured alike. It cannot see the server's flags: label your runs "
    "(`swarm run --label TEXT`)."
)
_SPEED = {
    "job_s.p50": ("finishes jobs", True),
    "agent_output_tokens_per_s.p50": ("writes for each agent", False),
    "output_tokens_per_s": ("writes in total", False),
}
"""The numbers that the first sentence may be about, the most telling first, and whether less is faster."""


def answers(compared: Compared) -> Iterator[str]:
    """A sentence per pair: how many times as fast one is as the other, at the most agents that both had."""
    labels = {run.name: run.label for run in compared.runs if run.label}
    for _, rows in _by_pair(compared):
        usable = [row for row in rows if row.metric in _SPEED and row.valid and row.ratio]
        if usable:
            order = list(_SPEED)
            yield _faster(max(usable, key=lambda row: (-order.index(row.metric), row.agents)), labels)


def _faster(row: ComparedRow, labels: Mapping[str, str]) -> str:
    """Such as "B finishes jobs 1.23 ± 0.05 times as fast as A (8 agents)."; the faster one is the subject."""
    doing, less_is_faster = _SPEED[row.metric]
    names = [labels.get(row.baseline_run, row.baseline), labels.get(row.candidate_run, row.candidate)]
    ratio, ends = row.ratio or 1.0, row.ci95 or None
    if (ratio < 1) == less_is_faster:
        names.reverse()
    if ratio < 1:
        ratio, ends = 1 / ratio, [1 / ends[1], 1 / ends[0]] if ends else None
    spread = f" ± {(ends[1] - ends[0]) / 2:.2g}" if ends else ""
    said = f"{names[0]} {doing} {ratio:.3g}{spread} times as fast as {names[1]} ({counted(row.agents, 'agent')})"
    if row.significant is None:
        return f"{said}; not known to be significant." if not row.predicted else f"{said}, predicted."
    return f"{said}." if row.significant else f"No significant difference: {said}."


def conclusions(compared: Compared) -> Iterator[str]:
    """Conclusions that the numbers allow, and those that they do not."""
    rows = compared.comparison
    known = [row for row in rows if row.significant is not None]
    differing = [row for row in known if row.significant]
    if known and not differing:
        yield "No significant difference."
    elif known:
        share = f"{len(differing)} of {len(known)}"
        yield f"{share} comparisons differ significantly (95% t interval of the trial-paired log ratio)."
        if len(known) >= MANY:
            yield f"By chance alone, about {len(known) / 20:.0f} of {len(known)} would."
    elif any(row.predicted for row in rows):
        yield "Predicted: ratios of the contention model, without intervals."
    else:
        yield "Significance unknown: it takes three valid trials of both."
    if invalid := sorted({row.agents for row in rows if not row.valid}):
        yield f"Invalid at level {listed(invalid)}: not compared there."
    yield from (f"Not compared: {one}." for one in compared.unpaired)


def cells_of(row: Comparison) -> list[str]:
    """Baseline, candidate, ratio, interval, verdict."""
    interval = f"{row.ci95[0]:.3f} .. {row.ci95[1]:.3f}" if row.ci95 else ""
    ratio = "-" if row.ratio is None else f"{row.ratio:.3f}"
    return [_value(row.baseline_value), _value(row.candidate_value), ratio, interval, verdict(row)]


def verdict(row: Comparison) -> str:
    """In words, whether the two differ."""
    if not getattr(row, "valid", True):
        return "invalid stage"
    if row.ratio is None or row.significant is None:
        return ""
    if not row.significant:
        return "no significant difference"
    lower = better_is_lower(row.metric)
    if lower is None:
        return "differs"
    return "better" if (row.ratio < 1) == lower else "worse"


def _value(value: float | None) -> str:
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2 if abs(value) >= 1 else 4
    return f"{value:,.{digits}f}"


def _workload(compared: Compared) -> list[str]:
    """The work that all runs had; where it differs, it is among the settings that do."""
    said = {run.workload for run in compared.runs}
    return [one for one in said if one] if len(said) == 1 else []


def _standing(run: ComparedRun) -> str:
    label = f"{run.label}, " if run.label else ""
    return f"{label}{run.verdict}, predicted" if run.predicted else f"{label}{run.verdict}"


def _by_pair(compared: Compared) -> Iterator[tuple[tuple[str, str], list[ComparedRow]]]:
    for pair, rows in groupby(compared.comparison, key=lambda row: (row.baseline, row.candidate)):
        yield pair, list(rows)


def _differences_text(compared: Compared) -> Iterator[str]:
    if not compared.differences:
        yield ALIKE
        return
    yield "These settings differ:"
    rows = [["", one.group, one.key, *map(_shown, one.values)] for one in compared.differences]
    yield from _aligned(rows)


def _shown(value: object) -> str:
    """A setting; what a server said of itself may hold anything, so that only printable characters pass."""
    text = listed(value, MOST_SETTINGS) or "none" if isinstance(value, list) else "-" if value is None else str(value)
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _aligned(rows: Sequence[Sequence[str]], right: set[int] | frozenset[int] = frozenset()) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    for row in rows:
        cells = (
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def _line(cells: Sequence[str]) -> str:
    """Line of a Markdown table; a "|" in a cell would end it."""
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

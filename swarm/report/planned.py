"""The table of `swarm plan`: one line per model and machine, the best first."""

from collections.abc import Sequence

from swarm.results import Planned

HEADS = (
    "profile",
    "fits",
    "agents",
    "tok/s\neach",
    "TTFT\np95 s",
    "job\ns",
    "jobs/h",
    "per h",
    "per job",
    "runs out first",
)
_TEXT = (0, 9)
"""Columns that are aligned to the left."""


def to_text(rows: Sequence[Planned], agents: int, slos: Sequence[str]) -> str:
    """A sentence, the table and the reasons of those without numbers."""
    priced = any(row.price_per_h is not None for row in rows)
    shown = [at for at in range(len(HEADS)) if priced or at not in (7, 8)]
    lines = [[HEADS[at].split("\n") for at in shown]]
    body = [[_cells(row)[at] for at in shown] for row in rows]
    heads = [[head[-depth] if len(head) >= depth else "" for head in lines[0]] for depth in (2, 1)]
    widths = [max(len(line[at]) for line in (*heads, *body)) for at in range(len(shown))]
    text = [
        "  ".join(
            cell.ljust(width) if shown[at] in _TEXT else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (*heads, *body)
    ]
    errors = [row.expected_error for row in rows if row.expected_error]
    rates, waits = [one.tokens_per_s for one in errors], [one.ttft_s for one in errors]
    off = f" Four of five predictions are within {_span(rates)} (tok/s) and {_span(waits)} (TTFT)." if errors else ""
    why = [f"{row.profile}: {row.why}" for row in rows if row.why]
    return "\n".join([_answer(rows, agents, slos), "", *text, "", *why, f"{NOTE}{off}"])


NOTE = (
    "Predicted by the contention model, not measured. agents: the most within the SLO, to within a quarter (+: as many "
    "as were tried), and the range within the prediction's error. The other numbers are with the agents asked for."
)


def _span(shares: Sequence[float]) -> str:
    """ "8%", or "8% to 12%" over several profiles."""
    low, high = f"{min(shares) * 100:.0f}%", f"{max(shares) * 100:.0f}%"
    return low if low == high else f"{low} to {high}"


def _answer(rows: Sequence[Planned], agents: int, slos: Sequence[str]) -> str:
    holding = [row for row in rows if row.holds]
    load = f"{agents} agent{'s' * (agents != 1)} with {' and '.join(slos)}"
    if not holding:
        return f"None of {len(rows)} carries {load}."
    best = holding[0]
    rest = f"; {len(holding)} of {len(rows)} do" if len(rows) > 1 else ""
    reason = "cheapest per job" if best.price_per_job is not None else "most jobs per hour"
    return f"{best.profile} carries {load} ({reason}){rest}."


def _cells(row: Planned) -> tuple[str, ...]:
    return (
        row.profile,
        "yes" if row.holds else "no",
        _carried(row),
        _number(row.output_tokens_per_s),
        _number(row.ttft_s_p95),
        _number(row.job_s),
        _number(row.jobs_per_h),
        _number(row.price_per_h),
        _number(row.price_per_job),
        row.runs_out or "-",
    )


def _carried(row: Planned) -> str:
    """ "13 (9-16)": the most agents, and the range within the prediction's error."""
    if row.carries is None:
        return "-"
    most = f"{row.carries}{'+' if row.carries_more else ''}"
    if row.carries_low is None or row.carries_high is None:
        return most
    return f"{most} ({row.carries_low}-{row.carries_high})"


def _number(value: float | None) -> str:
    """Three significant digits at most."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

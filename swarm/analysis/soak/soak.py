"""A soak's results beyond those of a stage: its windows, what broke it off, and what changed while it ran."""

from pathlib import Path

from swarm.analysis.plan import SoakPlan
from swarm.analysis.read import Notes, read_events, read_server
from swarm.analysis.soak.drift import drift
from swarm.analysis.soak.soak_windows import Minutes, Segment
from swarm.results import Soak, SoakPart


def read_minutes(directory: Path, plan: SoakPlan) -> Minutes:
    """The soak in a run directory, window by window. What is left out of its files is told by `read_trials`."""
    minutes = Minutes(plan)
    for record in read_events(directory, Notes()):
        minutes.add(record)
    for sample in read_server(directory, Notes()):
        minutes.add_sample(sample)
    return minutes


def soak_block(minutes: Minutes, max_lag_s: float) -> Soak:
    """The `soak` of the results: seconds on the run's time line, and shares of 1."""
    rows = minutes.rows(max_lag_s)
    plan, parts = minutes.plan, minutes.segments
    return Soak(
        pattern=plan.pattern,
        window_s=plan.window_s,
        planned_s=plan.duration_s,
        measured_s=sum(part.measured_ns for part in parts) / 1e9,
        parts=[_part(part, last=part is parts[-1]) for part in parts],
        undisturbed=sum(row.disturbed is None for row in rows),
        drift=drift(rows, plan.window_s),
        windows=rows,
    )


def _part(part: Segment, last: bool) -> SoakPart:
    """`lost` says what a part that was killed took with it: the requests in flight, which had no end to record."""
    lost = None
    if part.ended is None:
        lost = (
            f"at most {part.began.agents} requests in flight and what the last second was not yet written of; the "
            "percentiles over the whole soak also lack its last window"
        )
    return SoakPart(
        t_s=part.began.window_start_ns / 1e9,
        measured_s=part.measured_ns / 1e9,
        ended="killed" if part.ended is None else part.ended.interrupted or "finished",
        resumed=not last,
        lost=lost,
    )

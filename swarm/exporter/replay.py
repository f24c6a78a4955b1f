"""A finished run as OpenMetrics text with timestamps: the same series that it showed live, and its results.

`promtool tsdb create-blocks-from openmetrics` puts them into a Prometheus. The records are played back through the same
`Metrics`, which is asked on a grid of times; the results (`swarm_result_*`) stand once, at the run's end.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from swarm.analysis.read import Notes, read_events, read_server
from swarm.analysis.results import analyse
from swarm.errors import UsageError
from swarm.exporter.info import RunInfo, run_info
from swarm.exporter.metrics import Metrics
from swarm.exporter.results import result_families
from swarm.exporter.text import OpenMetrics
from swarm.recording import rundir
from swarm.recording.records import AgentEnd, AnyRecord, Attempt, Published, Stage, StageEnd, Tool
from swarm.recording.status import AgentStatus, State

STEP_S = 2.0
"""Between two samples of a series."""
MOST_SAMPLES = 720
"""Samples of a series: a longer run gets longer steps, of a minute in a night of 12 hours."""


@dataclass(frozen=True)
class _Change:
    """An agent's activity from `t_ns` on; `streams`: its reply has begun."""

    t_ns: int
    agent: int
    state: State
    streams: bool = False


@dataclass(frozen=True)
class _Survey:
    """Facts of a run that its playback begins with. Times are nanoseconds since its start, ascending."""

    changes: list[_Change]
    moments: list[int]
    """When the series are sampled: on a grid while stages run, and at every stage's end."""


def openmetrics(directory: Path) -> Iterator[str]:
    """The text of a run, whole or broken off.

    Raises UsageError when `directory` is not a run directory, or is damaged, or does not say when it was made.
    """
    results = analyse(directory)
    if results.started_at is None:
        raise UsageError(f"{directory}: without {rundir.ENVIRONMENT} nobody knows when it was made")
    started = datetime.fromisoformat(results.started_at).timestamp()
    survey = _survey(read_events(directory, Notes()))
    written = OpenMetrics()
    scenario, environment = rundir.read_scenario(directory), rundir.read_environment(directory)
    info = run_info(rundir.name_of(directory), scenario, environment)
    for t_ns, metrics in _play(directory, info, survey):
        for family in metrics.families(t_ns):
            written.add(family, started + t_ns / 1e9)
    if survey.moments:
        for family in result_families(rundir.name_of(directory), results):
            written.add(family, started + survey.moments[-1] / 1e9)
    yield from written.text()


def _survey(records: Iterable[AnyRecord]) -> _Survey:
    changes: list[_Change] = []
    spans: list[tuple[int, int]] = []
    ends: set[int] = set()
    for record in records:
        changes += _changes(record)
        if isinstance(record, Stage):
            spans.append((record.t_ns, record.t_ns))
        elif spans:
            spans[-1] = (spans[-1][0], max(spans[-1][1], _published_at(record)))
        if isinstance(record, StageEnd):
            ends.add(record.t_ns)
    loaded_s = sum(stop - start for start, stop in spans) / 1e9
    step = round(max(STEP_S, loaded_s / MOST_SAMPLES) * 1e9)
    moments = {t for start, stop in spans for t in (*range(start, stop, step), stop)}
    return _Survey(sorted(changes, key=lambda change: change.t_ns), sorted(moments | ends))


def _changes(record: AnyRecord) -> Iterator[_Change]:
    agent = record.agent
    if agent is None:
        return
    if isinstance(record, Attempt):
        yield _Change(record.t_ns, agent, "model")
        if record.first_token_ns is not None:
            yield _Change(record.first_token_ns, agent, "model", streams=True)
        yield _Change(record.end_ns, agent, "think")
    elif isinstance(record, Tool):
        yield _Change(record.t_ns, agent, "tool")
        yield _Change(record.end_ns, agent, "think")
    elif isinstance(record, AgentEnd):
        yield _Change(record.end_ns, agent, "crashed" if record.crash else "stopped")


def _play(directory: Path, info: RunInfo, survey: _Survey) -> Iterator[tuple[int, Metrics]]:
    """At each of the survey's moments: the metrics as they stood then."""
    notes = Notes()
    metrics = Metrics(info)
    statuses: dict[int, AgentStatus] = {}
    read = (read_events(directory, notes), read_server(directory, notes))
    # A damaged line may name a target that the run has not.
    events, samples = (_Until(one for one in of_file if one.target in info.targets) for of_file in read)
    changes = _Until(survey.changes)
    for t_ns in survey.moments:
        for record in events.take(t_ns):
            if isinstance(record, Stage):
                statuses = {agent: AgentStatus(agent) for agent in range(record.agents)}
                metrics.watch(list(statuses.values()))
            metrics.add(record)
        for sample in samples.take(t_ns):
            metrics.add(sample)
        for change in changes.take(t_ns):
            if status := statuses.get(change.agent):
                status.state, status.stream = change.state, (1,) if change.streams else ()
        metrics.close()
        yield t_ns, metrics


class _Until:
    """Things in the order of time, taken a stretch of time at once."""

    def __init__(self, things: Iterable[Any]) -> None:
        self._things = iter(things)
        self._next: Any = next(self._things, None)

    def take(self, t_ns: int) -> Iterator[Any]:
        """All up to `t_ns`."""
        while self._next is not None and _published_at(self._next) <= t_ns:
            yield self._next
            self._next = next(self._things, None)


def _published_at(thing: Published | _Change) -> int:
    """When it was known: at its end, if it has one."""
    return int(getattr(thing, "end_ns", thing.t_ns))

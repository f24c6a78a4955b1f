"""From the run directories of shards that nobody led to one ordinary run directory, on the time line of shard 0.

Nothing is averaged: records are put in one order, and the lines of the interval logs side by side, which is how the log
merges histograms. Memory does not grow with the number of records.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge as in_order
from itertools import count, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec
import yaml

from swarm.analysis.read import Notes, read_events
from swarm.engine.card import Card, refusal
from swarm.engine.split import numbers_of
from swarm.engine.worker import minor
from swarm.errors import SwarmError, UsageError
from swarm.recording import rundir
from swarm.recording.appender import RecordFile
from swarm.recording.histograms import StageKey
from swarm.recording.records import AgentEnd, AnyRecord, Record, Shard, ShardLost, Stage, StageEnd

TIMES = (
    "t_ns",
    "end_ns",
    "window_start_ns",
    "window_end_ns",
    "intended_ns",
    "first_token_ns",
    "last_token_ns",
    "answer_ns",
)
"""Fields that are moments of a time line; all others in nanoseconds are durations."""
WRITTEN_TOGETHER = 500
"""Records."""


class Told(msgspec.Struct, frozen=True):
    """What a shard's `environment.json` says of its place: see `swarm.engine.shard.Share.told`."""

    index: int
    of: int
    run: str
    run_started_at: str
    host: str
    pid: int
    began_ns: int
    offset_ns: int
    uncertainty_ns: int


@dataclass(frozen=True)
class Piece:
    """A shard's run directory."""

    directory: Path
    told: Told
    card: Card
    """As the shard showed it when it met the others."""
    scenario: str
    environment: dict[str, Any]

    @property
    def name(self) -> str:
        return f"shard {self.told.index} of {self.told.of} ({self.told.host}, process {self.told.pid})"


def piece_of(directory: Path) -> Piece | None:
    """The shard that a run directory is of; None: it is a whole run, or no run at all, which others will tell.

    Raises UsageError for one that cannot be read.
    """
    path = directory / rundir.ENVIRONMENT
    try:
        environment = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    try:
        if "shard" not in environment:
            return None
        told = msgspec.convert(environment["shard"], Told)
        scenario = (directory / rundir.SCENARIO).read_text(encoding="utf-8")
        return Piece(directory, told, _card(told, yaml.safe_load(scenario), environment), scenario, environment)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError, RecursionError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise UsageError(f"{directory}: not readable as a shard's run directory: {problem}") from None


def _card(told: Told, scenario: dict[str, Any], environment: dict[str, Any]) -> Card:
    versions, servers = environment["versions"], environment["targets"]
    return Card(
        shard=told.index,
        shards=told.of,
        instance="",
        machine="",  # who met has been looked at
        swarm=versions["swarm"],
        python=minor(versions["python"]),
        scenario={key: value for key, value in scenario.items() if key != "prometheus"},
        servers={name: (found.get("model"), found.get("version")) for name, found in servers.items()},
    )


def merge(pieces: Sequence[Piece], out: Path | None = None) -> tuple[Path, list[str]]:
    """Makes the run directory of a whole run: `out`, or beside that of the first shard; returns it, and what to know.

    A shard that is missing, or broke off, leaves a run that is invalid and says which agents it lost. Raises UsageError
    for directories that do not belong together, or are damaged.
    """
    pieces = sorted(pieces, key=lambda piece: piece.told.index)
    _check(pieces)
    first = pieces[0].directory.resolve()
    directory = rundir.make(out or first.with_name(f"{first.name}-merged"))
    notes: Notes = Counter()
    try:
        (directory / rundir.SCENARIO).write_text(pieces[0].scenario, encoding="utf-8")
        rundir.write_json(directory / rundir.ENVIRONMENT, _environment(pieces))
        _write_events(directory / rundir.EVENTS, pieces, notes)
        _write_histograms(directory / rundir.HISTOGRAMS, pieces)
        samples = pieces[0].directory / rundir.SERVER
        if pieces[0].told.index == 0 and samples.exists():
            shutil.copyfile(samples, directory / rundir.SERVER)
    except (SwarmError, OSError) as error:
        shutil.rmtree(directory, ignore_errors=True)
        if isinstance(error, OSError):
            raise UsageError(
                f"{error.filename or directory}: {error.strerror}, so the shards cannot be merged"
            ) from None
        raise
    return directory, [f"{note} ({count})" if count > 1 else note for note, count in sorted(notes.items())]


def _check(pieces: Sequence[Piece]) -> None:
    first, others = pieces[0], pieces[1:]
    for piece, other in zip(pieces, others, strict=False):
        if piece.told.index == other.told.index:
            raise UsageError(f"{piece.directory} and {other.directory}: both are shard {piece.told.index}; give one")
    for other in others:
        if other.told.run != first.told.run:
            raise UsageError(
                f"{other.directory}: is a shard of the run {other.told.run}, and {first.directory} of {first.told.run}"
            )
        if why_not := refusal(first.card, other.card):
            raise UsageError(f"{other.directory}: {why_not}")


def _environment(pieces: Sequence[Piece]) -> dict[str, Any]:
    """That of the first shard, and who the shards are."""
    first = pieces[0]
    shared = {key: value for key, value in first.environment.items() if key != "shard"}
    shards = [
        {
            "shard": piece.told.index,
            "host": piece.told.host,
            "pid": piece.told.pid,
            "cores": (piece.environment.get("machine") or {}).get("cores"),
            "swarm": piece.card.swarm,
            "python": piece.environment["versions"]["python"],
            "offset_ns": piece.told.offset_ns,
            "uncertainty_ns": piece.told.uncertainty_ns,
            "directory": piece.directory.name,
        }
        for piece in pieces
    ]
    return {**shared, "started_at": first.told.run_started_at, "shards": shards}


def _write_events(path: Path, pieces: Sequence[Piece], notes: Notes) -> None:
    file = RecordFile(path, Record)
    for number, record in enumerate(merged(pieces, notes), 1):
        file.add(record)
        if number % WRITTEN_TOGETHER == 0:
            for _ in file.flush():
                pass
    file.close()


def merged(pieces: Sequence[Piece], notes: Notes) -> Iterator[AnyRecord]:
    """The records of all shards as one process would have written them: stage by stage, and as they end.

    `pieces` are in the order of their numbers.
    """
    shards = [_parts(piece, notes) for piece in pieces]
    following = {number: part for number, shard in enumerate(shards) if (part := next(shard, None))}
    ids = count(1)
    while following:
        key = min(following.values(), key=lambda part: part.began.t_ns).key
        now = sorted(number for number, part in following.items() if part.key == key)
        yield from _stage([following.pop(number) for number in now], pieces, ids)
        following |= {number: part for number in now if (part := next(shards[number], None))}


@dataclass(eq=False)
class _Part:
    """A shard's part of a stage."""

    piece: Piece
    began: Stage
    records: Iterator[AnyRecord]
    """After its first, and before the shard's next stage."""
    heard_ns: int
    """The end of the last thing on record."""
    ended: StageEnd | None = None
    agents_ended: set[int | None] = field(default_factory=set)

    @property
    def key(self) -> StageKey:
        return _key(self.began)

    def of(self, stage: Stage) -> Iterator[tuple[int, AnyRecord]]:
        """Its records as those of the merged stage, each with a time that never goes back."""
        for record in self.records:
            self.heard_ns = max(self.heard_ns, getattr(record, "end_ns", record.t_ns))
            if isinstance(record, StageEnd):
                self.ended = record
                continue
            if isinstance(record, AgentEnd):
                self.agents_ended.add(record.agent)
            if record.parent == self.began.id:
                record = msgspec.structs.replace(record, parent=stage.id)
            yield self.heard_ns, record


def _parts(piece: Piece, notes: Notes) -> Iterator[_Part]:
    for _, records in groupby(_on_the_runs_time(piece, notes), _key):
        if part := _part(piece, records):
            yield part
        else:
            notes["records of no stage are left out"] += 1


def _part(piece: Piece, records: Iterator[AnyRecord]) -> _Part | None:
    began = next(records)
    return _Part(piece, began, records, began.t_ns) if isinstance(began, Stage) else None


def _key(record: Record) -> StageKey:
    return record.target, record.agents, record.trial


def _on_the_runs_time(piece: Piece, notes: Notes) -> Iterator[AnyRecord]:
    """A shard's records, each stage corrected by the offset that was measured before it."""
    offset_ns, stage = piece.told.offset_ns, None
    for record in read_events(piece.directory, notes):
        if isinstance(record, Shard):
            offset_ns = record.offset_ns
        if stage:
            yield _moved(stage, piece.told.began_ns - offset_ns)
            stage = None
        if isinstance(record, Stage):
            stage = record  # the next record is its Shard, and knows the offset
        else:
            yield _moved(record, piece.told.began_ns - offset_ns)
    if stage:
        yield _moved(stage, piece.told.began_ns - offset_ns)


def _moved(record: AnyRecord, by_ns: int) -> AnyRecord:
    times = ((name, getattr(record, name, None)) for name in TIMES)
    return msgspec.structs.replace(record, **{name: t_ns + by_ns for name, t_ns in times if t_ns is not None})


def _stage(parts: Sequence[_Part], pieces: Sequence[Piece], ids: "count[int]") -> Iterator[AnyRecord]:
    """One stage, begun and ended once."""
    began = parts[0].began
    yield began
    yield from (record for _, record in in_order(*(part.of(began) for part in parts), key=itemgetter(0)))
    yield from _lost(began, parts, pieces, ids)
    ends = [(part.piece, part.ended) for part in parts if part.ended]
    if ends:
        first, end = ends[0]
        early = (f"{end.interrupted} in {piece.name}" for piece, end in ends if end.interrupted)
        yield msgspec.structs.replace(
            end,
            parent=began.id,
            t_ns=max(end.t_ns for _, end in ends),
            interrupted=next(early, None),
            counters=end.counters if first.told.index == 0 else None,
        )


def _lost(
    began: Stage, parts: Sequence[_Part], pieces: Sequence[Piece], ids: "count[int]"
) -> Iterator[ShardLost | AgentEnd]:
    """The shards that should have ended the stage and did not, and their agents."""
    of = pieces[0].told.of
    given = {piece.told.index: piece for piece in pieces}
    there = {part.piece.told.index: part for part in parts}
    for shard in range(min(of, began.agents)):
        part, piece = there.get(shard), given.get(shard)
        if part and part.ended:
            continue
        why = "its records break off" if part else "it had no part in it" if piece else "its directory was not given"
        numbers = list(numbers_of(began.agents, shard, of))
        heard_ns = part.heard_ns if part else began.t_ns
        fields: dict[str, Any] = {"run": began.run, "shard": shard, "target": began.target, "agents": began.agents}
        fields |= {"trial": began.trial, "parent": began.id}
        yield ShardLost(
            **fields,
            id=f"m.{next(ids)}",
            t_ns=heard_ns,
            name=piece.name if piece else f"shard {shard} of {of}",
            numbers=numbers,
            reason=why,
        )
        for agent in numbers:
            if not part or agent not in part.agents_ended:
                yield AgentEnd(**fields, id=f"m.{next(ids)}", t_ns=began.t_ns, end_ns=heard_ns, agent=agent)


def _write_histograms(path: Path, pieces: Sequence[Piece]) -> None:
    """The lines of all logs, which readers merge by their tags."""
    logs = [_log(piece, head=piece is pieces[0]) for piece in pieces]
    with path.open("wb") as file:
        file.writelines(line for _, line in in_order(*logs, key=itemgetter(0)))


def _log(piece: Piece, head: bool) -> Iterator[tuple[float, bytes]]:
    """Each line with its start on the time line of shard 0, without a torn one, and with the head if wanted."""
    path, later_s = piece.directory / rundir.HISTOGRAMS, (piece.told.began_ns - piece.told.offset_ns) / 1e9
    start = float("-inf")
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.startswith(b"Tag="):
                tag, _, rest = line.partition(b",")
                began, _, rest = rest.partition(b",")
                try:
                    start = float(began) + later_s
                except ValueError:
                    raise UsageError(f"{path}:{number}: the line is damaged: no start of an interval") from None
                line = b"%s,%.3f,%s" % (tag, start, rest)
            elif not head and not line.startswith(b"#[OutOfRange: "):
                continue
            if line.endswith(b"\n"):
                yield start, line

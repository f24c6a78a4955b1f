"""The history of runs: one SQLite file beside the run directories.

SQLite because it is in Python's standard library (the core install stays small), its file is one that everything opens,
and many processes may read while one writes: a nightly soak adds a row a night, and has no use for a column store.
Two writers wait for each other; a crash in the middle of one leaves the file as it was before (rollback journal).
"""

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from swarm.errors import UsageError

FILE = "history.sqlite"
SCHEMA = 1
WAIT_S = 30.0
"""For another writer."""
_TABLES = """
CREATE TABLE runs (
    id TEXT PRIMARY KEY, started_at TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, verdict TEXT NOT NULL,
    predicted INTEGER NOT NULL, directory TEXT NOT NULL, scenario TEXT NOT NULL, hardware TEXT NOT NULL,
    swarm TEXT NOT NULL
);
CREATE TABLE stages (
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE, target TEXT NOT NULL, model TEXT, engine TEXT,
    agents INTEGER NOT NULL, valid INTEGER NOT NULL, PRIMARY KEY (run, target, agents)
);
CREATE TABLE numbers (
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE, target TEXT NOT NULL, agents INTEGER NOT NULL,
    metric TEXT NOT NULL, value REAL NOT NULL, PRIMARY KEY (run, target, agents, metric)
);
CREATE INDEX runs_by_time ON runs (started_at);
"""


@dataclass(frozen=True)
class StageEntry:
    """One target at one level: its numbers by name, those that were measured."""

    target: str
    model: str | None
    engine: str | None
    agents: int
    valid: bool
    numbers: Mapping[str, float]


@dataclass(frozen=True)
class Entry:
    """A finished run. Runs with the same `scenario`, `hardware`, target, model, engine and level can be compared."""

    id: str
    started_at: str
    name: str
    kind: str
    """run, soak or predict."""
    verdict: str
    predicted: bool
    directory: str
    scenario: str
    """A digest of all in it that makes a load what it is."""
    hardware: str
    swarm: str
    stages: tuple[StageEntry, ...]


def add(path: Path, entry: Entry) -> None:
    """Adds a run, or replaces it where it is there already: whole or not at all. Raises UsageError."""
    with _opened(path, write=True) as database:
        database.execute("DELETE FROM runs WHERE id = ?", (entry.id,))
        database.execute(
            "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(entry.id, entry.started_at, entry.name, entry.kind, entry.verdict, entry.predicted),
                *(entry.directory, entry.scenario, entry.hardware, entry.swarm),
            ),
        )
        for stage in entry.stages:
            key = (entry.id, stage.target)
            row = (*key, stage.model, stage.engine, stage.agents, stage.valid)
            database.execute("INSERT INTO stages VALUES (?, ?, ?, ?, ?, ?)", row)
            numbers = ((*key, stage.agents, name, value) for name, value in stage.numbers.items())
            database.executemany("INSERT INTO numbers VALUES (?, ?, ?, ?, ?)", numbers)


def entries(path: Path) -> list[Entry]:
    """All runs, the oldest first; none where there is no file yet. Raises UsageError."""
    if not path.exists():
        return []
    with _opened(path, write=False) as database:
        numbers: dict[tuple[str, str, int], dict[str, float]] = {}
        for run, target, agents, metric, value in database.execute("SELECT * FROM numbers"):
            numbers.setdefault((run, target, agents), {})[metric] = value
        stages: dict[str, list[StageEntry]] = {}
        for run, target, model, engine, agents, valid in database.execute("SELECT * FROM stages ORDER BY rowid"):
            found = numbers.get((run, target, agents), {})
            stages.setdefault(run, []).append(StageEntry(target, model, engine, agents, bool(valid), found))
        return [
            Entry(**dict(row) | {"predicted": bool(row["predicted"])}, stages=tuple(stages.get(row["id"], ())))
            for row in database.execute("SELECT * FROM runs ORDER BY started_at, id")
        ]


@contextmanager
def _opened(path: Path, *, write: bool) -> Iterator[sqlite3.Connection]:
    """One transaction, committed at the end. Raises UsageError for a file that is none of ours, or of a newer swarm."""
    try:
        if write:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # a new one is its owner's alone
        with closing(sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)) as database:
            database.row_factory = sqlite3.Row
            database.execute("PRAGMA foreign_keys = ON")
            database.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            _prepare(database, path, write)
            yield database
            database.execute("COMMIT")
    except (sqlite3.Error, OSError) as error:
        raise UsageError(f"{path}: cannot be used as the history of runs: {error}") from error


def _prepare(database: sqlite3.Connection, path: Path, write: bool) -> None:
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA:
        raise UsageError(
            f"{path}: was written by a newer swarm (schema {version}, and this one knows {SCHEMA}); it is left as it "
            "is: upgrade swarm, then `swarm history --add RUN` adds what is missing"
        )
    if version == 0 and write:
        if database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise UsageError(f"{path}: is a database of something else; choose another file")
        for statement in _TABLES.split(";"):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {SCHEMA}")
    elif version == 0:
        raise UsageError(f"{path}: is not the history of runs of swarm")

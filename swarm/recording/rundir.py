"""The run directory: its place, the names in it, and files that are written whole or not at all."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import yaml

from swarm.errors import UsageError
from swarm.recording.redaction import plain

SCENARIO = "scenario.yaml"
ENVIRONMENT = "environment.json"
EVENTS = "events.jsonl"
HISTOGRAMS = "histograms.hlog"
SERVER = "server.jsonl"
CHECKPOINT = "checkpoint.json"
RESULTS = "results.json"
REPORT = "report.html"

MOST_OF_A_CAUSE = 200
"""Characters of a parser's own words."""


LATEST = "latest"
"""Names the newest run directory in `runs/`, wherever a run is asked for."""


def find(named: Path, runs: Path = Path("runs")) -> Path:
    """The run directory that a person means: that of the name, the newest in a folder of runs, or the latest of all.

    What is none of these stays as it is, for its reader to refuse. UsageError for `latest` where there is no run.
    """
    if named == Path(LATEST) and not named.exists():
        if not (newest := _newest(runs)):
            raise UsageError(f"{LATEST}: no run directory in {runs}/ yet; name one")
        return newest
    if named.is_dir() and not (named / SCENARIO).exists() and not (named / ENVIRONMENT).exists():
        return _newest(named) or named
    return named


def _newest(folder: Path) -> Path | None:
    """The run directory that was begun last."""
    begun = [(mark.stat().st_mtime_ns, mark.parent) for mark in folder.glob(f"*/{ENVIRONMENT}")]
    return max(begun)[1] if begun else None


def create(name: str, started: datetime, out: Path | None = None) -> Path:
    """Makes the directory of a new run: `out`, or `runs/<name>-<UTC stamp>` with a number after it if that is taken.

    Raises UsageError, before anything has run, when `out` exists already or the directory cannot be made.
    """
    if out is not None:
        return _make(out)
    base = Path("runs") / f"{name}-{started.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    path, number = base, 1
    while path.exists():
        number += 1
        path = base.with_name(f"{base.name}-{number}")
    return _make(path)


def _make(path: Path) -> Path:
    """Makes a run directory, its owner's alone. Raises UsageError when it exists already, or cannot be made."""
    try:
        path.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        raise UsageError(f"{path}: exists already, and a run never overwrites; choose another --out") from None
    except OSError as error:
        raise UsageError(
            f"{path}: the run directory cannot be made: {error.strerror}; choose a writable place with --out"
        ) from None
    return path


def printable(path: Path) -> str:
    """A path as text that every file can hold: bytes in it that are no UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def name_of(directory: Path) -> str:
    """Name of a run: that of its directory."""
    return printable(Path(directory.resolve().name))


def read_scenario(directory: Path) -> dict[str, Any]:
    """The resolved scenario of a run. Raises UsageError where it cannot be read, or is damaged."""
    return _read(directory / SCENARIO, yaml.safe_load)


def read_environment(directory: Path) -> dict[str, Any]:
    """Surroundings of a run, as recorded. Raises UsageError as `read_scenario`."""
    return _read(directory / ENVIRONMENT, json.loads)


def _read(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    try:
        found = parse(path.read_text(encoding="utf-8"))
        json.dumps(found, sort_keys=True, default=str)  # keys of several types have no order
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}; is {path.parent} a run directory?") from None
    except (ValueError, TypeError, yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"{path}: is damaged: {' '.join(str(error).split())[:MOST_OF_A_CAUSE]}") from None
    if not isinstance(found, dict):
        raise UsageError(f"{path}: is damaged: expected keys and values")
    return found


def close_off(path: Path) -> None:
    """Makes a run directory that is gone on with, and the files in it, their owner's alone, as new ones are."""
    for file in (path, *path.iterdir()):
        with suppress(OSError):  # another's
            if not file.is_symlink():
                file.chmod(file.stat().st_mode & 0o700)


def write_results(directory: Path, results: object) -> None:
    """Writes `results.json`, whole or not at all. Raises UsageError."""
    write_json(directory / RESULTS, msgspec.to_builtins(results))


def write_json(path: Path, value: object) -> None:
    """Writes a value as readable JSON, whole or not at all, for its owner alone. Raises UsageError."""
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", private=True)


def write_whole(path: Path, text: str, *, private: bool = False) -> None:
    """Replaces a file's text at once: a reader, or a crash, finds the old text or the new. Raises UsageError.

    `private`: for its owner alone, as all of a run directory is; else as the umask says. Control characters are
    written as escapes, which JSON reads back as they were.
    """
    beside = path.parent / f".{path.name}.{os.getpid()}"
    try:
        beside.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(
            os.open(beside, flags, 0o600 if private else 0o666), "w", encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(plain(text))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error

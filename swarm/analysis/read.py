"""From the files of a run directory to records, one at a time: memory does not grow with the number of requests.

The files may be cut off anywhere (a killed run), be damaged, or come from a newer version: a line that cannot be used
is left out, counted, and said in `notes`, a count for each reason.
"""

import binascii
import zlib
from array import array
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TypeVar, get_args

import msgspec
from hdrh.codec import HdrCookieException, HdrHistogramSettingsException, HdrLengthException
from hdrh.histogram import HdrHistogram

from swarm.analysis.plan import Plan, plan_from
from swarm.errors import UsageError
from swarm.recording import rundir
from swarm.recording.histograms import StageKey, bucket, new_histogram, release
from swarm.recording.records import VERSION, AnyRecord, ServerSample
from swarm.recording.rotation import parts_of


class Notes(Counter[str]):
    """Remarks of a reader of a run's files, and how often each came up."""

    lines_left_out = 0

    def leave_out(self, reason: str) -> None:
        """Counts a line that cannot be used."""
        self[reason] += 1
        self.lines_left_out += 1


Counts = Counter[int]
"""Counts of one metric: bucket (see `swarm.recording.histograms.bucket`) -> number of values."""

Wide = dict[tuple[StageKey, str], HdrHistogram]
"""Stage and metric -> whole histogram: of the stage that is being read."""

DAMAGED = "damaged lines of {} are left out, the first of them {}"
TORN = "the last line of {} is torn, as the run broke off; it is left out"
_TYPES = {str(kind.__struct_config__.tag) for kind in get_args(AnyRecord)}
_BROKEN_HISTOGRAM = (
    HdrCookieException,
    HdrHistogramSettingsException,
    HdrLengthException,
    binascii.Error,
    zlib.error,
    ValueError,
    OverflowError,
    IndexError,
    TypeError,
)
T = TypeVar("T", AnyRecord, ServerSample)


class _Head(msgspec.Struct):
    v: int = VERSION
    type: str | None = None


def read_plan(directory: Path) -> Plan:
    """Raises UsageError when `directory` is not a run directory."""
    scenario, environment = rundir.read_scenario(directory), rundir.read_environment(directory)
    if "shard" in environment:
        raise UsageError(
            f"{directory}: one shard of a run that an older version recorded with --shard; this version cannot merge "
            "shards, so merge them with that one (`versions` in environment.json names it)"
        )
    if not isinstance(environment.get("predicted"), bool):
        raise UsageError(f"{directory / rundir.ENVIRONMENT}: does not say whether the run was measured or predicted")
    try:
        return plan_from(scenario, environment)
    except UsageError as error:
        raise UsageError(f"{directory}: {error}") from None


def read_events(directory: Path, notes: Notes) -> Iterator[AnyRecord]:
    """The records of `events.jsonl` in the order in which they were written. Raises UsageError without one."""
    decoder: msgspec.json.Decoder[AnyRecord] = msgspec.json.Decoder(AnyRecord)
    return _decoded(directory / rundir.EVENTS, decoder, _TYPES, notes)


def read_server(directory: Path, notes: Notes) -> Iterator[ServerSample]:
    """The samples of `server.jsonl`; none where the run has no such file."""
    path = directory / rundir.SERVER
    return _decoded(path, msgspec.json.Decoder(ServerSample), set(), notes) if parts_of(path) else iter(())


def _decoded(path: Path, decoder: "msgspec.json.Decoder[T]", types: set[str], notes: Notes) -> Iterator[T]:
    damaged = ""
    for part, number, line in _lines(path):
        try:
            record = decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            reason = _excuse(path, line, types)
            damaged = damaged or DAMAGED.format(path.name, f"{part.name}:{number}")
            notes.leave_out(reason or damaged)
            continue
        if record.v > VERSION:
            notes[f"lines of {path.name} in the newer format {record.v} are read as format {VERSION}"] += 1
        yield record


def _excuse(path: Path, line: bytes, types: set[str]) -> str | None:
    """Why a line that is not damaged cannot be read; None: it is."""
    if not line.endswith(b"\n"):
        return TORN.format(path.name)
    try:
        head = msgspec.json.decode(line, type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if head.v > VERSION:
        return f"lines of {path.name} in the newer format {head.v} are left out; upgrade swarm to read them"
    if head.type is not None and head.type not in types:
        return f"lines of {path.name} of the unknown type {head.type!r} are left out"
    return None


def read_histograms(
    directory: Path, notes: Notes, only: Collection[str] | None = None
) -> dict[StageKey, dict[str, Counts]]:
    """The distributions of `histograms.hlog`, all lines of a tag merged. Raises UsageError without that file.

    `only`: of these metrics; None: of all.
    """
    path = directory / rundir.HISTOGRAMS
    merged: dict[StageKey, dict[str, Counts]] = {}
    wide: Wide = {}
    damaged = ""
    for part, number, line in _lines(path):
        try:
            _add_line(line.decode("ascii"), wide, merged, notes, only)
        except _BROKEN_HISTOGRAM:
            damaged = damaged or DAMAGED.format(path.name, f"{part.name}:{number}")
            notes.leave_out(damaged if line.endswith(b"\n") else TORN.format(path.name))
    _thin_out(wide, merged)
    return merged


def _add_line(
    line: str, wide: Wide, merged: dict[StageKey, dict[str, Counts]], notes: Notes, only: Collection[str] | None
) -> None:
    if line.startswith("#[OutOfRange: "):
        tag, _, count = line.strip().removeprefix("#[OutOfRange: ").removesuffix("]").rpartition(" ")
        notes[f"values of {tag} outside 1 us .. 1 h are left out of its distribution"] += int(count)
    elif line.startswith("Tag="):
        stage, metric, payload = _fields(line)
        if only is not None and metric not in only:
            return
        if wide and stage not in {other for other, _ in wide}:
            _thin_out(wide, merged)
        interval = HdrHistogram.decode(payload)
        if (stage, metric) not in wide:
            wide[stage, metric] = new_histogram()
        wide[stage, metric].add(interval)
        release(interval)
    elif not line.startswith(("#", '"StartTimestamp"')):
        raise ValueError("no line of an interval log")


def _fields(line: str) -> tuple[StageKey, str, str]:
    """Stage, metric and payload of a line `Tag=target:agents:trial:metric,start,length,max,payload`."""
    tag, _, _, _, payload = line.removeprefix("Tag=").split(",")
    target, agents, trial, metric = tag.split(":")
    return (target, int(agents), int(trial)), metric, payload.strip()


def _thin_out(wide: Wide, merged: dict[StageKey, dict[str, Counts]]) -> None:
    """Moves histograms over, only their buckets in use: a whole one takes 190 KB, and a run may have a thousand."""
    for (stage, metric), histogram in wide.items():
        counts = merged.setdefault(stage, {}).setdefault(metric, Counter())
        for index, count in enumerate(array("Q", bytes(histogram.counts))):  # 20 times as fast as the ctypes array
            if count:
                counts[bucket(histogram.get_value_from_index(index))] += count
        release(histogram)
    wide.clear()


def _lines(path: Path) -> Iterator[tuple[Path, int, bytes]]:
    """Part, number and bytes of each line of a file, over all its parts."""
    for part in parts_of(path) or [path]:
        try:
            with part.open("rb") as file:
                for number, line in enumerate(file, 1):
                    yield part, number, line
        except OSError as error:
            raise UsageError(
                f"{part}: cannot be read: {error.strerror}; the run directory is not whole without it"
            ) from None

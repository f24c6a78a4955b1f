"""Files that only grow: lines wait in memory and reach the file once a second, whole, in small writes."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from swarm.errors import ExitCode, SwarmError
from swarm.recording import rotation
from swarm.recording.records import Attempt, Published

SLICE_BYTES = 64 * 1024
"""Written at once, between two turns of the event loop: 20-40 us into the page cache."""


class RecordingError(SwarmError):
    """The recording cannot be written any more, e.g. because the disk is full: the stage must end, and is invalid."""

    exit_code = ExitCode.INVALID


class Appender:
    """Appends lines to a new file, which is its owner's alone. After `kill -9` at most the last line is torn.

    A failed write loses nothing while the process lives: what did not reach the file stays in memory, and the next
    `flush` or `close` begins where the last one stopped.
    """

    def __init__(self, path: Path, part_bytes: int | None = None) -> None:
        """`part_bytes`: a file that has grown so large is put aside as a part, and a new one begun; None: never."""
        self.path = path
        self._part_bytes = part_bytes
        self._written = 0
        self._waiting = bytearray()
        try:
            self._file = self._open()
        except OSError as error:
            raise RecordingError(f"{path}: cannot be created: {error.strerror}") from error

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def add(self, line: bytes) -> None:
        """Takes one line, without its line end."""
        self._waiting += line
        self._waiting += b"\n"

    def flush(self) -> Iterator[None]:
        """Writes what waits, one small write a step. Raises RecordingError."""
        while self._waiting:
            try:
                written = os.write(self._file, self._waiting[:SLICE_BYTES])
            except OSError as error:
                raise RecordingError(
                    f"{self.path}: cannot be written: {error.strerror}; {len(self._waiting)} bytes are missing, "
                    "and what is in it stays readable. Free some space, or record elsewhere with --out"
                ) from error
            del self._waiting[:written]
            self._written += written
            yield
        if self._part_bytes is not None and self._written >= self._part_bytes:
            self._begin_part()

    def _begin_part(self) -> None:
        """Only between two lines. Where it fails the old file takes the next lines too, and nothing is lost."""
        self._written = 0
        try:
            rotation.put_aside(self.path)
            fresh = self._open()
        except OSError:
            return
        os.close(self._file)
        self._file = fresh

    def close(self) -> None:
        """Writes the rest, down to the disk. Raises RecordingError."""
        try:
            for _ in self.flush():
                pass
            os.fsync(self._file)
        except OSError as error:
            raise RecordingError(f"{self.path}: cannot be written to the disk: {error.strerror}") from error
        finally:
            os.close(self._file)


class RecordFile:
    """A sink that writes every record of some types as a line of JSON."""

    def __init__(
        self, path: Path, kinds: type | tuple[type, ...], chunks: bool = True, part_bytes: int | None = None
    ) -> None:
        """`chunks`: whether attempts keep their chunk stamps, which are most of the file."""
        self._file = Appender(path, part_bytes)
        self._kinds = kinds
        self._chunks = chunks
        self._encoder = msgspec.json.Encoder()

    def add(self, record: Published) -> None:
        if not isinstance(record, self._kinds):
            return
        if not self._chunks and isinstance(record, Attempt):
            record = msgspec.structs.replace(record, chunks=None, chunk_tokens=None)
        try:
            self._file.add(self._encoder.encode(record))
        except UnicodeEncodeError:
            self._file.add(self._encoder.encode(printable(record)))

    def flush(self) -> Iterator[None]:
        return self._file.flush()

    def close(self) -> None:
        self._file.close()


def printable(record: Published) -> Published:
    """The record without the lone surrogates that a server's error text may hold, and that UTF-8 cannot."""
    texts = {name: value for name, value in msgspec.structs.asdict(record).items() if isinstance(value, str)}
    clean = {name: text.encode("utf-8", "replace").decode() for name, text in texts.items()}
    return msgspec.structs.replace(record, **clean)

"""stdout and stderr that a closed pipe, a full disk or a narrow encoding cannot make a command fail in the middle."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from swarm.errors import UsageError


class OutputError(UsageError):
    """What is printed cannot be written, as the disk is full, or stdout was closed before swarm began."""


class _Output(io.FileIO):
    """Drops what comes once nobody reads it any more. The command goes on and ends with its own exit code: the files
    that it was asked for are written, `swarm serve | head -1` serves, and an invalid run is no less so for `| head`."""

    def __init__(self, descriptor: int, *, told: bool) -> None:
        """`told`: whether another failure, such as a full disk, is an error; where errors are printed it cannot be."""
        super().__init__(descriptor, "w", closefd=False)
        self._told = told

    def write(self, data: object) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if self._told and not isinstance(error, BrokenPipeError):
                raise OutputError(f"the output cannot be written: {error.strerror}") from None
            return super().write(data)  # type: ignore[arg-type]


def harden() -> None:
    """Puts such streams in the place of `sys.stdout` and `sys.stderr`, also where they were closed before we began."""
    while (free := os.open(os.devnull, os.O_RDONLY)) <= 2:  # else the next file opened is what prints are written into
        pass
    os.close(free)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = _hardened(sys.stdout or open(1, closefd=False), "replace", told=True)  # noqa: SIM115
    sys.stderr = _hardened(sys.stderr or open(2, closefd=False), "backslashreplace", told=False)  # noqa: SIM115


@contextmanager
def printing() -> Iterator[None]:
    """For what is printed of results that are saved: where it cannot be, that is told, and nothing else is changed."""
    try:
        yield
        print(end="", flush=True)
    except OutputError as error:
        print(f"note: {error}", file=sys.stderr)


def print_path(path: Path) -> None:
    """Its very bytes, whatever encoding stdout has."""
    print(end="", flush=True)
    sys.stdout.buffer.write(os.fsencode(path) + b"\n")
    sys.stdout.flush()


def _hardened(stream: TextIO, errors: str, *, told: bool) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(stream.fileno(), told=told)),
        encoding=stream.encoding,
        errors=errors,  # a "±" that the terminal cannot show costs no results
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )

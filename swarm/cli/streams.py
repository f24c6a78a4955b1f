"""stdout and stderr that a closed pipe, a full disk or a narrow encoding cannot make a command fail in the middle."""

import io
import os
import sys
from typing import TextIO

from swarm.errors import UsageError


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
                raise UsageError(f"the output cannot be written: {error.strerror}") from None
            return super().write(data)  # type: ignore[arg-type]


def harden() -> None:
    """Puts such streams in the place of `sys.stdout` and `sys.stderr`."""
    sys.stdout = _hardened(sys.stdout, "replace", told=True)
    sys.stderr = _hardened(sys.stderr, "backslashreplace", told=False)


def _hardened(stream: TextIO, errors: str, *, told: bool) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):
        return stream  # None, where it was closed before we began
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(stream.fileno(), told=told)),
        encoding=stream.encoding,
        errors=errors,  # a "±" that the terminal cannot show costs no results
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )

"""stdout and stderr that a closed pipe, a full disk or a narrow encoding cannot make a command fail in the middle, and
that no text of a server, a model or a file can take over: all of it comes through `shown`."""

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from swarm.errors import UsageError
from swarm.recording.redaction import shown, styled

if TYPE_CHECKING:
    from rich.console import Console


class OutputError(UsageError):
    """Output cannot be written, as the disk is full, or stdout was closed before swarm began."""


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


class _Text(io.TextIOWrapper):
    def write(self, text: str) -> int:
        super().write(shown(text))
        return len(text)

    def styled(self, text: str) -> int:
        """Writes a text as it is: see `swarm.recording.redaction.styled`."""
        return super().write(text)


class _Styled:
    """A stream as rich takes it: what comes has its colours already."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        styled(self._stream, text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def console(stream: TextIO, **options: Any) -> "Console":
    """A console of rich's on `sys.stdout` or `sys.stderr`, whose texts come through `shown` before they get colours."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Shown(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                text, style, control = segment
                yield segment if control else Segment(shown(text), style)

    return Shown(file=_Styled(stream), **options)  # type: ignore[arg-type]


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
    """Its very bytes, whatever encoding stdout has; a stream in memory has none."""
    print(end="", flush=True)
    if (buffer := getattr(sys.stdout, "buffer", None)) is None:
        print(path)
        return
    buffer.write(os.fsencode(path) + b"\n")
    sys.stdout.flush()


def _hardened(stream: TextIO, errors: str, *, told: bool) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    return _Text(
        io.BufferedWriter(_Output(stream.fileno(), told=told)),
        encoding=stream.encoding,
        errors=errors,  # a "±" that the terminal cannot show costs no results
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )

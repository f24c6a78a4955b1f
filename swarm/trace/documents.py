"""The JSON documents in a file, one at a time, however the file is written.

JSON lines, one document pretty-printed or several, an array of them; plain or gzip; UTF-8 or UTF-16, with a byte order
mark or without. No more than one document is held in memory. A damaged line costs that line and is counted.
"""

import codecs
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from swarm.errors import UsageError
from swarm.trace.format import MOST_FILE_BYTES, MOST_LINE_BYTES

_PIECE = 1 << 20
_LOOKED_AT = 8
"""Lines at a file's beginning by which JSON lines are told from a document that is spread over many lines."""
_BROKEN = (ValueError, RecursionError)
_decoder = json.JSONDecoder()


@dataclass
class Lost:
    """Counts of what could not be read."""

    lines: int = 0
    """Damaged lines, or documents."""
    cut_off: list[str] = field(default_factory=list)
    """Files of which only the beginning could be read."""


def documents(path: Path, lost: Lost) -> Iterator[tuple[int, Any]]:
    """Number, from 1, of the line or document, and what it says. Raises UsageError where the file cannot be read."""
    try:
        with _opened(path, lost) as file:
            head = list(islice(_lines(file), _LOOKED_AT))
            rest = _lines(file)
            begins = next((line for line in head if line.strip()), "").lstrip()
            if begins.startswith("[") and _parsed(begins) is None:
                yield from _elements(path, "".join(head), file, lost)
            elif len(head) == 1 or any(isinstance(_parsed(line), dict) for line in head if not line[:1].isspace()):
                yield from _by_line(head, rest, lost)
            else:
                yield from _spread(path, "".join(head), file, lost)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None


class _Unpacked(io.RawIOBase):
    """The contents of a gzip file, also of one that breaks off, as a log does that is still being written."""

    def __init__(self, file: BinaryIO, name: str, lost: Lost) -> None:
        self._file = file
        self._name = name
        self._lost = lost
        self._unpacker = zlib.decompressobj(wbits=31)
        self._packed = b""
        self._over = False
        self._told = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        plain = b""
        while not plain and not self._over:
            self._packed = self._packed or self._file.read(_PIECE)
            if self._unpacker.eof and self._packed:
                self._unpacker = zlib.decompressobj(wbits=31)
            self._over = not self._packed
            plain = self._next(len(buffer))
        if self._over and not self._unpacker.eof and not self._told:
            self._lost.cut_off.append(self._name)
            self._told = True
        buffer[: len(plain)] = plain
        return len(plain)

    def _next(self, size: int) -> bytes:
        try:
            plain = self._unpacker.decompress(self._packed, size)
        except zlib.error:
            self._over = True
            return b""
        self._packed = self._unpacker.unconsumed_tail or self._unpacker.unused_data
        return plain


@contextmanager
def _opened(path: Path, lost: Lost) -> Iterator[TextIO]:
    with path.open("rb") as raw:
        packed = raw.peek(2).startswith(b"\x1f\x8b")
        plain: Any = _Unpacked(raw, path.name, lost) if packed else raw
        if not packed and path.stat().st_size > MOST_FILE_BYTES:
            raise UsageError(f"{path}: larger than {MOST_FILE_BYTES >> 30} GiB; cut it into pieces")
        buffered = io.BufferedReader(plain, _PIECE)
        marked = buffered.peek(2).startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        yield io.TextIOWrapper(buffered, "utf-16" if marked else "utf-8-sig", errors="replace")


def _lines(file: TextIO) -> Iterator[str]:
    """Lines as far as bounds allow; a longer one comes in pieces, none of which is a document."""
    left = MOST_FILE_BYTES
    while left > 0 and (line := file.readline(MOST_LINE_BYTES)):
        left -= len(line)
        yield line


def _parsed(line: str) -> Any:
    """None: no document."""
    try:
        return json.loads(line)
    except _BROKEN:
        return None


def _by_line(head: list[str], rest: Iterator[str], lost: Lost) -> Iterator[tuple[int, Any]]:
    number = 0
    for lines in (head, rest):
        for line in lines:
            number += 1
            if not line.strip():
                continue
            document = _parsed(line)
            if document is None:
                lost.lines += 1
            elif isinstance(document, list):  # a whole array on one line
                yield from ((number, each) for each in document)
            else:
                yield number, document


class _Text:
    """The text that is read and not yet used up."""

    def __init__(self, text: str, file: TextIO) -> None:
        self.text = text
        self._file = file
        self._piece = _PIECE
        self._left = MOST_FILE_BYTES

    def more(self) -> bool:
        """Reads on, twice as much each time, so that a long document is not tried too often; False: nothing is left."""
        if len(self.text) > MOST_LINE_BYTES or self._left <= 0:
            return False
        piece = self._file.read(self._piece)
        self._left -= len(piece)
        self._piece *= 2
        self.text += piece
        return bool(piece)

    def document(self) -> Any:
        """The document that begins here. Raises ValueError where there is none whole one, and RecursionError."""
        while True:
            try:
                document, end = _decoder.raw_decode(self.text)
            except _BROKEN:
                if not self.more():
                    raise
            else:
                self.text, self._piece = self.text[end:], _PIECE
                return document

    def skip(self, characters: str) -> str:
        """Leaves out these characters; the next one, or "" at the end."""
        while True:
            self.text = self.text.lstrip(characters)
            if self.text or not self.more():
                return self.text[:1]


def _elements(path: Path, begun: str, file: TextIO, lost: Lost) -> Iterator[tuple[int, Any]]:
    """Those of an array."""
    text, number = _Text(begun.lstrip()[1:], file), 0
    while text.skip(" \t\r\n,") not in ("", "]"):
        number += 1
        try:
            document = text.document()
        except _BROKEN:
            lost.lines += 1
            lost.cut_off.append(path.name)
            return
        yield number, document


def _spread(path: Path, begun: str, file: TextIO, lost: Lost) -> Iterator[tuple[int, Any]]:
    """Documents over many lines, one behind the other; after a damaged one the next begins where a line does."""
    text, number = _Text(begun, file), 0
    while text.skip(" \t\r\n"):
        number += 1
        try:
            document = text.document()
        except _BROKEN:
            lost.lines += 1
            _, found, after = text.text[1:].partition("\n{")
            if not found:
                lost.cut_off.append(path.name)
                return
            text.text = "{" + after
            continue
        yield number, document

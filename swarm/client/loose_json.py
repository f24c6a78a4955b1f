"""JSON as servers really write it. msgspec is strict and fast and reads nearly all; this module reads the rest.

Python's servers write NaN and Infinity, and those of JavaScript may split a character between two chunks, so that each
holds half of a surrogate pair, which is no Unicode by itself.
"""

import json
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_AROUND = 60  # bytes shown on either side of the place where reading failed


def loads(data: bytes) -> Any:
    """Raises msgspec.DecodeError, which shows the bytes around the place, and RecursionError."""
    try:
        return json.loads(data.decode("utf-8", "surrogatepass"))
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(f"invalid UTF-8 at byte {error.start}: {_around(data, error.start)}") from None
    except json.JSONDecodeError as error:
        place = len(error.doc[: error.pos].encode("utf-8", "surrogatepass"))
        raise msgspec.DecodeError(f"{error.msg} at byte {place}: {_around(data, place)}") from None
    except ValueError as error:  # a number of thousands of digits
        raise msgspec.DecodeError(f"{error}: {_around(data, 0)}") from None


def decode(data: bytes, kind: type[T]) -> T:
    """The same as a `kind`; for documents that are not worth a decoder of their own."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return convert(loads(data), kind)


def convert(document: Any, kind: type[T]) -> T:
    """Raises msgspec.DecodeError, which shows how the document begins."""
    try:
        return msgspec.convert(document, kind)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:  # half a pair in the name of a field
        raise msgspec.DecodeError(f"{error}: {str(document)[: 2 * _AROUND]!r}") from None


def dumps(value: Any) -> str:
    """Compact, as the texts in it are: halves of surrogate pairs stay what they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def text(parts: list[str]) -> str:
    """The parts put together, their halves of surrogate pairs too; a half that stays alone becomes U+FFFD."""
    joined = "".join(parts)
    if joined.isascii():
        return joined
    try:
        joined.encode()
    except UnicodeEncodeError:
        return joined.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return joined


def _around(data: bytes, place: int) -> str:
    begin, end = max(0, place - _AROUND), place + _AROUND
    return ("…" if begin else "") + repr(data[begin:end]) + ("…" if end < len(data) else "")

"""One request for a turn and its answer, as the bytes and stamps that went by; making sense of them comes later."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from swarm.client.base import Failure

Api = Literal["openai", "responses", "anthropic"]
"""The words of a turn: OpenAI's chat completions, its Responses API, or Anthropic's messages."""


@dataclass(frozen=True)
class Bounds:
    """The most bytes that the proxy holds, each for one request or its answer."""

    request: int = 64 << 20
    """A longer request is refused."""
    reply: int = 64 << 20
    """A longer answer, as it came or unpacked, still reaches its client, but is not kept."""
    unread: int = 64 << 20
    """A client that leaves more of its answer unfetched is cut off."""
    stored: int = 64 << 20
    """Requests and answers that later requests may name, together; the oldest are forgotten."""


BOUNDS = Bounds()


class UnreadableError(Exception):
    """No turn can be made of this exchange; the message says why."""


@dataclass(slots=True)
class Exchange:
    """A request to the upstream and its answer. Times are on the recording's clock, in nanoseconds."""

    api: Api
    request: bytes
    """JSON as the client meant it, before anything of ours was added."""
    sent_ns: int
    end_ns: int = 0
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of the answer."""
    pieces: list[tuple[bytes, int]] = field(default_factory=list)
    """The answer's body as it arrived, and when."""
    failure: Failure | None = None
    """How the network broke it off, if it did."""
    keys: tuple[str, ...] = field(default=(), repr=False)
    """With which the client asked: they are in no trace, wherever else they turn up."""
    left: bool = False
    """The client went away before the end."""
    too_long: bool = False
    most: int = BOUNDS.reply
    """Bytes of the answer that are kept."""
    _size: int = 0

    def add(self, data: bytes, stamp_ns: int) -> None:
        self._size += len(data)
        if self._size <= self.most:
            self.pieces.append((data, stamp_ns))
        else:
            self.too_long = True

    @property
    def content_type(self) -> str:
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def packed(self) -> bool:
        """Whether the pieces are compressed, so that no stamp belongs to a token."""
        return self.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity")

    def body(self) -> bytes | None:
        """The whole answer, unpacked; None where it was packed in a way that is not known here, or was too long."""
        body = b"".join(data for data, _ in self.pieces)
        return None if self.too_long else unpacked(body, self.headers.get("Content-Encoding", ""), self.most)


def unpacked(data: bytes, encoding: str, limit: int) -> bytes | None:
    """Bytes without their Content-Encoding, gzip or deflate; None: it is another one, broken, or gives over `limit`."""
    if encoding.strip().lower() in ("", "identity"):
        return data
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return None
    unpacker = zlib.decompressobj(wbits=47)  # either head, as both are called deflate
    try:
        plain = unpacker.decompress(data, limit)
    except zlib.error:
        return None
    return None if unpacker.unconsumed_tail else plain

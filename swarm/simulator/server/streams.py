"""Replies on their way to a client: streamed, whole, and streamed with a fault that befalls them."""

import asyncio
import socket
import struct
from collections import deque
from dataclasses import replace
from itertools import islice

from swarm.simulator.engine.scheduler import Request
from swarm.simulator.server.faults import LIE, Fault
from swarm.simulator.server.protocol import ApiError, ChunkWriter
from swarm.simulator.server.replies import Reply


class Stream:
    """A streamed reply: one write per token. `done` is set when the engine has made the last one."""

    __slots__ = ("_at", "_chunked", "_chunks", "_transport", "done", "request")

    def __init__(self, chunks: ChunkWriter, transport: asyncio.Transport, chunked: bool, done: asyncio.Future[None]):
        self._chunks = chunks
        self._transport = transport
        self._chunked = chunked
        self._at = 0
        self.done = done

    @property
    def sent(self) -> asyncio.Future[None]:
        """Set when all of it is written."""
        return self.done

    def token(self, request: Request) -> None:
        self._write(self._next(request))

    def close(self) -> None:
        """The client has all of it, or has gone."""

    def _next(self, request: Request) -> str:
        """The events of the next token."""
        at = self._at
        self._at = at + 1
        text = self._chunks.token(at)
        if at == 0:
            text = self._chunks.role() + text
        if self._at == request.output_tokens:
            text += self._chunks.end(request.cached_tokens or 0)
        return text

    def _write(self, text: str) -> None:
        if text and not self._transport.is_closing():
            framed = f"{len(text):x}\r\n{text}\r\n" if self._chunked else text
            self._transport.write(framed.encode("ascii"))


class Whole:
    """An unstreamed reply: nothing to do until `done`."""

    __slots__ = ("done",)

    def __init__(self, done: asyncio.Future[None]) -> None:
        self.done = done

    def token(self, request: Request) -> None:
        pass


class FaultyStream(Stream):
    """A streamed reply that a fault befalls: written otherwise, held back, spoilt or broken off."""

    __slots__ = ("_all_made", "_fault", "_loop", "_sent", "_timer", "_waiting")

    def __init__(
        self,
        fault: Fault,
        chunks: ChunkWriter,
        transport: asyncio.Transport,
        chunked: bool,
        done: asyncio.Future[None],
    ) -> None:
        super().__init__(_told_otherwise(chunks, fault), transport, chunked, done)
        self._fault = fault
        self._loop = done.get_loop()
        self._sent: asyncio.Future[None] = self._loop.create_future()
        self._waiting: deque[str] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._all_made = False

    @property
    def sent(self) -> asyncio.Future[None]:
        return self._sent

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def token(self, request: Request) -> None:
        if self._sent.done():
            return  # broken off; the engine is about to hear of it
        text = self._next(request)
        self._all_made = self._at == request.output_tokens
        after = None if self._fault.kind == "multi-token" else self._fault.after_tokens
        if after is not None and self._at - 1 == min(after, request.output_tokens - 1):
            text = self._spoil(text)
        if self._sent.done():
            return
        self._waiting.append(text)
        if self._timer is None:
            self._flow()

    def _spoil(self, text: str) -> str:
        """The event at which the fault strikes, spoilt."""
        half = len(text) // 2
        match self._fault.kind:
            case "stall":
                self._timer = self._loop.call_later(self._fault.seconds, self._flow)
            case "malformed-sse":
                return f"{text[:half]}\n{text[half:]}"
            case "malformed-json":
                return f"{text[:half]}\n\n{text}"
            case "in-band-error":
                error = ApiError(500, "EngineCore encountered an issue.", "InternalServerError")
                self._break_off(f"data: {error.body().decode()}\n\ndata: [DONE]\n\n")
            case "truncate":
                self._break_off(text[:half])
                self._transport.close()
            case "reset":
                self._break_off("")
                reset(self._transport)
        return text

    def _break_off(self, last_words: str) -> None:
        self._write(last_words)
        self._sent.set_result(None)
        if not self.done.done():
            self.done.set_result(None)

    def _flow(self) -> None:
        """Lets out what waits, all of it or a token at a time."""
        self._timer = None
        while self._waiting and self._timer is None:
            self._write(self._waiting.popleft())
            if self._fault.kind == "drip":
                self._timer = self._loop.call_later(self._fault.seconds, self._flow)
        if self._all_made and not self._waiting and not self._sent.done():
            self._sent.set_result(None)

    def _write(self, text: str) -> None:
        super()._write(text.replace("\n", "\r\n") if self._fault.kind == "crlf" else text)


def _told_otherwise(chunks: ChunkWriter, fault: Fault) -> ChunkWriter:
    """The same reply as a faulty server would write it."""
    match fault.kind:
        case "no-finish":
            return replace(chunks, ends=False)
        case "no-usage":
            return replace(chunks, include_usage=False, continuous_usage=False)
        case "lying-usage":
            return replace(chunks, overcount=LIE)
        case "reasoning":
            return replace(chunks, reasoning_tokens=len(chunks.reply.pieces) // 2)
        case "multi-token":
            assert fault.after_tokens is not None
            return replace(chunks, reply=_bunched(chunks.reply, fault.after_tokens))
    return chunks


def _bunched(reply: Reply, size: int) -> Reply:
    """The same text, of which only every `size`-th token shows something; a tool call stays as it is."""
    text, call = reply.pieces[: reply.call_at], reply.pieces[len(reply.pieces[: reply.call_at]) :]
    bunched: list[str] = []
    while bunch := list(islice(text, len(bunched), len(bunched) + size)):
        bunched += [""] * (len(bunch) - 1) + ["".join(bunch)]
    return replace(reply, pieces=bunched + call)


def reset(transport: asyncio.BaseTransport) -> None:
    """Ends a connection with RST instead of FIN."""
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()  # type: ignore[attr-defined]

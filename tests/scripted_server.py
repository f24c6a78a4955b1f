"""A server whose every byte a test writes: exact bytes, exact pauses, and exact ends."""

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

CLOSE = object()
"""Ends the connection in good order (FIN)."""
RESET = object()
"""Ends it in bad order (RST)."""
HANG = object()
"""Says nothing more until the client goes."""

Step = bytes | float | object


@dataclass
class Received:
    """A request as it came in, and the local port of the connection that brought it."""

    path: str
    headers: dict[str, str]
    body: Any
    peer: tuple[str, int]


@dataclass
class ScriptedServer:
    url: str
    received: list[Received] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client has left while the script was hanging."""


def stream_head(extra: str = "", content_type: str = "text/event-stream") -> bytes:
    return (f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n{extra}\r\n").encode()


def piece(data: bytes) -> bytes:
    """One piece of a chunked body."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def event(value: Any) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def delta(finish_reason: str | None = None, usage: Any = None, **fields: Any) -> dict[str, Any]:
    chunk: dict[str, Any] = {
        "id": "c",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": fields, "finish_reason": finish_reason}],
    }
    if usage is not None:
        chunk["usage"] = usage
    return chunk


def usage(prompt: int, completion: int, cached: int | None = None) -> dict[str, Any]:
    details = None if cached is None else {"cached_tokens": cached}
    return {"prompt_tokens": prompt, "completion_tokens": completion, "prompt_tokens_details": details}


DONE = b"data: [DONE]\n\n"
END = b"0\r\n\r\n"

REPLY: list[Step] = [
    stream_head(),
    piece(event(delta(role="assistant", content=""))),
    piece(event(delta(content="Hello"))),
    piece(event(delta(content=" world"))),
    piece(event(delta(finish_reason="stop"))),
    piece(event({"choices": [], "usage": usage(11, 2, 8)})),
    piece(DONE),
    END,
]


def answer(status: str, body: Any, headers: str = "", content_type: str = "application/json") -> list[Step]:
    """An answer that is no stream."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(data)}\r\n{headers}\r\n"
    return [head.encode() + data]


@asynccontextmanager
async def scripted(
    script: Sequence[Step] | Callable[[Received], Sequence[Step]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[ScriptedServer]:
    """Serves `script` to every request: bytes are sent, numbers are seconds of pause, and see the constants above."""
    server = ScriptedServer("")
    serving: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            while await _one_request(server, script, reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            server.gone.set()
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            serving.discard(task)
            writer.close()

    listener = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    port = listener.sockets[0].getsockname()[1]
    server.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/v1"
    try:
        yield server
    finally:
        listener.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving)


async def _one_request(
    server: ScriptedServer,
    script: Sequence[Step] | Callable[[Received], Sequence[Step]],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> bool:
    """Whether the connection can serve another."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    raw = await reader.readexactly(int(headers.get("content-length", 0)))
    received = Received(first.split()[1], headers, json.loads(raw) if raw else None, writer.get_extra_info("peername"))
    server.received.append(received)
    for step in script(received) if callable(script) else script:
        if step is CLOSE:
            return False
        if step is RESET:
            raw_socket = writer.get_extra_info("socket")
            raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return False
        if step is HANG:
            await reader.read(1)
            server.gone.set()
            return False
        if isinstance(step, bytes):
            writer.write(step)
            await writer.drain()
        else:
            await asyncio.sleep(float(step))  # type: ignore[arg-type]
    return True

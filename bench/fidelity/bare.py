"""The limit of any client in Python: a loop that receives, and does nothing else until the run is over."""

import select
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any

import msgspec

from swarm.client.base import Observation
from swarm.client.reply.sse import ChatStream
from swarm.client.stamps import READ_BYTES, KernelTime, unframed
from swarm.clock import Clock

SO_TIMESTAMPNS = 35
LAST = b"0\r\n\r\n"


@dataclass
class Reply:
    send_ns: int
    reads: list[tuple[bytes, list[Any]]] = field(default_factory=list)


def receive(url: str, body: dict[str, Any], streams: int, seconds: float) -> list[Reply]:
    """Keeps `streams` replies running for `seconds`; the last ones are read to their end."""
    content = msgspec.json.encode(body)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: truth\r\nContent-Length: {len(content)}\r\n\r\n"
    request = head.encode() + content
    host, port = url.removeprefix("http://").split(":")
    epoll, clock = select.epoll(), Clock(0)
    running: dict[int, tuple[socket.socket, Reply]] = {}
    kept = []

    def send(peer: socket.socket) -> None:
        running[peer.fileno()] = peer, (reply := Reply(clock.now()))
        kept.append(reply)
        peer.sendall(request)

    until = time.perf_counter() + seconds
    for _ in range(streams):
        peer = socket.create_connection((host, int(port)))
        peer.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        epoll.register(peer, select.EPOLLIN)
        send(peer)
    while running:
        for descriptor, _ in epoll.poll():
            peer, reply = running[descriptor]
            data, ancillary, _, _ = peer.recvmsg(READ_BYTES, 32)
            reply.reads.append((data, ancillary))
            if not data.endswith(LAST):
                continue
            if time.perf_counter() < until:
                send(peer)
            else:
                del running[descriptor]
                peer.close()
    return kept


def observations(replies: list[Reply]) -> list[Observation]:
    """The replies as the client observed them, with the kernel's stamps."""
    clock = Clock(0)
    times = KernelTime(clock)
    return [_observation(reply, times, clock) for reply in replies]


def _observation(reply: Reply, times: KernelTime, clock: Clock) -> Observation:
    seen = Observation(send_ns=reply.send_ns)
    stream = ChatStream(seen)
    for data, ((_, _, stamp),) in reply.reads:
        seconds, nanoseconds = struct.unpack("@qq", stamp)
        chunks = data.partition(b"\r\n\r\n")[2] if data.startswith(b"HTTP/") else data
        stamp_ns = times.on_run_clock(seconds * 1_000_000_000 + nanoseconds, clock.now())
        stream.feed(unframed(chunks.removesuffix(LAST)) or b"", stamp_ns or 0)
    stream.close()
    return seen

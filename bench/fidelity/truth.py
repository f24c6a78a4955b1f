"""The truth: a server that sends tokens at exactly scheduled times, and logs when it really sent each.

One thread, raw sockets, spinning on the clock before each send on a core of its own, so that its slip is microseconds;
its stamps are CLOCK_MONOTONIC, which on Linux every process shares. `GET /log` hands the log over and empties it.
"""

import argparse
import heapq
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from bench.fidelity.core import take

SO_TIMESTAMPNS = 35
SHAPES = ("content", "reasoning", "tool", "several")
TOKENS_PER_CHUNK = 4  # of the shape `several`
SPIN_NS = 2_000_000
NAP_NS = 200_000
WARM_NS = 100_000  # a send after idling takes 35 us instead of 4, all of it before the bytes are stamped
SEND_BUFFER_BYTES = 8 << 20  # a client that cannot follow must not stop the others' tokens


@dataclass
class Stream:
    """One reply being sent; `sends` are the stamps of its token-bearing chunks, each taken just before the send."""

    key: str
    peer: socket.socket
    shape: str
    tokens: int
    prompt_tokens: int
    continuous: bool
    received_ns: int
    due_ns: int
    name: str = ""
    """The client's own name of the request, if it has one."""
    sent: int = 0
    sends: list[int] = field(default_factory=list)
    slips: list[int] = field(default_factory=list)


@dataclass
class Peer:
    sock: socket.socket
    rest: bytes = b""
    received_ns: int = 0


class TruthServer:
    def __init__(self, rate: float, ttft_s: float, bursts: bool, shape: str) -> None:
        self.step_ns = round(1e9 / rate)
        self.ttft_ns = round(ttft_s * 1e9)
        self.bursts = bursts
        self.shape = shape
        self.count = 0
        self.peers: dict[int, Peer] = {}
        self.heap: list[tuple[int, int, Stream]] = []
        self.finished: list[Stream] = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.listener.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.warm = socket.create_connection(self.listener.getsockname()), self.listener.accept()[0]
        self.listener.setblocking(False)
        self.epoll = select.epoll()
        self.epoll.register(self.listener, select.EPOLLIN)

    def serve(self) -> None:
        """Until the process that started it has gone."""
        parent = os.getppid()
        while os.getppid() == parent:
            now = time.perf_counter_ns()
            if self.heap and self.heap[0][0] <= now:
                due, _, stream = heapq.heappop(self.heap)
                self.send(due, stream)
                continue
            wait_ns = self.heap[0][0] - now if self.heap else 50_000_000
            if wait_ns < WARM_NS:
                self.warm[0].send(b"?")
                self.warm[1].recv(1)
            if NAP_NS < wait_ns < SPIN_NS:
                time.sleep((wait_ns - NAP_NS) / 1e9)  # an epoll counts whole milliseconds
            for fd, _ in self.epoll.poll(max(0, wait_ns - SPIN_NS) // 1_000_000 / 1e3):
                if fd == self.listener.fileno():
                    self.accept()
                else:
                    self.read(self.peers[fd])

    def accept(self) -> None:
        sock, _ = self.listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self.peers[sock.fileno()] = Peer(sock)
        self.epoll.register(sock, select.EPOLLIN)

    def read(self, peer: Peer) -> None:
        offset = time.clock_gettime_ns(time.CLOCK_REALTIME) - time.perf_counter_ns()
        try:
            data, ancillary, _, _ = peer.sock.recvmsg(1 << 20, 64)
        except ConnectionError:
            data, ancillary = b"", []
        if not data:
            self.drop(peer.sock)
            return
        if not peer.rest:
            peer.received_ns = time.perf_counter_ns()
            for _, kind, stamp in ancillary:
                if kind == SO_TIMESTAMPNS:
                    seconds, nanoseconds = struct.unpack("@qq", stamp)
                    peer.received_ns = seconds * 1_000_000_000 + nanoseconds - offset
        peer.rest += data
        head, split, body = peer.rest.partition(b"\r\n\r\n")
        if not split:
            return
        length = int(_header(head, b"content-length") or 0)
        if len(body) >= length:
            peer.rest = b""
            self.request(peer, head, json.loads(body) if length else {})

    def drop(self, sock: socket.socket) -> None:
        self.epoll.unregister(sock)
        del self.peers[sock.fileno()]
        sock.close()

    def request(self, peer: Peer, head: bytes, body: dict[str, Any]) -> None:
        path = head.split(b" ", 2)[1]
        if path.endswith(b"/chat/completions"):
            self.start(peer, body, _header(head, b"x-request-id"))
        elif path.endswith(b"/models"):
            self.answer(peer, {"object": "list", "data": [{"id": "truth", "object": "model", "max_model_len": 32768}]})
        elif path.endswith(b"/log"):
            self.answer(peer, self.log())
        else:
            self.answer(peer, {})

    def answer(self, peer: Peer, document: Any) -> None:
        data = json.dumps(document).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        peer.sock.setblocking(True)
        peer.sock.sendall(head + data)

    def log(self) -> dict[str, Any]:
        finished, self.finished = self.finished, []
        slips = sorted(slip for stream in finished for slip in stream.slips)
        return {
            "requests": {s.key: {"id": s.name, "received_ns": s.received_ns, "sends": s.sends} for s in finished},
            "last_ns": max((s.sends[-1] for s in finished), default=0),
            "slip_p99_ns": slips[len(slips) * 99 // 100] if slips else 0,
            "cpu_ns": time.process_time_ns(),
        }

    def start(self, peer: Peer, body: dict[str, Any], name: str) -> None:
        """Plans the first token: TTFT after the request, in bursts rounded up to the engine's next step."""
        self.count += 1
        tokens = body.get("max_tokens") or body.get("max_completion_tokens") or 128
        options = body.get("stream_options") or {}
        due = peer.received_ns + self.ttft_ns
        if self.bursts:
            due = -(-due // self.step_ns) * self.step_ns
        shape = self.shape if self.shape in SHAPES else SHAPES[self.count % len(SHAPES)]
        key = f"r{self.count}"
        prompt = len(json.dumps(body.get("messages"))) // 4
        stream = Stream(
            key,
            peer.sock,
            shape,
            tokens,
            prompt,
            bool(options.get("continuous_usage_stats")),
            peer.received_ns,
            due,
            name,
        )
        self.write(
            stream,
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        heapq.heappush(self.heap, (due, self.count, stream))

    def send(self, due: int, stream: Stream) -> None:
        first = stream.sent == 0
        many = TOKENS_PER_CHUNK if stream.shape == "several" else 1
        stream.sent = min(stream.tokens, stream.sent + many)
        data = chunked(self.event(stream, delta(stream, first), None))
        if first:
            data = chunked(self.event(stream, '{"role":"assistant","content":""}', None)) + data
        if stream.sent == stream.tokens:
            data += chunked(self.event(stream, "{}", "tool_calls" if stream.shape == "tool" else "stop"))
            data += chunked(
                b'data: {"id":"%s","object":"chat.completion.chunk","choices":[],"usage":%s}\n\n'
                % (stream.key.encode(), usage(stream).encode())
            )
            data += chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n"
        before = time.perf_counter_ns()
        if not self.write(stream, data):
            return
        stream.sends.append(before)
        stream.slips.append(before - due)
        if stream.sent == stream.tokens:
            self.finished.append(stream)
        else:
            self.count += 1
            heapq.heappush(self.heap, (due + self.step_ns * many, self.count, stream))

    def event(self, stream: Stream, delta: str, finish: str | None) -> bytes:
        """A chunk of the size and keys of vLLM's."""
        counts = f',"usage":{usage(stream)}' if stream.continuous else ""
        reason = f'"{finish}"' if finish else "null"
        return (
            f'data: {{"id":"chatcmpl-{stream.key}","object":"chat.completion.chunk","created":1760000000,'
            f'"model":"truth","choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{reason},'
            f'"token_ids":null}}]{counts}}}\n\n'
        ).encode()

    @staticmethod
    def write(stream: Stream, data: bytes) -> bool:
        try:
            return stream.peer.send(data) == len(data)
        except (ConnectionError, BlockingIOError, OSError):
            return False


def _header(head: bytes, name: bytes) -> str:
    for line in head.split(b"\r\n"):
        if line[: len(name) + 1].lower() == name + b":":
            return line[len(name) + 1 :].strip().decode()
    return ""


def delta(stream: Stream, first: bool) -> str:
    """The reply's first token is the stream's key, so that whoever reads it knows which stream it was.

    No chunk is like the one before: after 100 equal ones, LiteLLM breaks a stream off.
    """
    many = TOKENS_PER_CHUNK if stream.shape == "several" else 1
    text = f"{stream.key} " if first else f" t{stream.sent % 10}" + " tok" * (many - 1)
    match stream.shape:
        case "reasoning":
            return f'{{"reasoning":"{text}"}}'
        case "tool" if first:
            call = f'{{"index":0,"id":"{stream.key} ","type":"function","function":{{"name":"f","arguments":""}}}}'
            return f'{{"tool_calls":[{call}]}}'
        case "tool":
            return f'{{"tool_calls":[{{"index":0,"function":{{"arguments":"{text}"}}}}]}}'
        case _:
            return f'{{"content":"{text}"}}'


def usage(stream: Stream) -> str:
    total = stream.prompt_tokens + stream.sent
    return (
        f'{{"prompt_tokens":{stream.prompt_tokens},"total_tokens":{total},"completion_tokens":{stream.sent},'
        f'"prompt_tokens_details":{{"cached_tokens":0}}}}'
    )


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rate", type=float, default=200, help="tokens per second of each stream")
    options.add_argument("--ttft", type=float, default=0.05, help="seconds from the request to its first token")
    options.add_argument("--bursts", action="store_true", help="all streams send at the engine's steps, at once")
    options.add_argument("--shape", choices=(*SHAPES, "mixed"), default="content")
    options.add_argument("--core", type=int, help="pin to this core")
    options.add_argument("--realtime", action="store_true")
    chosen = options.parse_args()
    take(chosen.core, chosen.realtime)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = TruthServer(chosen.rate, chosen.ttft, chosen.bursts, chosen.shape)
    print(f"listening on http://127.0.0.1:{server.listener.getsockname()[1]}", flush=True)
    server.serve()


if __name__ == "__main__":
    main()

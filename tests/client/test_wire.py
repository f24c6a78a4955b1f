"""The routes that read the bytes themselves, against a server that misbehaves in every way it can."""

import asyncio
import socket
import ssl
import sys
import threading
import time
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted_server import (
    CLOSE,
    DONE,
    END,
    HANG,
    REPLY,
    RESET,
    Step,
    answer,
    delta,
    event,
    piece,
    scripted,
    stream_head,
    usage,
)

from swarm.client import wire
from swarm.client.base import Capabilities, ChatRequest, Connection, Observation
from swarm.client.connect import open_client
from swarm.client.direct import DirectClient
from swarm.client.stamps import WAITING_READS, Stamper
from swarm.clock import Clock
from swarm.errors import UsageError

TLS = Path(__file__).parent / "tls"
REQUEST = ChatRequest([{"role": "user", "content": "hi"}], [], 10, True)
TOKEN = piece(event(delta(content="Hello")))
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux stamps received bytes in the kernel")


async def ask(
    url: str, request: ChatRequest = REQUEST, times: int = 1, seen: Observation | None = None, **settings: Any
) -> Observation:
    """The last of `times` replies, or the only one, into `seen`."""
    client = open_client("direct", Connection(url, "m", **settings), Clock())
    try:
        for _ in range(times):
            into = seen or Observation()
            await client.complete(request, into)
    finally:
        await client.close()
    return into


class Breaking(array):  # type: ignore[type-arg]
    """Stamps that a bug keeps from taking the one of that number."""

    def __new__(cls, number: int) -> "Breaking":
        made = super().__new__(cls, "q")
        made.number = number
        return made

    def append(self, value: int) -> None:
        if len(self) + 1 == self.number:
            raise ZeroDivisionError
        super().append(value)


async def first_token(seen: Observation) -> None:
    await tokens(seen, 1)


async def tokens(seen: Observation, count: int) -> None:
    while len(seen.stamps) < count:  # noqa: ASYNC110  nothing tells of it
        await asyncio.sleep(0.001)


async def test_a_whole_reply_is_read_with_its_times_in_order() -> None:
    paced: list[Step] = [step for part in REPLY for step in (part, 0.002)]
    async with scripted(paced) as server:
        seen = await ask(server.url)
    assert seen.failure is None
    assert (seen.content, seen.finish_reason) == ("Hello world", "stop")
    assert (seen.prompt_tokens, seen.completion_tokens, seen.cached_tokens) == (11, 2, 8)
    assert seen.send_ns is not None
    assert seen.end_ns is not None
    assert seen.send_ns < seen.stamps[0] < seen.stamps[1] < seen.end_ns
    assert seen.stamps[1] - seen.stamps[0] > 2_000_000
    assert seen.coalesced == 0


async def test_bytes_that_came_with_the_headers_keep_the_stamps_of_their_arrival() -> None:
    async with scripted([b"".join(map(bytes, REPLY[:3])), 0.005, *REPLY[3:]]) as server:
        seen = await ask(server.url)
    assert seen.content == "Hello world"
    assert seen.stamps[1] - seen.stamps[0] > 5_000_000


async def test_a_reply_in_one_packet_is_coalesced_and_says_so() -> None:
    async with scripted([b"".join(map(bytes, REPLY))]) as server:
        seen = await ask(server.url)
    assert (seen.failure, len(seen.stamps), seen.coalesced) == (None, 2, 1)


async def test_a_body_without_chunked_encoding_ends_with_its_connection() -> None:
    body = event(delta(content="Hi")) + event(delta(finish_reason="stop")) + DONE
    async with scripted([b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", body, CLOSE]) as server:
        seen = await ask(server.url)
    assert (seen.failure, seen.content) == (None, "Hi")


def of_tokens(count: int) -> list[Step]:
    """The start of a stream whose tokens come in a read each, as an engine's do."""
    return [*REPLY[:2], *(part for _ in range(count) for part in (TOKEN, 0.002))]


@linux
async def test_tokens_that_wait_to_be_parsed_are_all_there_whatever_ends_the_reply() -> None:
    count = WAITING_READS + 3  # so that some wait when it ends
    async with scripted([*of_tokens(count), *REPLY[4:]]) as server:
        seen = await ask(server.url, times=2)
        first, second = server.received
    assert (seen.failure, seen.content, len(seen.stamps)) == (None, "Hello" * count, count)
    assert list(seen.stamps) == sorted(set(seen.stamps))
    assert first.peer == second.peer, "and its connection is used again"
    for end, kind in ((RESET, "reset"), (CLOSE, "cut"), (HANG, "timeout")):
        async with scripted([*of_tokens(count), end]) as server:
            seen = await ask(server.url, idle_timeout_s=0.3)
        assert seen.failure is not None
        assert (seen.failure.kind, len(seen.stamps)) == (kind, count)


@linux
async def test_tokens_that_wait_to_be_parsed_are_kept_when_the_request_is_cancelled() -> None:
    async with scripted([*of_tokens(9), HANG]) as server:
        client = open_client("direct", Connection(server.url, "m"), Clock())
        seen = Observation()
        task = asyncio.create_task(client.complete(REQUEST, seen))
        await asyncio.sleep(0.2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.wait_for(server.gone.wait(), 5)
        await client.close()
    assert (seen.content, len(seen.stamps)) == ("Hello" * 9, 9)


@linux
async def test_tokens_of_a_slow_stream_do_not_wait_long_to_be_counted() -> None:
    slow = [step for _ in range(8) for step in (TOKEN, 0.1)]
    async with scripted([*of_tokens(12), *slow, HANG]) as server:
        client = open_client("direct", Connection(server.url, "m"), Clock())
        seen = Observation()
        task = asyncio.create_task(client.complete(REQUEST, seen))
        await asyncio.wait_for(tokens(seen, 16), 5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.close()


async def test_the_connection_is_used_again() -> None:
    async with scripted(REPLY) as server:
        await ask(server.url, times=3)
    assert len(server.received) == 3
    assert len({request.peer for request in server.received}) == 1


@pytest.mark.parametrize("cut", [1, 20, -1])
async def test_a_second_reply_whose_headers_come_in_pieces_is_read_as_well(cut: int) -> None:
    head = stream_head()
    async with scripted([head[:cut], 0.005, head[cut:], 0.005, *REPLY[1:]]) as server:
        seen = await asyncio.wait_for(ask(server.url, times=3), 5)
    assert (seen.failure, seen.content) == (None, "Hello world")
    assert len({request.peer for request in server.received}) == 1


async def test_a_connection_that_a_server_leaves_open_after_the_end_is_let_go_soon() -> None:
    async with scripted([*REPLY[:-1], HANG]) as server:
        began = time.perf_counter()
        seen = await ask(server.url)
        assert time.perf_counter() - began < wire.LINGER_S + 1
        await asyncio.wait_for(server.gone.wait(), 5)
    assert seen.failure is None
    assert seen.end_ns is not None
    assert seen.end_ns < wire.LINGER_S * 1e9


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        ([RESET], "reset", "did the server crash"),
        ([CLOSE], "reset", "without an answer"),
        ([*REPLY[:3], 0.01, RESET], "reset", "did the server crash"),
        ([*REPLY[:3], 0.01, CLOSE], "cut", "inside the reply"),
        ([*REPLY[:3], END], "cut", "without a finish_reason"),
        ([*REPLY[:5], END], "cut", "[DONE]"),
        ([*REPLY[:3], piece(event({"error": {"message": "out of memory"}})), END], "in_band", "out of memory"),
        ([*REPLY[:3], piece(event(b"{half")), HANG], "malformed", "{half"),
        ([b"HELLO\r\n\r\n"], "malformed", "HTTP"),
        ([stream_head(), b"zz\r\nnot a chunk\r\n"], "malformed", "chunk size"),
        ([stream_head(), 0.01, b"zz\r\nnot a chunk\r\n"], "malformed", "chunk size"),
        ([*REPLY[:3], 0.01, b"zz\r\nnot a chunk\r\n"], "malformed", "chunk size"),
        (answer("200 OK", b"<html>hi</html>", content_type="text/html"), "malformed", "text/html"),
        (answer("200 OK", {"error": {"message": "no slots"}}), "in_band", "no slots"),
        (answer("429 Too Many", {"error": {"message": "slow down"}}), "rate_limited", "slow down"),
        (answer("500 Oops", b"boom", content_type="text/plain"), "server_error", "boom"),
        (answer("302 Found", b"", headers="Location: https://else.where/v1\r\n"), "not_found", "https://else.where"),
    ],
)
async def test_every_way_to_fail_has_its_kind(script: list[Step], kind: str, words: str) -> None:
    async with scripted(script) as server:
        seen = await ask(server.url)
    assert seen.failure is not None
    assert (seen.failure.kind, words in seen.failure.message) == (kind, True), seen.failure
    assert seen.end_ns is not None
    assert len(server.received) == 1, "never retries by itself"


async def test_what_came_before_a_break_is_kept() -> None:
    async with scripted([*REPLY[:3], 0.01, RESET]) as server:
        seen = await ask(server.url)
    assert (seen.content, len(seen.stamps), seen.finish_reason) == ("Hello", 1, None)


async def test_a_failed_stream_is_closed_so_that_the_server_stops() -> None:
    async with scripted([stream_head(), piece(event({"error": "no"})), HANG]) as server:
        await ask(server.url)
        await asyncio.wait_for(server.gone.wait(), 5)


async def test_a_client_with_nobody_there_is_refused() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    seen = await ask(f"http://127.0.0.1:{port}/v1")
    assert seen.failure is not None
    assert seen.failure.kind == "refused"
    assert f"nothing listens at http://127.0.0.1:{port}/v1" in seen.failure.message
    assert seen.send_ns is not None


async def test_a_reply_takes_no_longer_than_its_timeout() -> None:
    async with scripted([HANG]) as server:
        seen = await ask(server.url, timeout_s=0.05)
        await asyncio.wait_for(server.gone.wait(), 5)
    assert seen.failure is not None
    assert seen.failure.kind == "timeout"
    assert "0.05 s (client.timeout)" in seen.failure.message


async def test_silence_inside_a_reply_is_a_timeout_but_waiting_for_its_first_token_is_not() -> None:
    late: list[Step] = [*REPLY[:2], 0.15, *REPLY[2:]]
    async with scripted(late) as server:
        assert (await ask(server.url, idle_timeout_s=0.05)).failure is None
    async with scripted([*REPLY[:3], 0.02, TOKEN, HANG]) as server:
        seen = await ask(server.url, idle_timeout_s=0.3)
        await asyncio.wait_for(server.gone.wait(), 5)
    assert seen.failure is not None
    assert seen.failure.kind == "timeout"
    assert "client.idle_timeout" in seen.failure.message
    assert len(seen.stamps) == 2


NOTHING = [
    b": ping\n\n",
    b"data:\n\n",
    b"event: heartbeat\ndata: {}\n\n",
    event(delta(role="assistant", content="")),
    event({"choices": []}),
]


@pytest.mark.parametrize("nothing", NOTHING)
async def test_what_brings_nothing_does_not_keep_a_stalled_reply_alive(nothing: bytes) -> None:
    beats: list[Step] = [step for _ in range(40) for step in (piece(nothing), 0.02)]
    async with scripted([*REPLY[:3], *beats, *REPLY[3:]]) as server:
        seen = await ask(server.url, idle_timeout_s=0.2)
    assert seen.failure is not None
    assert (seen.failure.kind, seen.content) == ("timeout", "Hello")
    assert "sent no chunk for 0.2 s inside the reply (client.idle_timeout)" in seen.failure.message
    async with scripted([*REPLY[:2], *beats[:30], *REPLY[2:]]) as server:
        assert (await ask(server.url, idle_timeout_s=0.2)).failure is None, "before the first token nothing is due"


async def test_tokens_that_a_server_counts_without_showing_them_keep_a_reply_alive() -> None:
    hidden: list[Step] = [
        step for count in range(2, 20) for step in (piece(event(delta(content="", usage=usage(7, count)))), 0.03)
    ]
    async with scripted([*REPLY[:3], *hidden, *REPLY[4:]]) as server:
        assert (await ask(server.url, idle_timeout_s=0.2)).failure is None


async def test_a_reply_that_does_not_end_is_cut_at_its_limit_and_says_so() -> None:
    endless: list[Step] = [*REPLY[:2], *(piece(event(delta(content="x" * 500))) for _ in range(400)), HANG]
    for beat in (endless, [REPLY[0], *(piece(b": " + b"x" * 500 + b"\n\n") for _ in range(400)), HANG]):
        async with scripted(beat) as server:
            seen = await ask(server.url, max_reply_bytes=20_000)
            await asyncio.wait_for(server.gone.wait(), 5)
        assert seen.failure is not None
        assert (seen.failure.kind, len(seen.content) < 100_000) == ("cut", True)
        assert "cut off after 20000 bytes (client.max_reply_bytes)" in seen.failure.message
    async with scripted(REPLY) as server:
        assert (await ask(server.url, max_reply_bytes=2000)).failure is None


async def test_a_prompt_of_more_tokens_than_bytes_is_not_believed() -> None:
    counted = piece(event({"choices": [], "usage": usage(1_000_000, 2, 8)}))
    async with scripted([*REPLY[:5], counted, *REPLY[6:]]) as server:
        seen = await ask(server.url)
    assert (seen.failure, seen.prompt_tokens, seen.completion_tokens) == (None, None, 2)
    assert seen.doubts["prompt_tokens"] == "1000000"


async def test_requests_that_begin_together_are_built_one_per_turn_of_the_event_loop() -> None:
    turns: dict[int, int] = {}
    turn = 0

    def tick() -> None:
        nonlocal turn
        turn += 1
        asyncio.get_running_loop().call_soon(tick)

    class Extra(dict[str, Any]):
        """Put into the body when that is built."""

        def __ror__(self, body: Any) -> dict[str, Any]:
            turns.setdefault(id(self), turn)
            return {**body, **self}

    requests = [replace(REQUEST, extra_body=Extra()) for _ in range(10)]
    async with scripted(REPLY) as server:
        client = open_client("direct", Connection(server.url, "m"), Clock())
        asyncio.get_running_loop().call_soon(tick)
        seen = [Observation() for _ in range(10)]
        await asyncio.gather(*(client.complete(request, each) for request, each in zip(requests, seen, strict=True)))
        await client.close()
    assert [each.failure for each in seen] == [None] * 10
    built = sorted(turns.values())
    assert len(set(built)) == 10
    assert built[-1] - built[0] <= 40, "and they do not wait for each other's replies"


async def test_cancelling_keeps_what_came_and_makes_the_server_stop() -> None:
    async with scripted([*REPLY[:3], HANG]) as server:
        client = open_client("direct", Connection(server.url, "m"), Clock())
        seen = Observation()
        task = asyncio.create_task(client.complete(REQUEST, seen))
        await first_token(seen)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.gone.wait(), 5)
        await client.close()
    assert (seen.content, seen.failure, seen.end_ns) == ("Hello", None, None)


async def test_only_what_the_target_honours_is_asked_for() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    request = ChatRequest(REQUEST.messages, [tool], 10, True, seed=3, tool_choice="auto", extra_body={"top_k": 5})
    async with scripted(REPLY) as server:
        await ask(server.url, request)
        await ask(server.url, request, honours=Capabilities(False, False, False, False, False))
        await ask(server.url, request, honours=Capabilities(continuous_usage=False, tool_choice=False))
    full, bare, some = (received.body for received in server.received)
    always = {"model": "m", "messages": REQUEST.messages, "max_tokens": 10, "temperature": 0.7, "stream": True}
    assert bare == always | {"seed": 3, "top_k": 5}
    assert full == bare | {
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "min_tokens": 10,
        "ignore_eos": True,
        "tools": [tool],
        "tool_choice": "auto",
    }
    assert some == full | {"stream_options": {"include_usage": True}, "tool_choice": "none"}


async def test_key_and_headers_are_sent_and_shown_in_no_repr() -> None:
    connection = Connection("http://x/v1", "m", api_key="s3cret", headers={"X-Team": "hidden"})
    assert "s3cret" not in repr(connection)
    assert "hidden" not in repr(connection)
    async with scripted(REPLY) as server:
        await ask(server.url, api_key="s3cret", headers={"X-Team": "hidden"})
    headers = server.received[0].headers
    assert (headers["authorization"], headers["x-team"]) == ("Bearer s3cret", "hidden")


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with scripted(REPLY) as server:
        assert (await ask(server.url)).failure is None


async def test_the_proxy_route_asks_for_no_retries_and_no_cached_answers() -> None:
    async with scripted(REPLY) as server:
        client = open_client("litellm-proxy", Connection(server.url, "m"), Clock())
        await client.complete(REQUEST, Observation())
        await client.close()
    body = server.received[0].body
    assert (body["num_retries"], body["cache"]["no-cache"], body["min_tokens"]) == (0, True, 10)


def tls_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "cert.pem", TLS / "key.pem")
    return context


async def test_tls_with_a_named_certificate_is_read_and_stamped() -> None:
    async with scripted([step for part in REPLY for step in (part, 0.002)], tls=tls_context()) as server:
        clock = Clock()
        client = open_client("direct", Connection(server.url, "m", ca_file=str(TLS / "cert.pem")), clock)
        seen = Observation()
        await client.complete(REQUEST, seen)
        source = client.meter().stamp_source
        await client.close()
    assert (seen.failure, seen.content, seen.coalesced) == (None, "Hello world", 0)
    assert seen.send_ns is not None
    assert seen.send_ns < seen.stamps[0] < seen.stamps[1] - 2_000_000
    assert source == ("kernel" if sys.platform == "linux" else "user")


async def test_tls_that_nobody_vouches_for_is_refused_with_the_remedy() -> None:
    async with scripted(REPLY, tls=tls_context()) as server:
        seen = await ask(server.url)
    assert seen.failure is not None
    assert (seen.failure.kind, "client.ca_file" in seen.failure.message) == ("refused", True)


async def test_a_ca_file_that_is_none_is_a_usage_error() -> None:
    for path in ("/no/such/file.pem", __file__):
        with pytest.raises(UsageError, match=r"client\.ca_file"):
            open_client("direct", Connection("https://x/v1", "m", ca_file=path), Clock())


class Burst(threading.Thread):
    """A server in a thread of its own, so that it sends while the client's event loop is stuck."""

    def __init__(self, gap_s: float) -> None:
        super().__init__(daemon=True)
        self.gap_s = gap_s
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/v1"
        self.sends: list[tuple[int, int]] = []  # before and after

    def run(self) -> None:
        with self.listener, self.listener.accept()[0] as peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer.recv(1 << 16)
            peer.sendall(b"".join(map(bytes, REPLY[:2])))
            for part in (TOKEN, TOKEN):
                time.sleep(self.gap_s)
                before = time.perf_counter_ns()
                peer.sendall(part)
                self.sends.append((before, time.perf_counter_ns()))
            time.sleep(self.gap_s)
            peer.sendall(b"".join(map(bytes, REPLY[4:])))
            peer.recv(1)


@linux
async def test_a_chunk_that_waits_for_a_busy_client_is_stamped_when_it_came() -> None:
    server = Burst(0.05)
    server.start()
    clock = Clock(0)
    client = open_client("direct", Connection(server.url, "m"), clock)
    seen = Observation()
    task = asyncio.create_task(client.complete(REQUEST, seen))
    await first_token(seen)
    time.sleep(0.075)  # noqa: ASYNC251  the loop is stuck while the second chunk arrives
    await task
    meter = client.meter()
    await client.close()
    assert seen.failure is None
    before, after = server.sends[1]
    assert before - 1_000_000 <= seen.stamps[1] <= after + 5_000_000
    assert seen.max_lag_ns is not None
    assert seen.max_lag_ns > 5_000_000
    assert max(meter.lags_ns) == seen.max_lag_ns
    assert (meter.chunks, meter.coalesced, meter.stamp_source) == (2, 0, "kernel")


@pytest.mark.parametrize("missing", ["platform", "hooks", "socket"])
async def test_without_its_means_the_client_stamps_in_user_space_and_says_so(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoHooks(Stamper):
        hooks_fit = staticmethod(lambda *_: False)

    class NoSocket(Stamper):
        """As under uvloop, which does not read through the socket object."""

        def socket_of(self, transport: asyncio.BaseTransport) -> None:
            return None

    stamper = {"hooks": NoHooks, "socket": NoSocket}.get(missing, Stamper)
    if missing == "platform":
        monkeypatch.setattr(sys, "platform", "darwin")
    async with scripted([step for part in REPLY for step in (part, 0.002)]) as server:
        client = DirectClient(Connection(server.url, "m"), Clock(), stamper=stamper)
        seen = Observation()
        await client.complete(REQUEST, seen)
        source = client.meter().stamp_source
        await client.close()
    assert (seen.failure, seen.content, source) == (None, "Hello world", "user")
    assert seen.send_ns is not None
    assert seen.send_ns < seen.stamps[0] < seen.stamps[1]


async def test_a_bug_while_reading_is_raised_and_not_called_a_broken_stream() -> None:
    async with scripted([*REPLY[:2], 0.01, *REPLY[2:]]) as server:
        with pytest.raises(ZeroDivisionError):
            await ask(server.url, seen=Observation(stamps=Breaking(1)))


@linux
async def test_a_bug_in_what_waited_to_be_parsed_is_raised_too() -> None:
    async with scripted([*of_tokens(40), HANG]) as server:
        with pytest.raises(ZeroDivisionError):
            await ask(server.url, seen=Observation(stamps=Breaking(30)))

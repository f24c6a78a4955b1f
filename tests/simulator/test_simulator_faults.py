"""Faults on demand: which requests they hit, and what then goes over the wire."""

import asyncio
import json
import subprocess
import sys
import time
from itertools import pairwise
from typing import get_args

import aiohttp
import pytest
from virtual import profile

from swarm.simulator.server import faults
from swarm.simulator.server import server as simulator
from swarm.simulator.server.faults import Fault, FaultKind, Schedule, parse

TOOL = {
    "type": "function",
    "function": {
        "name": "read_file",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    },
}
TOKENS = 8
BODY = {
    "messages": [{"role": "user", "content": "Fix src/cache.py."}],
    "max_tokens": TOKENS,
    "min_tokens": TOKENS,
    "ignore_eos": True,
    "stream": True,
    "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    "tools": [TOOL],
}


@pytest.fixture
async def server():
    running = await simulator.start(profile(), served_model_name="moe")
    yield running
    await running.close()


@pytest.fixture
async def http(server):
    async with aiohttp.ClientSession(server.url) as session:
        yield session


async def ask(http, fault=None, **fields):
    """Sets a fault and asks once; the status, and the bytes of the reply with when each piece of them came."""
    if fault is not None:
        async with http.post("/swarm/faults", json=[fault]) as reply:
            assert reply.status == 200, await reply.text()
    async with http.post("/v1/chat/completions", json=BODY | fields) as reply:
        return reply, [(time.monotonic(), piece) async for piece in reply.content.iter_any()]


def events(pieces):
    """The data of the events, [DONE] as it is."""
    text = b"".join(piece for _, piece in pieces).decode()
    data = [event.removeprefix("data: ") for event in text.replace("\r\n", "\n").split("\n\n") if event]
    return [event if event == "[DONE]" else json.loads(event) for event in data]


def deltas(chunks):
    return [chunk["choices"][0]["delta"] for chunk in chunks if chunk != "[DONE]" and chunk["choices"]]


def test_every_kind_says_what_it_does():
    assert set(get_args(FaultKind)) == set(faults.MEANING)


def test_the_same_seed_hits_the_same_requests_and_another_seed_others():
    def hit(seed):
        schedule = Schedule([Fault("reset", rate=0.1, seed=seed)])
        return [number for number in range(1, 1001) if schedule.next()]

    assert hit(1) == hit(1)
    assert hit(1) != hit(2)
    assert 70 <= len(hit(1)) <= 130


def test_a_request_meets_the_first_fault_that_is_due():
    schedule = Schedule([Fault("stall", at=(2, 4)), Fault("drip", count=2), Fault("crlf", rate=0.0)])
    kinds = [fault and fault.kind for fault in (schedule.next() for _ in range(5))]
    assert kinds == ["drip", "stall", "drip", "stall", None]
    assert [entry["hits"] for entry in schedule.summary()["faults"]] == [2, 2, 0]
    assert schedule.summary()["requests"] == 5


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"kind": "reset"}, "faults: expected a list"),
        (["reset"], "faults[0]: expected an object with a `kind`"),
        ([{}], "faults[0]: expected an object with a `kind`"),
        ([{"kind": None}], "faults[0]: expected an object with a `kind`"),
        ([{"kind": "reset"}, {"kind": "stal"}], "faults[1].kind: 'stal' is no fault; did you mean stall?"),
        ([{"kind": "?"}], "faults[0].kind: '?' is no fault; expected one of latency, "),
        ([{"kind": "reset", "rates": 0.1}], "faults[0].rates: unknown key; did you mean rate?"),
        ([{"kind": "reset", "rate": 2}], "faults[0].rate: expected a share of 0 to 1, not 2"),
        ([{"kind": "reset", "rate": "2%"}], "faults[0].rate: expected a share of 0 to 1, not '2%'"),
        ([{"kind": "reset", "at": [0]}], "faults[0].at: expected numbers of requests, from 1"),
        ([{"kind": "reset", "at": 3}], "faults[0].at: expected numbers of requests, from 1"),
        ([{"kind": "reset", "at": [1], "rate": 0.5}], "faults[0].rate: not together with `at`"),
        ([{"kind": "reset", "count": 0}], "faults[0].count: expected a whole number above 0"),
        ([{"kind": "reset", "seed": "x"}], "faults[0].seed: expected a whole number"),
        ([{"kind": "stall", "duration": -1}], "faults[0].duration: expected seconds, above 0"),
        ([{"kind": "reset", "duration": 1}], "faults[0].duration: reset takes none; those that do are latency, "),
        ([{"kind": "drip", "tokens": 1}], "faults[0].tokens: drip takes none; those that do are reset, "),
        ([{"kind": "reset"}] * 101, "faults: expected a list of at most 100"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place_and_what_would(value, message):
    with pytest.raises(ValueError, match=r"^faults") as refused:
        parse(value)
    assert str(refused.value).startswith(message)


async def test_a_refusal_over_http_leaves_the_faults_as_they_were(http, server):
    await http.post("/swarm/faults", json=[{"kind": "crlf"}])
    for body in (b"[", b'[{"kind":"x"}]', b"\xff", b"[" * 100_000):
        async with http.post("/swarm/faults", data=body) as reply:
            assert reply.status == 400
            assert "faults" in (await reply.json())["error"]["message"]
    async with http.get("/swarm/faults") as reply:
        assert await reply.json() == {"requests": 0, "faults": [{"kind": "crlf", "seed": 0, "hits": 0}]}


@pytest.mark.parametrize(
    ("kind", "status", "retry_after"),
    [("rate-limit", 429, "2"), ("server-error", 500, None), ("loading", 503, "2")],
)
async def test_refusals_have_their_status_and_retry_after(http, kind, status, retry_after):
    duration = {} if retry_after is None else {"duration": 1.5}
    reply, pieces = await ask(http, {"kind": kind, "count": 1, **duration})
    assert (reply.status, reply.headers.get("Retry-After")) == (status, retry_after)
    assert json.loads(pieces[0][1])["error"]["code"] == status
    reply, pieces = await ask(http)
    assert reply.status == 200
    assert events(pieces)[-1] == "[DONE]"


async def test_latency_comes_before_the_headers(http):
    began = time.monotonic()
    _, pieces = await ask(http, {"kind": "latency", "duration": 0.3})
    assert pieces[0][0] - began >= 0.3
    assert events(pieces)[-1] == "[DONE]"


async def test_reset_before_the_headers_and_inside_the_stream(http):
    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        await ask(http, {"kind": "reset"})
    async with http.post("/swarm/faults", json=[{"kind": "reset", "tokens": 4}]):
        pass
    async with http.post("/v1/chat/completions", json=BODY) as reply:
        assert reply.status == 200
        received = bytearray()
        with pytest.raises(aiohttp.ClientError):
            await _read_into(received, reply)
    assert received.count(b'"content"') == 1 + 4  # of the role, and of four tokens


async def _read_into(received, reply):
    async for piece in reply.content.iter_any():
        received += piece


async def test_hang_answers_nothing_until_the_client_goes(http, server):
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(ask(http, {"kind": "hang", "at": [1]}), 0.3)
    reply, _ = await ask(http)
    assert reply.status == 200
    assert server.engine.running == 0


async def test_a_stall_is_silence_in_the_middle_and_nothing_is_lost(http):
    _, pieces = await ask(http, {"kind": "stall", "duration": 0.4, "tokens": 2})
    times = [at for at, _ in pieces]
    longest = max(after - before for before, after in pairwise(times))
    assert 0.3 < longest < 0.8
    chunks = events(pieces)
    assert chunks[-1] == "[DONE]"
    assert chunks[-2]["usage"]["completion_tokens"] == TOKENS
    assert len(deltas(chunks)) == 1 + TOKENS


async def test_drip_writes_a_token_at_a_time(http):
    _, pieces = await ask(http, {"kind": "drip", "duration": 0.05})
    assert pieces[-1][0] - pieces[0][0] >= (TOKENS - 1) * 0.05
    assert events(pieces)[-1] == "[DONE]"


async def test_truncate_closes_inside_an_event(http):
    with pytest.raises(aiohttp.ClientPayloadError):
        await ask(http, {"kind": "truncate"})


async def test_malformed_events_stand_alone_in_a_stream_that_goes_on(http):
    for kind, ends in (("malformed-sse", b"\n"), ("malformed-json", b"\n\n")):
        _, pieces = await ask(http, {"kind": kind, "tokens": 2})
        text = b"".join(piece for _, piece in pieces)
        broken = [event for event in text.split(b"\n\n") if event and not event.endswith((b"}", b"[DONE]"))]
        torn = [event for event in text.split(b"\n\n") if b"\n" in event]
        assert (len(broken), len(torn)) == ((0, 1) if ends == b"\n" else (1, 0))
        assert text.endswith(b"data: [DONE]\n\n")


async def test_an_error_inside_the_stream_is_vllms(http):
    reply, pieces = await ask(http, {"kind": "in-band-error", "tokens": 2})
    *before, error, done = events(pieces)
    assert reply.status == 200
    assert len(deltas(before)) == 1 + 2
    assert error["error"]["type"] == "InternalServerError"
    assert done == "[DONE]"


async def test_no_finish_ends_in_good_order_with_all_the_text(http):
    _, pieces = await ask(http, {"kind": "no-finish"})
    chunks = events(pieces)
    assert len(deltas(chunks)) == 1 + TOKENS
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks)


async def test_usage_may_be_missing_or_wrong(http):
    _, pieces = await ask(http, {"kind": "no-usage"})
    assert not any("usage" in chunk for chunk in events(pieces) if chunk != "[DONE]")
    _, pieces = await ask(http, {"kind": "lying-usage"})
    assert events(pieces)[-2]["usage"]["completion_tokens"] == TOKENS * 1.5


async def test_crlf_ends_every_line(http):
    _, pieces = await ask(http, {"kind": "crlf"})
    text = b"".join(piece for _, piece in pieces)
    assert text.count(b"\n") == text.count(b"\r\n") > TOKENS
    assert events(pieces)[-1] == "[DONE]"


async def test_several_tokens_a_chunk_are_the_same_text_and_the_same_count(http):
    _, plain = await ask(http)
    _, pieces = await ask(http, {"kind": "multi-token", "tokens": 3})
    chunks = events(pieces)
    texts = [delta["content"] for delta in deltas(chunks)]
    assert [len(text) for text in texts] == [0, 12, 12, 8]  # the role, and 3, 3 and 2 tokens of 4 bytes
    assert "".join(texts) == "".join(delta["content"] for delta in deltas(events(plain)))
    assert chunks[-2]["usage"]["completion_tokens"] == TOKENS


async def test_a_turn_may_be_a_tool_call_alone(http):
    _, pieces = await ask(http, {"kind": "tool-calls"})
    chunks = events(pieces)
    assert [bool(delta.get("tool_calls")) for delta in deltas(chunks)] == [False] + [True] * TOKENS
    assert not any(delta.get("content") for delta in deltas(chunks))
    assert chunks[-2]["usage"]["completion_tokens"] == TOKENS


async def test_reasoning_comes_first(http):
    _, pieces = await ask(http, {"kind": "reasoning"})
    names = [next(iter(delta)) for delta in deltas(events(pieces))]
    assert names == ["role"] + ["reasoning"] * (TOKENS // 2) + ["content"] * (TOKENS // 2)


async def test_a_crash_cuts_all_streams_refuses_connections_and_comes_back_empty(http, server):
    long = asyncio.create_task(ask(http, max_tokens=2000, min_tokens=2000))
    await asyncio.sleep(0.2)
    assert server.engine.running == 1
    port = server.port
    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        await ask(http, {"kind": "crash", "at": [1], "duration": 0.3})
    with pytest.raises(aiohttp.ClientPayloadError):
        await long
    with pytest.raises(aiohttp.ClientConnectorError):
        await ask(http)
    await asyncio.sleep(0.4)
    _, pieces = await ask(http)
    assert server.port == port
    assert events(pieces)[-2]["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    assert (server.engine.running, server.engine.generation_tokens) == (0, TOKENS)


async def test_an_unstreamed_request_meets_faults_too(http):
    reply, _ = await ask(http, {"kind": "server-error"}, stream=False, stream_options=None)
    assert reply.status == 500
    reply, pieces = await ask(http, {"kind": "in-band-error"}, stream=False, stream_options=None)
    assert json.loads(pieces[0][1])["choices"][0]["finish_reason"] == "length"


async def test_an_http_1_0_client_gets_a_broken_stream_without_chunks(http, server):
    await http.post("/swarm/faults", json=[{"kind": "in-band-error"}])
    body = json.dumps(BODY).encode()
    reader, writer = await asyncio.open_connection(server.host, server.port)
    head = b"POST /v1/chat/completions HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    reply = await reader.read()
    assert reply.partition(b"\r\n\r\n")[2].startswith(b'data: {"id"')
    assert reply.endswith(b"data: [DONE]\n\n")
    writer.close()


def test_the_command_takes_faults_and_refuses_wrong_ones():
    command = [sys.executable, "-m", "swarm.simulator"]
    for wrong, message in (("[", "--faults: no JSON"), ('[{"kind":"rest"}]', "did you mean reset?")):
        done = subprocess.run([*command, f"--faults={wrong}"], capture_output=True, text=True, timeout=20, check=False)
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr

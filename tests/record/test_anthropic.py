"""Anthropic's clients before a server that speaks OpenAI's protocol, and before one that speaks theirs."""

import asyncio
import json
import re
from itertools import pairwise
from types import SimpleNamespace

import anthropic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_server import END, RESET, answer, delta, event, piece, scripted, stream_head, usage
from test_relay import proxy

from swarm.client.base import Observation
from swarm.proxy import anthropic_stream
from swarm.proxy.anthropic import TranslatedAnswer, Translator
from swarm.proxy.exchange import Exchange
from swarm.proxy.recording import Recording
from swarm.simulator.profiles import profiles
from swarm.simulator.server.server import start
from swarm.trace.format import TraceHeader, TraceWriter, read_trace
from swarm.trace.redact import Redactor

TOOLS = [
    {
        "name": "read_file",
        "description": "Reads a file.",
        "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    }
]
ASKED = {"model": "claude", "max_tokens": 40, "messages": [{"role": "user", "content": "read a.py"}], "tools": TOOLS}


def client(through):
    return anthropic.AsyncAnthropic(base_url=through.url, api_key="sk-ant-x", max_retries=0)


def turns(tmp_path, exchanges):
    """The trace that a recording makes of them."""
    recording = Recording(TraceWriter(tmp_path / "t", TraceHeader(source="recorded")), Redactor(()), False)
    for exchange in exchanges:
        recording.take(exchange)
    return read_trace(tmp_path / "t").turns


async def test_the_stock_client_works_through_a_job_with_tools_on_the_simulated_server(tmp_path):
    server = await start(profiles.load("moe-30b-a3b-awq-1x3090"))
    async with proxy(SimpleNamespace(url=f"{server.url}/v1"), served=server.model_name) as through:
        talk = list(ASKED["messages"])
        for choice in ("any", "none"):
            asked = ASKED | {"messages": talk, "tool_choice": {"type": choice}}
            async with client(through).messages.stream(system="You are an agent.", **asked) as stream:
                said = await stream.get_final_message()
            talk += [{"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in said.content]}]
            results = [
                {"type": "tool_result", "tool_use_id": b.id, "content": "x"}
                for b in said.content
                if b.type == "tool_use"
            ]
            talk += [{"role": "user", "content": results}]
        assert said.stop_reason == "max_tokens"
        whole = await client(through).messages.create(max_tokens=7, model="claude", messages=ASKED["messages"])
        assert (whole.usage.output_tokens, whole.model, whole.content[0].type) == (7, "claude", "text")
        counted = await client(through).messages.count_tokens(model="claude", messages=ASKED["messages"])
        assert counted.input_tokens == whole.usage.input_tokens
    await server.close()
    first, second, third = turns(tmp_path, through.kept)
    assert [(turn.session, turn.number, turn.error) for turn in (first, second, third)] == [
        ("s1", 1, None),
        ("s1", 2, None),
        ("s2", 1, None),
    ]
    assert [call.name for call in first.reply.calls] == ["read_file"]
    assert [message.role for message in first.added] == ["system", "user"]
    assert [message.role for message in second.added] == ["assistant", "tool"]
    assert (second.added[0].key, second.kept) == (first.reply.key, 2)
    assert second.prompt_tokens > first.prompt_tokens > 0


REPLY = [
    stream_head(),
    piece(event(delta(role="assistant", content=""))),
    piece(event(delta(reasoning="hm"))),
    piece(event(delta(content="Hello"))),
    piece(event(delta(tool_calls=[{"index": 0, "id": "c1", "function": {"name": "read_file", "arguments": ""}}]))),
    piece(event(delta(tool_calls=[{"index": 0, "function": {"arguments": '{"path": "a.py"}'}}]))),
    piece(event(delta(finish_reason="tool_calls"))),
    piece(event({"choices": [], "usage": usage(11, 5, 8)})),
    piece(b"data: [DONE]\n\n"),
    END,
]


async def test_a_reply_keeps_its_thinking_text_and_calls_and_the_request_its_meaning():
    async with scripted(REPLY) as server, proxy(server, model="big") as through:
        async with client(through).messages.stream(system="Be brief.", stop_sequences=["x"], **ASKED) as stream:
            said = await stream.get_final_message()
        (received,) = server.received
    assert [block.type for block in said.content] == ["thinking", "text", "tool_use"]
    assert (said.content[0].thinking, said.content[1].text) == ("hm", "Hello")
    assert (said.content[2].id, said.content[2].input) == ("c1", {"path": "a.py"})
    assert (said.stop_reason, said.usage.output_tokens, said.usage.cache_read_input_tokens) == ("tool_use", 5, 8)
    asked = received.body
    assert (received.path, asked["model"], asked["max_tokens"], asked["stop"]) == (
        "/v1/chat/completions",
        "big",
        40,
        ["x"],
    )
    assert [message["role"] for message in asked["messages"]] == ["system", "user"]
    assert asked["tools"][0]["function"]["parameters"] == TOOLS[0]["input_schema"]
    assert asked["stream_options"] == {"include_usage": True}
    assert received.headers["authorization"] == "Bearer sk-ant-x"
    assert not [name for name in received.headers if name.startswith(("x-api-key", "anthropic"))]


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (answer("429 Too Many", {"error": {"message": "slow down"}}, "Retry-After: 1\r\n"), anthropic.RateLimitError),
        (answer("404 Not Found", {"error": {"message": "no model"}}), anthropic.NotFoundError),
        (answer("200 OK", {"nothing": "of use"}), anthropic.InternalServerError),
    ],
)
async def test_a_refusal_is_one_of_anthropics(script, error):
    async with scripted(script) as server, proxy(server) as through:
        with pytest.raises(error) as raised:
            await client(through).messages.create(**ASKED)
        assert raised.value.body["type"] == "error"
        assert raised.value.body["error"]["message"]


async def test_what_cannot_be_translated_is_a_bad_request_and_reaches_no_server():
    async with scripted(REPLY) as server, proxy(server) as through:
        async with through.post({"model": "claude"}, "/v1/messages") as reply:
            assert (reply.status, (await reply.json())["error"]["type"]) == (400, "invalid_request_error")
        assert server.received == []


@pytest.mark.parametrize("ending", [RESET, END], ids=["reset", "an end without a finish"])
async def test_a_stream_that_breaks_off_is_not_given_an_ending(ending):
    async with scripted([*REPLY[:4], ending]) as server, proxy(server) as through:
        with pytest.raises(Exception, match=r"(?i)incomplete|closed|reset|peer"):
            async with client(through).messages.stream(**ASKED) as stream:
                await stream.get_final_message()


async def test_an_error_inside_a_stream_is_an_error_to_the_client():
    broken = [*REPLY[:4], piece(event({"error": {"message": "out of memory"}})), piece(b"data: [DONE]\n\n"), END]
    async with scripted(broken) as server, proxy(server) as through:
        with pytest.raises(anthropic.APIStatusError, match="out of memory"):
            async with client(through).messages.stream(**ASKED) as stream:
                await stream.get_final_message()


def sse(**fields):
    return f"event: {fields['type']}\ndata: {json.dumps(fields)}\n\n".encode()


NATIVE = [
    sse(type="message_start", message={"usage": {"input_tokens": 3, "cache_read_input_tokens": 8, "output_tokens": 1}}),
    sse(type="content_block_start", index=0, content_block={"type": "text", "text": ""}),
    sse(type="content_block_delta", index=0, delta={"type": "text_delta", "text": "Hello"}),
    sse(type="content_block_stop", index=0),
    sse(type="ping"),
    sse(
        type="content_block_start",
        index=1,
        content_block={"type": "tool_use", "id": "t1", "name": "read_file", "input": {}},
    ),
    sse(type="content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": '{"path":'}),
    sse(type="content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": '"a.py"}'}),
    sse(type="message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 9}),
    sse(type="message_stop"),
]


async def test_a_server_of_anthropics_own_is_passed_through_as_it_is_and_recorded(tmp_path):
    script = [stream_head(), *map(piece, NATIVE), END]
    async with scripted(script) as server, proxy(server, api="anthropic") as through:
        async with through.post(ASKED | {"stream": True}, "/v1/messages", headers={"x-api-key": "k"}) as reply:
            assert await reply.read() == b"".join(NATIVE)
        assert (server.received[0].path, server.received[0].headers["x-api-key"]) == ("/v1/messages", "k")
        assert server.received[0].body == ASKED | {"stream": True}
    (turn,) = turns(tmp_path, through.kept)
    assert (turn.prompt_tokens, turn.cached_tokens, turn.completion_tokens) == (11, 8, 9)
    assert (turn.finish_reason, turn.error, turn.tools.count) == ("tool_calls", None, 1)
    assert [(call.name, call.arguments_bytes) for call in turn.reply.calls] == [("read_file", 15)]


@given(st.lists(st.integers(0, 600), max_size=6))
def test_a_native_stream_is_read_the_same_in_whatever_chunks(cuts):
    whole = b"".join(NATIVE)
    bounds = sorted({0, *cuts, len(whole)})
    seen = Observation()
    anthropic_stream.read_stream([(whole[a:b], b) for a, b in pairwise(bounds)], seen)
    assert (seen.content, seen.tool_calls[0].arguments, seen.end_ns) == ("Hello", '{"path":"a.py"}', len(whole))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (NATIVE[0] + sse(type="error", error={"type": "overloaded_error", "message": "busy"}), "in_band"),
        (NATIVE[0] + b"data: {\n\n", "malformed"),
        (b"".join(NATIVE[:4]), "cut"),
        (NATIVE[0] + b"event: error\ndata: busy\n\n" + b"".join(NATIVE[1:]), "in_band"),
        (NATIVE[0] + sse(type="odd", error_message="busy"), "in_band"),
        (b"".join(NATIVE).replace(b'"tool_use"}', b'"error"}'), "in_band"),
        (NATIVE[0] + sse(type="message_stop"), "cut"),
    ],
)
def test_a_native_stream_that_fails_says_how(tmp_path, body, kind):
    asked = json.dumps(ASKED).encode()
    headers = {"Content-Type": "text/event-stream"}
    one = Exchange("anthropic", asked, 0, end_ns=9, status=200, headers=headers, pieces=[(body, 5)])
    (turn,) = turns(tmp_path, [one])
    assert turn.error == kind


def test_a_native_reply_that_came_as_a_whole_is_read(tmp_path):
    reply = {
        "type": "message",
        "content": [
            {"type": "text", "text": "Hi"},
            {"type": "tool_use", "id": "t", "name": "read_file", "input": {"path": "a"}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 3, "cache_creation_input_tokens": 4, "output_tokens": 2},
    }
    headers = {"Content-Type": "application/json"}
    pieces = [(json.dumps(reply).encode(), 5)]
    one = Exchange("anthropic", json.dumps(ASKED).encode(), 0, end_ns=9, status=200, headers=headers, pieces=pieces)
    (turn,) = turns(tmp_path, [one])
    assert (turn.prompt_tokens, turn.cached_tokens, turn.completion_tokens, turn.error) == (7, None, 2, None)
    assert (turn.reply.calls[0].name, turn.first_token_ns) == ("read_file", None)


def test_a_native_call_whose_input_holds_half_a_character_is_read():
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {"path": "@"}}
    reply = {"content": [block], "stop_reason": "tool_use", "usage": {"input_tokens": -3, "output_tokens": 2}}
    seen = Observation()
    anthropic_stream.read_document(json.dumps(reply).replace("@", "\\ud83d").encode(), 9, seen)
    assert (seen.failure, seen.tool_calls[0].arguments) == (None, '{"path":"\ufffd"}')
    assert (seen.prompt_tokens, seen.completion_tokens, seen.doubts) == (None, 2, {"prompt_tokens": "-3"})


class Sent:
    """In the place of a connection to a client."""

    def __init__(self):
        self.data = b""

    def write(self, data):
        self.data += data


async def translated(chunks, one_by_one, kind=Translator):
    """The events of a reply whose chunks come one by one, or all before the first is looked at."""
    translator, sent = kind(), Sent()
    asked = translator.request(json.dumps(ASKED | {"stream": True}).encode(), None)
    answer = TranslatedAnswer(None, translator, asked)
    answer._plain = sent
    answer._writing = asyncio.create_task(answer._write())
    for chunk in chunks:
        answer.write(b"data: %b\n\n" % chunk)
        for _ in range(20 * one_by_one):
            await asyncio.sleep(0)
    answer._translate(None)
    await answer._writing
    return re.sub(rb'"id": "[^"]*"', b"", sent.data)  # some are made up


words = st.text('a"\\\n é', max_size=3)
fragments = st.fixed_dictionaries(
    {"index": st.integers(0, 1)},
    optional={
        "id": st.sampled_from(["c1", "c2"]),
        "function": st.fixed_dictionaries({}, optional={"name": st.sampled_from("fg"), "arguments": words}),
    },
)
added = st.fixed_dictionaries(
    {},
    optional={
        "role": st.just("assistant"),
        "content": words | st.none(),
        "reasoning": words,
        "reasoning_content": words,
        "tool_calls": st.lists(fragments, max_size=2),
    },
)
deltas = st.one_of(
    words.map(lambda text: {"content": text}),
    words.map(lambda text: {"reasoning_content": text}),
    words.map(lambda text: {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}),
    st.just({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": ""}}]}),
    added,
)


@given(
    chunks=st.lists(
        st.tuples(
            deltas,
            st.sampled_from([{}] * 8 + [{"finish_reason": "stop"}]),
            st.sampled_from([{}] * 8 + [{"usage": {"prompt_tokens": 5, "completion_tokens": 3}}]),
        ),
        max_size=12,
    )
)
@settings(max_examples=60, deadline=None)
def test_what_is_translated_without_litellm_is_what_litellm_makes_of_it(chunks):
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    lines = [
        json.dumps(head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None} | choice]} | usage).encode()
        for delta, choice, usage in chunks
    ]
    at_once, one_by_one = (asyncio.run(translated(lines, each)) for each in (False, True))
    assert one_by_one == at_once


async def test_litellm_sees_what_opens_a_text_and_not_what_goes_on_with_it():
    seen = []

    class Watched(Translator):
        def _read(self, chunk):
            seen.append(chunk)
            return super()._read(chunk)

    texts = ["", "one", " two", " three", " four"]
    chunks = [json.dumps({"object": "chat.completion.chunk", "choices": [{"delta": {"content": t}}]}) for t in texts]
    sent = await translated([chunk.encode() for chunk in chunks], one_by_one=True, kind=Watched)
    assert sent.count(b"text_delta") == 4
    assert len(seen) == 2, "the empty one and the first"

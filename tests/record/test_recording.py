"""From exchanges to a trace: what is in its lines, and what never is."""

import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted_server import DONE, delta, event, usage

from swarm.client.base import Failure
from swarm.proxy.exchange import BOUNDS, Exchange, unpacked
from swarm.proxy.recording import Recording
from swarm.trace.format import Parent, TraceHeader, TraceWriter, read_trace
from swarm.trace.redact import SECRETS, Redactor, path_rules

RULES = (*SECRETS, *path_rules(Path("/home/alice"), "alice", None))
STREAMED = {"Content-Type": "text/event-stream; charset=utf-8"}
TOOL = {"type": "function", "function": {"name": "read_file", "parameters": {"type": "object"}}}
MS = 1_000_000


class Trace:
    """A recording, and what can be read of it at any time."""

    def __init__(self, path, content=False, **bounds):
        self.path = path
        header = TraceHeader(source="recorded", content=content)
        self.recording = Recording(TraceWriter(path, header), Redactor(RULES), content, **bounds)

    def take(self, exchange):
        return self.recording.take(exchange)

    @property
    def turns(self):
        return read_trace(self.path).turns


@pytest.fixture(params=[False, True], ids=["lengths", "contents"])
def trace(request, tmp_path):
    return Trace(tmp_path / "trace.jsonl", request.param)


def request(*messages, **fields):
    return json.dumps({"model": "m", "messages": messages, "stream": True, **fields}).encode()


def user(text):
    return {"role": "user", "content": text}


def stream(*chunks, cut=False):
    return b"".join(map(event, chunks)) + (b"" if cut else DONE)


REPLY = stream(
    delta(role="assistant", content=""),
    delta(content="Let me see."),
    delta(tool_calls=[{"index": 0, "id": "c1", "function": {"name": "read_file", "arguments": '{"path": '}}]),
    delta(tool_calls=[{"index": 0, "function": {"arguments": '"a.py"}'}}]),
    delta(finish_reason="tool_calls"),
    {"choices": [], "usage": usage(120, 9, 64)},
)


def exchange(body, reply=REPLY, at=0, pieces=None, **changes):
    """One that was sent at `at` ms and whose reply came in whole, 20 ms later."""
    arrived = [(reply, (at + 20) * MS)] if pieces is None else pieces
    given = {"status": 200, "headers": STREAMED, "pieces": arrived, "end_ns": (at + 30) * MS} | changes
    return Exchange("openai", body, at * MS, **given)


def test_a_turn_has_its_times_lengths_counts_and_calls(trace):
    trace.take(exchange(request(user("mend a.py"), tools=[TOOL]), at=5))
    (turn,) = trace.turns
    assert (turn.session, turn.number, turn.parent, turn.kept, turn.model) == ("s1", 1, None, 0, "m")
    assert (turn.t_ns, turn.first_token_ns, turn.end_ns) == (5 * MS, 25 * MS, 25 * MS)
    assert (turn.prompt_tokens, turn.cached_tokens, turn.completion_tokens) == (120, 64, 9)
    assert (turn.finish_reason, turn.status, turn.error) == ("tool_calls", 200, None)
    assert [(message.role, message.bytes) for message in turn.added] == [("user", 9)]
    assert (turn.tools.count, turn.reply.tokens, turn.reply.bytes) == (1, 9, len("Let me see.read_file") + 16)
    assert [(call.name, call.arguments_bytes) for call in turn.reply.calls] == [("read_file", 16)]


def test_the_next_turn_says_only_what_came_to_it(trace):
    trace.take(exchange(request(user("mend a.py"), tools=[TOOL])))
    reply = {
        "role": "assistant",
        "content": [{"type": "text", "text": "Let me see.", "cache_control": {"type": "ephemeral"}}],
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "read_file", "arguments": '{"path":"a.py"}'}}
        ],
    }
    result = {"role": "tool", "tool_call_id": "c1", "content": "x = 1"}
    trace.take(exchange(request(user("mend a.py"), reply, result, tools=[TOOL]), at=100))
    first, second = trace.turns
    assert (second.session, second.number, second.kept, second.tools) == ("s1", 2, 1, None)
    assert [message.role for message in second.added] == ["assistant", "tool"]
    assert second.added[0].key == first.reply.key  # though the client writes it in another form


def test_contents_are_there_when_they_are_wanted_and_redacted(tmp_path):
    trace = Trace(tmp_path / "t", content=True)
    trace.take(exchange(request(user("see /home/alice/a.py with sk-abcdefghijklmnopqrstuvwx"))))
    (turn,) = trace.turns
    text = turn.added[0].content["content"]
    assert text.startswith("see /home/user/a.py with [api-key ")
    assert turn.reply.content["tool_calls"][0]["function"]["arguments"] == '{"path": "a.py"}'
    assert turn.reply.calls[0].arguments == '{"path": "a.py"}'


WORDS = st.text("abcdefghijklmnopqrstuvwxyz", min_size=12, max_size=20).map("zq".__add__)
PLACES = ["prompt", "system", "role", "name", "result", "schema", "reply", "reasoning", "call", "call id", "arguments"]
MORE_PLACES = [*PLACES, "model", "finish", "error body", "in band", "key of the client"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_planted_secret_reaches_the_file_in_whatever_place_and_chunks(tmp_path, data):
    """With contents, one of a known shape; without, any word, for then no text at all is written."""
    content = data.draw(st.booleans())
    secret = f"sk-{data.draw(WORDS)}{data.draw(WORDS)}" if content else data.draw(WORDS)
    place = data.draw(st.sampled_from(MORE_PLACES if content else [p for p in MORE_PLACES if p != "model"]))
    path = tmp_path / os.urandom(8).hex()
    trace = Trace(path, content)

    def put(here, other):
        return secret if place == here else other

    call = {"index": 0, "id": put("call id", "c1"), "function": {"name": put("call", "f"), "arguments": ""}}
    call["function"]["arguments"] = json.dumps({"text": put("arguments", "x"), "more": [f"\n{put('arguments', 'x')}"]})
    reply = stream(
        delta(content=put("reply", "hello"), reasoning=put("reasoning", "hm")),
        delta(tool_calls=[call]),
        {"error": {"message": put("in band", "broken")}}
        if place == "in band"
        else delta(finish_reason=put("finish", "stop")),
    )
    body = request(
        {"role": put("role", "system"), "content": put("system", "be kind")},
        {"role": "user", "content": put("prompt", "hi"), "name": put("name", "bob")},
        {"role": "tool", "tool_call_id": put("call id", "c0"), "content": put("result", "r")},
        tools=[{"type": "function", "function": {"name": put("schema", "g"), "description": put("schema", "d")}}],
        model=put("model", "m"),
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(reply)), max_size=6)))
    pieces = [(reply[a:b], a + 1) for a, b in zip([0, *cuts], [*cuts, len(reply)], strict=True) if a < b]
    refused = {"status": 400, "headers": {}, "pieces": [(f'{{"error": "{secret}"}}'.encode(), 1)]}
    one = exchange(body, **({"pieces": pieces} | (refused if place == "error body" else {})))
    one.keys = (put("key of the client", ""),)
    if one.keys[0]:
        one.request = request(user(f"env: OTHER={secret}"))
    trace.take(one)
    assert len(trace.turns) == 1
    assert secret not in path.read_text()


@pytest.mark.parametrize(
    ("changes", "error", "tokens"),
    [
        ({"failure": Failure("cut", "x"), "pieces": [(stream(delta(content="Let"), cut=True), 5)]}, "cut", 3),
        ({"pieces": [(stream(delta(content="Let"), cut=True), 5)]}, "cut", 3),
        ({"left": True, "pieces": [(stream(delta(content="Let"), cut=True), 5)]}, "cancelled", 3),
        ({"left": True, "status": None, "pieces": []}, "cancelled", None),
        ({"failure": Failure("refused", "x"), "status": None, "pieces": []}, "refused", None),
        ({"status": 429, "headers": {}, "pieces": [(b"{}", 5)]}, "rate_limited", None),
        ({"pieces": [(b"data: {\n\n", 5)]}, "malformed", None),
        ({"pieces": [(stream(delta(content="Let"), delta(finish_reason="abort")), 5)]}, "in_band", 3),
        ({"pieces": [(stream(delta(finish_reason="error")), 5)]}, "in_band", None),
        ({"pieces": [(stream(delta(finish_reason="stop"), {"choices": [], "usage": usage(7, 0)}), 5)]}, "empty", None),
        ({"pieces": [(b"event: error\ndata: lost\n\n" + REPLY, 5)]}, "in_band", None),
        ({"pieces": [(b'data: {"error_message": "lost"}\n\n' + REPLY, 5)]}, "in_band", None),
        (
            {
                "headers": {"Content-Type": "application/json"},
                "pieces": [(b'{"choices": [{"message": {"content": "Let"}, "finish_reason": "abort"}]}', 5)],
            },
            "in_band",
            3,
        ),
        ({"headers": {"Content-Type": "application/json"}, "pieces": [(b'{"error": "no"}', 5)]}, "in_band", None),
        ({"headers": {"Content-Type": "application/json"}, "pieces": [(b"no json", 5)]}, "malformed", None),
    ],
)
def test_what_went_wrong_is_said_and_what_came_is_kept(trace, changes, error, tokens):
    totals = trace.take(exchange(request(user("hi")), **changes))
    (turn,) = trace.turns
    assert (turn.error, turn.reply and turn.reply.bytes) == (error, tokens)
    assert (totals.turns, totals.failed) == (1, 1)


def test_a_reply_that_came_as_a_whole_has_no_time_of_a_first_token(trace):
    message = {"role": "assistant", "content": "hello"}
    document = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage(7, 2)}
    headers = {"Content-Type": "application/json"}
    trace.take(exchange(request(user("hi"), stream=False), json.dumps(document).encode(), headers=headers))
    (turn,) = trace.turns
    assert (turn.first_token_ns, turn.end_ns, turn.completion_tokens, turn.reply.bytes) == (None, 30 * MS, 2, 5)


@pytest.mark.parametrize(
    "one",
    [
        exchange(b"no json"),
        exchange(b'{"messages": 7}'),
        exchange(request(user("hi")), headers=STREAMED | {"Content-Encoding": "br"}),
    ],
    ids=["no json", "no messages", "packed in an unknown way"],
)
def test_what_cannot_be_read_is_counted_and_the_next_turn_is_recorded(trace, one):
    assert trace.take(one).unreadable == 1
    assert trace.take(exchange(request(user("hi")))).turns == 1


def test_a_full_disk_ends_the_recording_with_a_word_and_the_file_stays_readable(tmp_path, monkeypatch):
    trace = Trace(tmp_path / "t")
    trace.take(exchange(request(user("one"))))

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        totals = trace.take(exchange(request(user("two")), at=100))
    assert "No space left on device" in totals.stopped
    assert trace.take(exchange(request(user("three")), at=200)).turns == 1
    assert [turn.added[0].bytes for turn in trace.turns] == [3]


def test_an_answer_may_be_packed_by_gzip_but_not_grow_without_bound():
    import gzip

    assert unpacked(gzip.compress(b"x" * 100), "gzip", 100) == b"x" * 100
    assert unpacked(gzip.compress(b"x" * 101), "gzip", 100) is None
    assert unpacked(b"no gzip", "gzip", 100) is None
    long = exchange(b"{}", pieces=[])
    long.add(b"x" * BOUNDS.reply, 1)
    long.add(b"x", 2)
    assert (long.body(), len(long.pieces)) == (None, 1)


def test_halves_of_characters_and_counts_that_cannot_be_do_not_spoil_a_recorded_reply(trace):
    half = json.dumps(delta(content="@")).replace("@", "\\ud83d").encode()
    rest = json.dumps(delta(content="@")).replace("@", "\\ude00").encode()
    counted = {"choices": [], "usage": usage(10, 2, 900)}
    trace.take(exchange(request(user("hi")), stream(half, rest, delta(finish_reason="eos"), counted)))
    (turn,) = trace.turns
    assert (turn.error, turn.finish_reason, turn.reply.bytes) == (None, "stop", 4)
    assert (turn.prompt_tokens, turn.cached_tokens, turn.completion_tokens) == (10, None, 2)


def test_a_prompt_with_half_a_character_is_recorded(trace):
    asked = request(user("hi @")).replace(b"@", b"\\ud83d")
    assert trace.take(exchange(asked)).turns == 1
    assert trace.turns[0].error is None


def test_a_title_that_ends_before_the_first_turn_belongs_to_it(tmp_path):
    trace = Trace(tmp_path / "trace.jsonl")
    job = "Find out why the total of the cart is wrong."
    trace.take(exchange(request(user(f"Title for: {job}"), stream=False), at=0))
    assert [turn.parent for turn in trace.turns] == [None]  # readable at any time
    trace.take(exchange(request(user(job), tools=[TOOL]), at=1))
    assert [(turn.session, turn.parent, turn.side) for turn in trace.turns] == [
        ("s2", None, False),
        ("s1", Parent(session="s2", turn=1), True),
    ]


def test_whether_a_reply_was_asked_for_as_a_stream_is_kept(trace):
    trace.take(exchange(request(user("mend it"))))
    trace.take(exchange(request(user("write it"), stream=False), at=100))
    assert [turn.streamed for turn in trace.turns] == [True, False]

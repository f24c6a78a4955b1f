import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scripted_server import DONE, delta, event, usage

from swarm.client.base import Observation, ToolCall
from swarm.client.reply.events import EventStream, TooLongError
from swarm.client.reply.sse import ChatStream


def events_of(*pieces: bytes, limit: int = 1 << 20) -> list[bytes]:
    stream = EventStream(limit)
    return [found for piece in pieces for found in stream.feed(piece)] + stream.end()


def cut_at(data: bytes, places: list[int]) -> list[bytes]:
    borders = [0, *sorted({min(place, len(data)) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(borders)]


def read(*pieces: bytes, end: bool = True) -> Observation:
    seen = Observation()
    stream = ChatStream(seen)
    for number, piece in enumerate(pieces, 1):
        stream.feed(piece, number * 1000)
    if end:
        stream.end(len(pieces) * 1000)
    stream.close()
    return seen


def chat(*chunks: Any, done: bool = True) -> bytes:
    return b"".join(map(event, chunks)) + (DONE if done else b"")


STOP = delta(finish_reason="stop")


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end_ends_a_line(line_end: bytes) -> None:
    text = line_end.join([b"data: a", b"", b"data: b", b"data: c", b"", b""])
    assert events_of(text) == [b"a", b"b\nc"]


def test_comments_other_fields_and_empty_events_are_skipped() -> None:
    assert events_of(b": ping\n\nevent: x\nid: 7\nretry: 5\ndata: a\n\n\n\n: pong\ndata: b\n\n") == [b"a", b"b"]


def test_one_space_after_the_colon_is_not_data() -> None:
    assert events_of(b"data:a\n\ndata: b\n\ndata:  c\n\ndata:\n\n") == [b"a", b"b", b" c"]


def test_a_byte_order_mark_opens_the_stream_and_nothing_else() -> None:
    assert events_of(b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\ndata: c\n\n") == [b"a", b"c"]


def test_a_line_feed_that_comes_after_its_carriage_return_ends_no_second_line() -> None:
    assert events_of(b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n") == [b"a\nb"]


def test_an_event_without_its_blank_line_ends_with_the_stream_but_half_a_line_does_not() -> None:
    assert events_of(b"data: a\n\ndata: b\n") == [b"a", b"b"]
    assert events_of(b"data: a\n\ndata: {half") == [b"a"]
    assert events_of(b"data: a\n\ndata: [DONE]") == [b"a", b"[DONE]"]


@pytest.mark.parametrize("data", [b"data: " + b"x" * 200, b"data: xx\n" * 60])
def test_an_event_that_never_ends_is_refused(data: bytes) -> None:
    with pytest.raises(TooLongError):
        events_of(data, limit=100)


line = st.sampled_from(
    [b"data: a", b"data:b", b"data: ", b": c", b"event: e", b"", b"", b"data: \xc3\xa9", b"\xef\xbb\xbfdata: d"]
)


@given(
    lines=st.lists(st.tuples(line, st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=12),
    places=st.lists(st.integers(0, 80), max_size=12),
)
@example(lines=[(b"data: a", b"\r\n"), (b"", b"\n"), (b"data: b", b"\r"), (b"", b"\r\n")], places=[8, 9, 10])
def test_any_split_of_the_bytes_gives_the_same_events(lines: list[tuple[bytes, bytes]], places: list[int]) -> None:
    data = b"".join(text + end for text, end in lines)
    assert events_of(*cut_at(data, places)) == events_of(data) == plain_events(data)


def plain_events(data: bytes) -> list[bytes]:
    """The standard's rules, written down without regard to speed."""
    data = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    found: list[bytes] = []
    collected: list[bytes] = []
    for text in [*data.split(b"\n")[:-1], b""]:
        if text.startswith(b"data:"):
            collected.append(text[5:].removeprefix(b" "))
        elif not text and collected:
            event = b"\n".join(collected)
            found += [event] if event.strip() else []
            collected = []
    return found


def test_the_first_token_is_the_first_delta_that_says_something() -> None:
    role, empty = event(delta(role="assistant", content="")), event(delta(content="", tool_calls=[]))
    assert list(read(role, empty, event(delta(content="a")), event(STOP), DONE).stamps) == [3000]
    assert list(read(role, event(delta(reasoning="a")), event(STOP), DONE).stamps) == [2000]
    assert list(read(role, event(delta(reasoning_content="a")), event(STOP), DONE).stamps) == [2000]
    call = delta(tool_calls=[{"index": 0, "id": "x", "function": {"name": "f", "arguments": ""}}])
    assert list(read(role, event(call), event(STOP), DONE).stamps) == [2000]
    nothing = delta(tool_calls=[{"index": 0, "function": {"arguments": ""}}])
    assert list(read(role, event(nothing), event(STOP), DONE).stamps) == []


def test_text_reasoning_and_tool_calls_are_put_together_from_their_fragments() -> None:
    def call(index: int, **function: str) -> Any:
        return {"index": index, "id": function.pop("id", None), "function": function}

    seen = read(
        chat(
            delta(reasoning="th"),
            delta(reasoning="ink"),
            delta(content="He"),
            delta(content="y"),
            delta(tool_calls=[call(1, id="b", name="read", arguments="")]),
            delta(tool_calls=[call(0, id="a", name="list", arguments='{"p'), call(1, arguments="{}")]),
            delta(tool_calls=[call(0, arguments='":1}')]),
            delta(finish_reason="tool_calls"),
        )
    )
    assert (seen.reasoning, seen.content, seen.finish_reason) == ("think", "Hey", "tool_calls")
    assert seen.tool_calls == [ToolCall("a", "list", '{"p":1}'), ToolCall("b", "read", "{}")]
    assert seen.failure is None


def test_tokens_are_what_the_server_counted_never_the_chunks() -> None:
    seen = read(chat(delta(content="one two three"), STOP, {"choices": [], "usage": usage(10, 3, 4)}))
    assert (seen.prompt_tokens, seen.completion_tokens, seen.cached_tokens, len(seen.stamps)) == (10, 3, 4, 1)
    silent = read(chat(delta(content="one two three"), STOP))
    assert (silent.prompt_tokens, silent.completion_tokens, silent.cached_tokens) == (None, None, None)


def test_usage_with_every_chunk_counts_the_tokens_of_each_even_when_cut_off() -> None:
    def grown(completion: int, **fields: Any) -> bytes:
        return event(delta(usage=usage(7, completion), **fields))

    seen = read(grown(0, content=""), grown(2, content="ab"), grown(3, content=""), grown(4, content="c"), end=False)
    assert list(seen.stamps) == [2000, 4000]
    assert list(seen.tokens) == [2, 4]
    assert (seen.completion_tokens, seen.prompt_tokens, seen.cached_tokens) == (4, 7, None)


def test_a_chunk_without_usage_among_others_leaves_no_half_counted_list() -> None:
    seen = read(
        chat(delta(content="a", usage=usage(1, 1)), delta(content="b"), delta(content="c", usage=usage(1, 3)), STOP)
    )
    assert list(seen.tokens) == []
    assert len(seen.stamps) == 3


def test_chunks_that_came_in_one_read_share_its_stamp_and_are_counted() -> None:
    seen = read(chat(delta(content="a"), delta(content="b"), done=False), chat(delta(content="c"), STOP))
    assert list(seen.stamps) == [1000, 1000, 2000]
    assert seen.coalesced == 1


def test_the_end_is_when_the_terminal_event_came() -> None:
    seen = read(event(delta(content="a")), event(STOP), DONE, b": goodbye\n\n")
    assert seen.end_ns == 3000
    assert seen.failure is None


@pytest.mark.parametrize(
    ("stream", "kind", "words"),
    [
        (chat(delta(content="a"), done=False), "cut", "without a finish_reason"),
        (chat(delta(content="a")), "cut", "without a finish_reason"),
        (chat(delta(content="a"), STOP, done=False), "cut", "[DONE]"),
        (b"", "cut", "without a finish_reason"),
        (b"data: [DO", "cut", "without a finish_reason"),
        (chat(delta(content="a"), b"{half"), "malformed", "{half"),
        (chat(b'{"choices": 5}'), "malformed", "choices"),
        (chat(b"\xff"), "malformed", "UTF-8 at byte 0: b'\\xff'"),
        (chat(b'{"a":' + b"[" * 100_000), "malformed", "chat completion"),
        (chat(delta(content="a"), {"error": {"message": "engine died", "type": "internal"}}), "in_band", "engine died"),
        (chat({"error": "no memory"}), "in_band", "no memory"),
        (chat({"object": "error", "message": "too hot", "code": 500}), "in_band", "too hot"),
    ],
)
def test_a_stream_that_is_not_whole_and_well_is_a_failure(stream: bytes, kind: str, words: str) -> None:
    seen = read(stream)
    assert seen.failure is not None
    assert seen.failure.kind == kind
    assert words in seen.failure.message


def test_what_follows_the_end_or_a_failure_changes_nothing() -> None:
    after = chat(delta(content="late"), {"error": "late"})
    assert read(chat(delta(content="a"), STOP) + after) == read(chat(delta(content="a"), STOP))
    failed = read(chat(delta(content="a"), {"error": "first"}) + after)
    assert failed.failure is not None
    assert "first" in failed.failure.message
    assert failed.content == "a"


def test_an_endless_event_is_malformed() -> None:
    seen = read(*([b"data: " + b"x" * (1 << 20)] * 5))
    assert seen.failure is not None
    assert seen.failure.kind == "malformed"


words = st.text('a"\\\r\n é😀', max_size=5)
count = st.integers(0, 10_000)
fragment = st.fixed_dictionaries(
    {"index": st.integers(0, 3)},
    optional={"id": words, "function": st.fixed_dictionaries({}, optional={"name": words, "arguments": words})},
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "content": words | st.none(),
        "reasoning": words,
        "reasoning_content": words,
        "tool_calls": st.lists(fragment, max_size=2),
    },
)


@st.composite
def chunk(draw: st.DrawFn) -> Any:
    counts = draw(st.none() | st.tuples(count, count))
    return delta(draw(st.none() | st.just("stop")), usage(*counts) if counts else None, **draw(fields))


@given(
    chunks=st.lists(chunk(), max_size=5),
    done=st.booleans(),
    places=st.lists(st.integers(0, 600), max_size=8),
    line_end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
)
def test_any_split_of_a_reply_says_the_same(chunks: list[Any], done: bool, places: list[int], line_end: bytes) -> None:
    data = chat(*chunks, done=done).replace(b"\n", line_end)
    whole, split = read(data), read(*cut_at(data, places))
    for name in ("content", "reasoning", "tool_calls", "finish_reason", "failure", "completion_tokens", "tokens"):
        assert getattr(split, name) == getattr(whole, name)
    assert len(split.stamps) == len(whole.stamps)
    assert list(split.stamps) == sorted(split.stamps)


keys = st.sampled_from(["choices", "delta", "usage", "error", "message", "content", "tool_calls", "completion_tokens"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
anything = st.binary() | json_values.map(lambda value: json.dumps(value).encode())


odd = st.sampled_from(
    [
        DONE,
        event({"error": {"message": "out of memory"}}),
        event({"object": "error", "message": "no"}),
        b": ping\n\n",
        b"data: {}\r\n\r\n",
        b"data: [\n\ndata: ]\n\n",
        b"data: {},{}\n\n",
        b"data: {\n\n",
        b"data: }\n\n",
        b"data: \n\n",
        b'data: {"choices":\n\n',
        b"data: [{}]}\n\n",
        b"data: {\r}\n\n",
        b"event: x\ndata: {}\n\n",
        b"\xef\xbb\xbfdata: {}\n\n",
    ]
)


@given(
    reads=st.lists(chunk().map(event) | chunk().map(event) | odd | st.binary(max_size=4), max_size=12),
    together=st.lists(st.integers(1, 6), max_size=12),
)
@example(reads=[event(delta("a")), b"data: {\n\n", b"data: }\n\n", event(STOP)], together=[4])
@settings(max_examples=400)
def test_reads_say_the_same_together_as_one_by_one(reads: list[bytes], together: list[int]) -> None:
    stamped = [(data, number * 1000, 0) for number, data in enumerate(reads, 1)]
    one_by_one, at_once = Observation(), Observation()
    single, batches = ChatStream(one_by_one), ChatStream(at_once)
    for data, stamp_ns, _ in stamped:
        single.feed(data, stamp_ns)
    for count in [*together, len(stamped)]:
        batches.feed_all(stamped[:count])
        stamped = stamped[count:]
    for stream in (single, batches):
        stream.close()
    assert at_once == one_by_one
    assert batches.over == single.over


@settings(max_examples=200)
@given(st.binary() | st.lists(anything, max_size=4).map(lambda many: chat(*many)))
def test_no_bytes_raise_and_none_but_a_whole_reply_is_a_success(data: bytes) -> None:
    seen = read(data)
    assert seen.failure is not None or (seen.finish_reason and seen.end_ns)
    assert len(seen.tokens) in (0, len(seen.stamps))

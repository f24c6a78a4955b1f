"""Replies as real servers send them: how they end, how they fail, and in what other words they say the same."""

import json
from typing import Any

import msgspec
import pytest
from scripted_server import DONE, delta, event, usage

from swarm.client.base import Observation, ToolCall
from swarm.client.failures import error_text
from swarm.client.reply.chunks import MOST_TOKENS
from swarm.client.reply.finish import FINISHES
from swarm.client.reply.sse import ChatStream

STOP = delta(finish_reason="stop")


def read(*events: bytes, together: bool = False, **bounds: int) -> Observation:
    """What a stream says, its events read one by one or as a batch of a running stream."""
    seen = Observation()
    stream = ChatStream(seen, **bounds)
    if together:
        stream.feed_all([(data, number * 1000, 0) for number, data in enumerate(events, 1)])
    else:
        for number, data in enumerate(events, 1):
            stream.feed(data, number * 1000)
    stream.end(len(events) * 1000)
    stream.close()
    return seen


def said(*chunks: Any, **bounds: int) -> Observation:
    return read(*map(event, chunks), DONE, **bounds)


@pytest.mark.parametrize(("word", "meaning"), [(word, meaning) for word, meaning in FINISHES.items() if meaning])
def test_a_normal_end_in_any_servers_word_is_told_in_openais(word: str, meaning: str) -> None:
    for written in (word, word.upper(), word.replace("_", "-")):
        seen = said(delta(content="a"), delta(finish_reason=written))
        assert (seen.failure, seen.finish_reason) == (None, meaning)


@pytest.mark.parametrize("word", ["abort", "ABORT", "error", "cancelled", "insufficient_system_resource", "wat"])
@pytest.mark.parametrize("tokens", [0, 3])
def test_an_end_that_is_no_normal_one_is_a_failure_in_the_servers_word(word: str, tokens: int) -> None:
    counted = {"choices": [], "usage": usage(7, tokens)}
    seen = said(*([delta(content="x")] * tokens), delta(finish_reason=word), counted)
    assert seen.failure is not None
    assert (seen.failure.kind, seen.finish_reason) == ("in_band", word)
    assert seen.failure.message == f"the reply was aborted by the server (finish_reason {word})"
    assert (seen.completion_tokens, seen.end_ns) == (tokens, 1000 * (tokens + 3)), "what follows it is read on"


def test_an_abort_stands_whatever_comes_before_or_after_it() -> None:
    for reasons in (["stop", "abort"], ["abort", "stop"], ["stop", "abort", "length"]):
        seen = said(delta(content="a"), *(delta(finish_reason=reason) for reason in reasons))
        assert seen.failure is not None
        assert "finish_reason abort" in seen.failure.message
    cut = read(event(delta(finish_reason="abort", content="a")))
    assert cut.failure is not None
    assert "finish_reason abort" in cut.failure.message


def test_an_abort_of_any_choice_and_in_a_batch_of_reads_is_found() -> None:
    two = delta(content="a", finish_reason="stop")
    two["choices"].append({"index": 1, "delta": {}, "finish_reason": "abort"})
    assert said(two).failure is not None
    aborted = [event(delta(content="a")), event(delta(finish_reason="abort"))]
    assert read(*aborted, together=True).failure == read(*aborted).failure is not None


@pytest.mark.parametrize("word", ["", "null", "None", None])
def test_a_word_for_no_reason_yet_ends_nothing(word: Any) -> None:
    going = delta(content="a")
    going["choices"][0]["finish_reason"] = word
    assert said(going, STOP).failure is None
    cut = said(going)
    assert cut.failure is not None
    assert cut.failure.kind == "cut"


WORDS = "backend worker 3 lost"
ERRORS = [
    {"error": WORDS},
    {"error": {"message": WORDS, "code": 500}},
    {"error": {"detail": WORDS}},
    {"error": True, "message": WORDS},
    {"error": WORDS, "error_type": "generation"},
    {"error_message": WORDS},
    {"error_msg": WORDS, "choices": None},
    {"choices": [], "error_message": WORDS, "error_type": "BadRequestError"},
    {"code": 503, "message": WORDS, "type": "service_unavailable"},
    {"statusCode": 502, "message": WORDS},
    {"type": "server_error", "message": WORDS},
    {"object": "error", "message": WORDS},
    {"status": "failed", "msg": WORDS},
    {"detail": WORDS},
    {"errors": [{"message": WORDS}]},
    delta(content="a") | {"error": {"message": WORDS}},
]


@pytest.mark.parametrize("error", ERRORS, ids=json.dumps)
def test_an_error_under_any_key_is_in_band_with_the_servers_words(error: Any) -> None:
    for together in (False, True):
        seen = read(event(delta(content="a")), event(error), event(STOP), DONE, together=together)
        assert seen.failure is not None
        assert (seen.failure.kind, seen.content) == ("in_band", "a")
        assert WORDS in seen.failure.message
    assert WORDS in error_text(msgspec.json.encode(error)), "and so in the body of a refusal"


def test_an_error_inside_a_choice_or_its_delta_is_in_band_although_the_choice_says_that_all_is_well() -> None:
    said = {"index": 0, "delta": {"content": "b"}, "finish_reason": "stop"}
    for choice in (said | {"error": {"message": WORDS}}, said | {"delta": {"content": "b", "error": WORDS}}):
        for together in (False, True):
            seen = read(event(delta(content="a")), event({"choices": [choice]}), DONE, together=together)
            assert seen.failure is not None
            assert (seen.failure.kind, seen.content) == ("in_band", "a")
            assert WORDS in seen.failure.message
    fine = said | {"error": None, "delta": {"content": "b", "error": None}}
    assert read(event({"choices": [fine]}), DONE).failure is None


@pytest.mark.parametrize(
    "fine",
    [
        {"error": None},
        {"error": ""},
        {"error": {}, "error_message": None},
        {"message": "all is well", "code": 200},
        {"code": 500, "message": "of a chunk with choices"},
        {"detail": "x"},
    ],
    ids=json.dumps,
)
def test_a_chunk_with_choices_is_no_error_whatever_else_it_holds(fine: dict[str, Any]) -> None:
    for together in (False, True):
        seen = read(event(delta(content="a") | fine), event(STOP | fine), DONE, together=together)
        assert (seen.failure, seen.content) == (None, "a")


@pytest.mark.parametrize("progress", [{"message": "queued"}, {"type": "ping", "message": "x"}, {"id": "x"}, {}])
def test_a_report_of_progress_is_no_error(progress: dict[str, Any]) -> None:
    assert said(progress, delta(content="a"), progress, STOP).failure is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (json.dumps({"code": 503, "message": WORDS}).encode(), WORDS),
        (json.dumps(WORDS).encode(), WORDS),
        (WORDS.encode(), WORDS),
        (b"503", "503"),
        (b'{"what": "' + WORDS.encode() + b'"}', WORDS),
        (json.dumps(delta(content="b")).encode(), "choices"),
        (b"", "it did not say which"),
        (b"[" * 100_000, "[[["),
    ],
)
@pytest.mark.parametrize("head", [b"event: error\n", b"event:error\r\n", b"id: 7\nevent: ERROR\n"])
def test_an_event_of_the_type_error_is_one_whatever_its_data(head: bytes, data: bytes, words: str) -> None:
    broken = head + b"data: " + data + b"\n\n"
    for events in ([broken], [broken[:9], broken[9:]], [head, broken.removeprefix(head)]):
        seen = read(event(delta(content="a")), *events, event(STOP), DONE)
        assert seen.failure is not None
        assert (seen.failure.kind, seen.content) == ("in_band", "a")
        assert words in seen.failure.message


EMPTY = [
    b"data:\n\n",
    b"data: \n\n",
    b"data\n\n",
    b"data: \r\n\r\n",
    b"data:\ndata:\n\n",
    b"data:  \t\n\n",
    b"event: heartbeat\ndata:\n\n",
    b"event: ping\ndata: {}\n\n",
    b"event: keepalive\ndata: now\n\n",
    b"event: error\n\n",
    b": comment\n\n",
]


@pytest.mark.parametrize("empty", EMPTY)
def test_events_that_say_nothing_are_dropped_wherever_they_stand_and_are_cut(empty: bytes) -> None:
    first, last = event(delta(content="a")), event(delta(content="b")) + event(STOP)
    whole = empty + first + empty + last + empty + DONE
    for place in range(len(whole)):
        seen = read(whole[:place], whole[place:])
        assert (seen.failure, seen.content, len(seen.stamps)) == (None, "ab", 2)
    together = read(empty, first, empty, event(STOP), DONE, together=True)
    assert (together.failure, list(together.stamps)) == (None, [2000])


def test_an_empty_reply_is_a_failure_by_that_name_whatever_it_counts_and_a_lost_call_is_none() -> None:
    role = delta(role="assistant", content="", usage=usage(7, 0))
    empty = said(role, STOP, {"choices": [], "usage": usage(7, 0)})
    assert empty.failure is not None
    assert (empty.failure.kind, "(finish_reason stop)" in empty.failure.message) == ("empty", True)
    for counted in (None, 1, 40):
        told = {"choices": [], "usage": usage(7, counted)} if counted else {"choices": []}
        seen = said(role, STOP, told)
        assert seen.failure is not None
        assert seen.failure.kind == "empty"
        assert ("though it counted" in seen.failure.message) == (counted is not None)
    lost = said(role, delta(finish_reason="tool_calls"), {"choices": [], "usage": usage(7, 2)})
    assert (lost.failure, lost.completion_tokens) == (None, 2)


REASONING = [
    {"reasoning": "hm"},
    {"reasoning_content": "hm"},
    {"reasoning_text": "hm"},
    {"thinking": "hm"},
    {"reasoning_details": [{"type": "reasoning.text", "text": "hm", "index": 0}]},
    {"reasoning_details": [{"type": "reasoning.summary", "summary": "hm"}]},
    {"reasoning_details": [{"type": "reasoning.encrypted", "data": "hm"}]},
    {"reasoning_details": {"text": "hm"}},
    {"thinking_blocks": [{"type": "thinking", "thinking": "h"}, {"type": "thinking", "thinking": "m"}]},
    {"reasoning": [{"type": "text", "text": "hm"}]},
    {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]},
    {"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
    {"reasoning": "hm", "reasoning_content": "hm"},
]


@pytest.mark.parametrize("thought", REASONING, ids=json.dumps)
def test_reasoning_under_any_name_is_output_once(thought: dict[str, Any]) -> None:
    seen = said(delta(role="assistant", content=""), delta(**{"content": ""} | thought), delta(content="a"), STOP)
    assert (seen.failure, seen.reasoning, seen.content, list(seen.stamps)) == (None, "hm", "a", [2000, 3000])
    later = said(delta(**thought), delta(content="a"), delta(**{"content": "b"} | thought), STOP)
    assert later.reasoning == "hmhm"


def test_content_in_parts_and_refusals_are_text() -> None:
    parts = delta(content=[{"type": "text", "text": "He"}, {"type": "text", "text": "y"}])
    seen = said(parts, delta(refusal=", no"), STOP)
    assert (seen.failure, seen.content, len(seen.stamps)) == (None, "Hey, no", 2)


def test_a_character_split_between_chunks_is_put_together_and_half_of_one_replaced() -> None:
    def chunk(text: str) -> bytes:
        return b"data: " + json.dumps(delta(content="@")).replace("@", text).encode() + b"\n\n"

    whole = read(chunk("ok "), chunk("\\ud83d"), chunk("\\ude00!"), event(STOP), DONE)
    assert (whole.failure, whole.content, len(whole.stamps)) == (None, "ok 😀!", 3)
    assert read(chunk("\\ud83d!"), chunk("\\ude00"), event(STOP), DONE).content == "\ufffd!\ufffd"
    halves = [chunk("{}").replace(b"{}", half) for half in (b"\xed\xa0\xbd", b"\xed\xb8\x80")]
    raw = read(*halves, event(STOP), DONE)
    assert (raw.failure, raw.content) == (None, "😀")
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a": "\ud83d'}}
    rest = {"index": 0, "function": {"arguments": '\ude00"}'}}
    seen = said(delta(tool_calls=[call]), delta(tool_calls=[rest]), STOP)
    assert seen.tool_calls == [ToolCall("c", "f", '{"a": "😀"}')]
    odd = read(event(b'{"\\ud83d": 1}'), event(delta(finish_reason="\ud83d")), DONE)
    assert odd.failure is not None
    assert (odd.failure.kind, said(delta(content="a", finish_reason="\ud83d")).finish_reason) == ("malformed", "?")
    assert all(text.encode() for text in (whole.content, seen.tool_calls[0].arguments))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_json_does_not_know_are_read(number: str) -> None:
    odd = json.dumps(delta(content="a") | {"timings": "@"}).replace('"@"', number).encode()
    assert (said(odd, STOP).failure, said(odd, STOP).content) == (None, "a")


@pytest.mark.parametrize("junk", [b"\x01", b"infinity", b"\xff", b"'", b"{"])
def test_the_message_of_unreadable_json_shows_the_bytes_around_the_place(junk: bytes) -> None:
    before, after = b'{"id": "' + b"x" * 300 + b'", "choices": [], "here": ', b', "and": "there"}'
    seen = said(before + junk + after)
    assert seen.failure is not None
    assert seen.failure.kind == "malformed"
    assert f"{junk!r}"[2:-1] in seen.failure.message
    assert '"here": ' in seen.failure.message
    assert "x" * 61 not in seen.failure.message


@pytest.mark.parametrize(
    ("counts", "known", "doubted"),
    [
        (usage(100, 5, 10_000_000), (100, 5, None), "cached_tokens"),
        (usage(100, 5, -3), (100, 5, None), "cached_tokens"),
        (usage(-1, 5), (None, 5, None), "prompt_tokens"),
        (usage(100, -5), (100, None, None), "completion_tokens"),
        (usage(100, "5"), (100, None, None), "completion_tokens"),  # type: ignore[arg-type]
        (usage(100, 5.5), (100, None, None), "completion_tokens"),  # type: ignore[arg-type]
        (usage(100, True), (100, None, None), "completion_tokens"),
        (usage(100, 1 << 60), (100, None, None), "completion_tokens"),
        (usage(100, float("nan")), (100, None, None), "completion_tokens"),  # type: ignore[arg-type]
        (usage(100, 900), (100, None, None), "completion_tokens"),
        (usage(70_000, 5), (None, 5, None), "prompt_tokens"),
        (usage(100, 0), (100, None, None), "completion_tokens"),
    ],
)
def test_a_count_that_cannot_be_is_unknown_and_said_and_the_reply_is_none_the_worse(
    counts: Any, known: tuple[int | None, ...], doubted: str
) -> None:
    seen = said(delta(content="abc"), STOP, {"choices": [], "usage": counts}, most_prompt=60_000, most_completion=100)
    assert (seen.failure, seen.content) == (None, "abc")
    assert (seen.prompt_tokens, seen.completion_tokens, seen.cached_tokens) == known
    assert list(seen.doubts) == [doubted]
    each = said(delta(content="a", usage=counts), delta(content="b", usage=counts), STOP, most_completion=100)
    assert (each.failure, len(each.tokens) in (0, 2)) == (None, True)


@pytest.mark.parametrize(
    "counts",
    [usage(100, 5, 100), usage(100, 12.0, 0), usage(MOST_TOKENS, 3), {}, [], None],  # type: ignore[arg-type]
)
def test_counts_that_can_be_are_not_doubted(counts: Any) -> None:
    seen = said(delta(content="abc"), STOP, {"choices": [], "usage": counts})
    assert (seen.failure, seen.doubts) == (None, {})
    assert seen.completion_tokens in (5, 12, 3, None)


def test_counts_per_chunk_that_fall_are_left_out() -> None:
    counts = [3, 9, 4]
    seen = said(*(delta(content="a", usage=usage(7, count)) for count in counts), STOP)
    assert (list(seen.tokens), seen.completion_tokens) == ([], 4)

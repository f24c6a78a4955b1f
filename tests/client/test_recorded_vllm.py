"""What the client makes of answers that a real vLLM 0.32 gave, recorded byte for byte (tests/vllm/record.py)."""

import json
from pathlib import Path

import pytest

from swarm.client.base import Observation
from swarm.client.failures import from_status
from swarm.client.reply.sse import ChatStream
from swarm.client.target.metrics import pick

RECORDED = Path(__file__).parents[1] / "vllm" / "recorded"
URL = "http://127.0.0.1:8000/v1/chat/completions"


def recorded(name: str) -> tuple[int, str, bytes]:
    """Status, content type and body of an answer."""
    head, _, body = (RECORDED / f"{name}.http").read_bytes().partition(b"\n\n")
    status, _, content_type = head.decode().partition(" ")
    return int(status), content_type, body


def stream_of(name: str, piece_bytes: int = 1 << 20) -> Observation:
    """The answer, arriving in pieces of so many bytes, a microsecond apart."""
    status, content_type, body = recorded(name)
    assert (status, content_type) == (200, "text/event-stream; charset=utf-8")
    seen = Observation()
    stream = ChatStream(seen)
    now = 0
    for start in range(0, len(body), piece_bytes):
        now += 1000
        stream.feed(body[start : start + piece_bytes], now)
    stream.end(now)
    stream.close()
    return seen


@pytest.mark.parametrize("piece_bytes", [1, 7, 300, 1 << 20])
def test_a_pinned_reply_has_a_chunk_for_each_token_however_its_bytes_are_split(piece_bytes: int) -> None:
    seen = stream_of("text", piece_bytes)
    assert seen.failure is None
    assert seen.finish_reason == "length"
    assert (seen.prompt_tokens, seen.cached_tokens, seen.completion_tokens) == (18, 0, 24)
    assert list(seen.tokens) == list(range(1, 25))
    assert len(seen.stamps) == 24
    assert seen.content.startswith(" statusught estreadlinkiv")


def test_cached_prompt_tokens_are_whole_blocks_of_128() -> None:
    cold, cached = stream_of("prefix-cold"), stream_of("prefix-cached")
    assert (cold.prompt_tokens, cold.cached_tokens) == (309, 0)
    assert (cached.prompt_tokens, cached.cached_tokens) == (309, 256)


def test_without_usage_in_the_chunks_only_the_total_is_known() -> None:
    seen = stream_of("usage-at-the-end")
    assert (len(seen.stamps), list(seen.tokens), seen.completion_tokens) == (4, [], 4)


def test_without_usage_no_tokens_are_made_up() -> None:
    seen = stream_of("no-usage")
    assert (len(seen.stamps), seen.completion_tokens, seen.prompt_tokens) == (4, None, None)
    assert seen.finish_reason == "length"


def test_a_forced_tool_call_first_shows_itself_when_20_tokens_are_written() -> None:
    seen = stream_of("tools-required")
    [call] = seen.tool_calls
    assert (call.name, json.loads(call.arguments)) == ("read_file", {"path": "cache.py"})
    assert call.id.startswith("chatcmpl-tool-")
    assert (seen.finish_reason, seen.content) == ("tool_calls", "")
    assert (seen.tokens[0], seen.tokens[-1], seen.completion_tokens) == (20, 39, 42)


def test_a_tool_call_that_is_cut_off_is_data_with_half_its_arguments() -> None:
    seen = stream_of("tools-required-cut")
    [call] = seen.tool_calls
    assert (call.name, call.arguments, seen.finish_reason) == ("read_file", '{ "path', "length")
    assert seen.completion_tokens == 32
    assert seen.failure is None


def test_a_pinned_reply_goes_on_with_another_call_until_it_is_long_enough() -> None:
    seen = stream_of("tools-required-pinned")
    assert [(call.name, call.arguments) for call in seen.tool_calls] == [
        ("read_file", '{ "path":"cache.py"}'),
        ("run_tests", ""),
    ]
    assert (seen.finish_reason, seen.completion_tokens) == ("length", 60)


def test_a_named_tool_ends_by_stop() -> None:
    seen = stream_of("tools-named")
    [call] = seen.tool_calls
    assert (call.name, json.loads(call.arguments)) == ("run_tests", {"keyword": "eviction"})
    assert (seen.finish_reason, seen.completion_tokens) == ("stop", 55)


def test_text_and_two_tool_calls_in_one_reply() -> None:
    seen = stream_of("tools-auto")
    assert seen.content == "I look at it.\n"
    assert [(call.name, json.loads(call.arguments)) for call in seen.tool_calls] == [
        ("read_file", {"path": "cache.py"}),
        ("run_tests", {"keyword": "cache"}),
    ]
    assert len({call.id for call in seen.tool_calls}) == 2
    assert (seen.finish_reason, seen.completion_tokens) == ("tool_calls", 98)


def test_a_reply_is_cut_where_the_context_ends() -> None:
    seen = stream_of("cut-by-context")
    assert (seen.prompt_tokens, seen.completion_tokens, seen.finish_reason) == (8184, 8, "length")


def test_an_engine_that_dies_says_so_inside_the_stream() -> None:
    seen = stream_of("engine-dies")
    assert seen.failure is not None
    assert seen.failure.kind == "in_band"
    assert "EngineCore encountered an issue" in seen.failure.message
    assert (seen.finish_reason, len(seen.stamps)) == (None, 0)


@pytest.mark.parametrize(
    ("name", "status", "kind", "words"),
    [
        ("error-wrong-model", 404, "not_found", "The model `gpt-4o` does not exist"),
        ("error-prompt-too-long", 400, "context_overflow", "maximum context length is 8192 tokens"),
        ("error-reply-too-long", 400, "context_overflow", "max_tokens=9000 cannot be greater than max_model_len=8192"),
        ("error-lengths", 400, "server_error", "min_tokens must be less than or equal to max_tokens=4, got 9."),
        ("error-no-tools", 400, "server_error", "When using `tool_choice`, `tools` must be set."),
        ("error-no-messages", 400, "server_error", "Cannot apply chat template to an empty conversation."),
        ("error-type", 400, "server_error", "Input should be a valid integer"),
        ("error-engine-dead", 500, "server_error", "EngineCore encountered an issue"),
    ],
)
def test_what_vllm_refuses_becomes_a_failure_with_its_own_words(name: str, status: int, kind: str, words: str) -> None:
    said, content_type, body = recorded(name)
    assert (said, content_type) == (status, "application/json")
    failure = from_status(said, {}, body, URL)
    assert (failure.kind, failure.status) == (kind, status)
    assert words in failure.message


def test_the_metrics_that_matter_are_found_on_vllms_page() -> None:
    status, _, page = recorded("metrics")
    found = pick(page)
    assert status == 200
    assert (found["running"], found["waiting"], found["kv_usage"], found["preemptions"]) == (0, 0, 0, 0)
    assert (found["prompt_tokens"], found["cached_prompt_tokens"], found["generation_tokens"]) == (2088, 896, 8206)
    assert (found["prefix_queries"], found["prefix_hits"], found["request_success"]) == (2088, 896, 11)
    assert (found["queue_time_count"], found["prefill_count"], found["decode_count"]) == (11, 11, 11)
    assert found["prefill_sum"] == pytest.approx(2.004, abs=0.001)


def test_the_model_and_its_context_length_are_listed() -> None:
    [model] = json.loads(recorded("models")[2])["data"]
    assert (model["id"], model["max_model_len"]) == ("moe", 8192)
    assert json.loads(recorded("version")[2]) == {"version": "0.32.0"}

"""The routes through LiteLLM. Importing it takes seconds, so all of its tests are in one file."""

import asyncio
import copy
import logging
import os
import subprocess
import sys
from typing import Any

import pytest
from scripted_server import (
    CLOSE,
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

from swarm.client import litellm_codec, litellm_route
from swarm.client.base import Capabilities, ChatRequest, Connection, Observation, Route, ToolCall
from swarm.client.connect import open_client, warm_up
from swarm.client.litellm_codec import Codec, MovedError, load
from swarm.clock import Clock
from swarm.errors import UsageError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # LiteLLM's own
ROUTES: list[Route] = ["direct", "litellm", "litellm-sdk"]
TOOL = {
    "type": "function",
    "function": {
        "name": "read_file",
        "description": "Reads a file.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {
                "path": {"type": "string", "enum": ["a.py", "b.py"]},
                "lines": {"type": ["integer", "null"]},
            },
            "required": ["path"],
            "additionalProperties": False,
        },
    },
}
MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "You write code. ünïcode 😀 \u2028"},
    {"role": "user", "content": "fix it"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "read_file", "arguments": '{"path": "a.py"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "x = 1\n"},
    {"role": "assistant", "content": "Done.", "reasoning_content": "thinking"},
    {"role": "user", "content": "again"},
]
REQUEST = ChatRequest(
    MESSAGES, [TOOL], 40, True, 0.3, seed=11, tool_choice="required", extra_body={"top_k": 5, "min_p": 0.1}
)


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    warm_up("litellm-sdk")


async def ask(route: Route, url: str, request: ChatRequest = REQUEST, **settings: Any) -> Observation:
    client = open_client(route, Connection(url, "m", **settings), Clock())
    seen = Observation()
    try:
        await client.complete(request, seen)
    finally:
        await client.close()
    return seen


def meaning(body: dict[str, Any]) -> dict[str, Any]:
    """A body without what says nothing: an assistant's null content beside its tool calls."""
    plain = [{key: value for key, value in message.items() if value is not None} for message in body["messages"]]
    return body | {"messages": plain}


async def test_all_routes_send_the_same_request() -> None:
    async with scripted(REPLY) as server:
        for route in ROUTES:
            assert (await ask(route, server.url)).failure is None
    bodies = [meaning(received.body) for received in server.received]
    assert bodies[0]["tools"] == [TOOL]
    assert bodies[0]["min_tokens"] == bodies[0]["max_tokens"] == 40
    assert bodies[0]["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert (bodies[0]["top_k"], bodies[0]["seed"], bodies[0]["tool_choice"]) == (5, 11, "required")
    assert bodies[1] == bodies[0]
    assert bodies[2] == bodies[0]
    assert {received.path for received in server.received} == {"/v1/chat/completions"}


@pytest.mark.parametrize("provider", ["hosted_vllm", "openai"])
async def test_the_codec_sends_what_litellm_itself_sends(provider: str) -> None:
    """LiteLLM's own call with the same arguments; only what it drops on the way differs (see `Codec`)."""
    litellm = load()
    async with scripted(REPLY) as server:
        wrapper = await litellm.acompletion(
            model=f"{provider}/m",
            api_base=server.url,
            api_key="k",
            messages=copy.deepcopy(MESSAGES),
            tools=[copy.deepcopy(TOOL)],
            tool_choice="required",
            max_tokens=40,
            temperature=0.3,
            seed=11,
            stream=True,
            stream_options={"include_usage": True, "continuous_usage_stats": True},
            extra_body={"top_k": 5, "min_p": 0.1, "min_tokens": 40, "ignore_eos": True},
            extra_headers={"X-Team": "a"},
            max_retries=0,
            _skip_mcp_handler=True,
        )
        async for _ in wrapper:
            pass
        settings = {"api_key": "k", "headers": {"X-Team": "a"}, "provider": provider}
        assert (await ask("litellm", server.url, **settings)).failure is None
        await litellm.close_litellm_async_clients()
        litellm.in_memory_llm_clients_cache.flush_cache()
    theirs, ours = server.received
    assert ours.path == theirs.path
    for name in ("authorization", "x-team", "content-type"):
        assert ours.headers[name] == theirs.headers[name]
    stripped = copy.deepcopy(ours.body)
    if provider == "hosted_vllm":
        del stripped["tools"][0]["function"]["strict"]
        del stripped["tools"][0]["function"]["parameters"]["additionalProperties"]
    assert meaning(stripped) == meaning(theirs.body)


async def test_a_request_stays_as_it_was() -> None:
    request = copy.deepcopy(REQUEST)
    async with scripted(REPLY) as server:
        for route in ROUTES:
            await ask(route, server.url, request)
    assert request == REQUEST


async def test_what_a_target_does_not_honour_is_left_out_on_every_route() -> None:
    async with scripted(REPLY) as server:
        for route in ROUTES:
            await ask(route, server.url, honours=Capabilities(False, False, False, False, False))
    for received in server.received:
        gone = {"stream_options", "min_tokens", "ignore_eos", "tools", "tool_choice"}
        assert not gone & set(received.body), received.body
        assert received.body["stream"] is True


async def test_extra_body_wins_on_every_route() -> None:
    request = ChatRequest(MESSAGES, [TOOL], 40, False, 0.3, extra_body={"temperature": 0.9, "tool_choice": "none"})
    async with scripted(REPLY) as server:
        for route in ROUTES:
            await ask(route, server.url, request)
    assert [(each.body["temperature"], each.body["tool_choice"]) for each in server.received] == [(0.9, "none")] * 3


@pytest.mark.parametrize("route", ["litellm", "litellm-sdk"])
async def test_a_reply_is_read_whole(route: Route) -> None:
    call = {"index": 0, "id": "c9", "type": "function", "function": {"name": "read_file", "arguments": ""}}
    more = {"index": 0, "function": {"arguments": '{"path":'}}
    last = {"index": 0, "function": {"arguments": ' "a.py"}'}}
    script: list[Step] = [
        stream_head(),
        *(
            step
            for chunk in (
                delta(role="assistant", content=""),
                delta(reasoning_content="hm"),
                delta(content="So: "),
                delta(tool_calls=[call]),
                delta(tool_calls=[more]),
                delta(tool_calls=[last]),
                delta(finish_reason="tool_calls"),
                {"choices": [], "usage": usage(30, 9, 16)},
                b"[DONE]",
            )
            for step in (piece(event(chunk)), 0.002)
        ),
        END,
    ]
    async with scripted(script) as server:
        seen = await ask(route, server.url)
    assert (seen.failure, seen.content, seen.reasoning) == (None, "So: ", "hm")
    assert seen.tool_calls == [ToolCall("c9", "read_file", '{"path": "a.py"}')]
    assert (seen.finish_reason, seen.prompt_tokens, seen.completion_tokens, seen.cached_tokens) == (
        "tool_calls",
        30,
        9,
        16,
    )
    assert len(seen.stamps) == 5
    assert seen.send_ns is not None
    assert seen.end_ns is not None
    assert seen.send_ns < seen.stamps[0] < seen.stamps[4] <= seen.end_ns


async def test_litellms_stream_wrapper_never_runs_on_the_route_litellm(monkeypatch: pytest.MonkeyPatch) -> None:
    from litellm.litellm_core_utils.streaming_handler import CustomStreamWrapper

    monkeypatch.setattr(CustomStreamWrapper, "__init__", None)
    async with scripted(REPLY) as server:
        client = open_client("litellm", Connection(server.url, "m"), Clock())
        seen = Observation()
        await client.complete(REQUEST, seen)
        source = client.meter().stamp_source
        await client.close()
    assert (seen.failure, seen.content) == (None, "Hello world")
    assert source == ("kernel" if sys.platform == "linux" else "user")


def refusal(status: str, message: str) -> list[Step]:
    return answer(status, {"error": {"message": message, "type": "BadRequestError", "code": int(status[:3])}})


TOO_LONG = "The decoder prompt (length 9) is longer than the maximum model length of 8."  # LiteLLM does not know it
FAILURES: dict[str, tuple[list[Step], str]] = {
    "reset": ([RESET], "reset"),
    "closed": ([CLOSE], "reset"),
    "cut by the connection": ([*REPLY[:3], 0.01, CLOSE], "cut"),
    "cut without a finish reason": ([*REPLY[:4], END], "cut"),
    "in band": ([*REPLY[:3], piece(event({"error": {"message": "out of memory", "code": 500}})), END], "in_band"),
    "aborted": ([*REPLY[:3], piece(event(delta(finish_reason="abort"))), *REPLY[5:]], "in_band"),
    "error event": ([*REPLY[:3], piece(b'event: error\ndata: {"error": "lost", "code": 500}\n\n'), END], "in_band"),
    "empty": (
        [*REPLY[:2], REPLY[4], piece(event({"choices": [], "usage": usage(11, 0)})), *REPLY[6:]],
        "empty",
    ),
    "endless": ([*REPLY[:2], *[piece(event(delta(content="x" * 900)))] * 90, HANG], "cut"),
    "key": (answer("401 Unauthorized", {"error": "Unauthorized"}), "unauthorized"),
    "forbidden": (answer("403 Forbidden", {"error": "no"}), "unauthorized"),
    "model": (refusal("404 Not Found", "The model `m` does not exist."), "not_found"),
    "slow": (answer("429 Too Many", {"error": {"message": "slow"}}, "Retry-After: 7\r\n"), "rate_limited"),
    "context": (refusal("400 Bad", "This model's maximum context length is 10 tokens."), "context_overflow"),
    "newer words for context": (refusal("400 Bad", TOO_LONG), "context_overflow"),
    "broken": (refusal("500 Oops", "boom"), "server_error"),
    "busy": (answer("503 Busy", b"busy"), "server_error"),
    "bad request": (refusal("400 Bad", "no such sampler"), "server_error"),
}


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("route", ["litellm", "litellm-sdk"])
async def test_every_way_to_fail_has_its_kind_and_no_second_try(route: Route, name: str) -> None:
    script, kind = FAILURES[name]
    async with scripted(script) as server:
        seen = await ask(route, server.url, max_reply_bytes=50_000)
    assert seen.failure is not None
    assert seen.failure.kind == kind, seen.failure
    assert seen.failure.retry_after_s == (7.0 if name == "slow" else None)
    if (route, name) != ("litellm-sdk", "reset"):  # LiteLLM's transport itself tries again after a reset
        assert len(server.received) == 1


@pytest.mark.parametrize("route", ["litellm", "litellm-sdk"])
async def test_a_server_that_is_not_there(route: Route) -> None:
    refused = await ask(route, "http://127.0.0.1:1/v1")
    unknown = await ask(route, "http://nowhere.invalid/v1")
    assert refused.failure is not None
    assert (refused.failure.kind, "is the server up?" in refused.failure.message) == ("refused", True)
    assert unknown.failure is not None
    assert (unknown.failure.kind, "does not resolve" in unknown.failure.message) == ("refused", True)


async def test_the_sdk_route_keeps_to_both_timeouts() -> None:
    async with scripted([*REPLY[:3], HANG]) as server:
        idle = await ask("litellm-sdk", server.url, idle_timeout_s=0.1)
        total = await ask("litellm-sdk", server.url, timeout_s=0.2)
    assert idle.failure is not None
    assert (idle.failure.kind, "client.idle_timeout" in idle.failure.message) == ("timeout", True)
    assert total.failure is not None
    assert (total.failure.kind, "client.timeout" in total.failure.message) == ("timeout", True)
    assert idle.content == "Hello"


async def test_the_sdk_route_says_that_its_stamps_are_its_own_and_counts_chunks() -> None:
    async with scripted(REPLY) as server:
        client = open_client("litellm-sdk", Connection(server.url, "m"), Clock())
        seen = Observation()
        await client.complete(REQUEST, seen)
        meter = client.meter()
        await client.close()
    assert (seen.failure, len(seen.stamps), seen.max_lag_ns) == (None, 2, None)
    assert (meter.stamp_source, meter.chunks, list(meter.lags_ns)) == ("user", 2, [])


async def test_the_sdk_route_believes_no_token_counts_that_litellm_made_up() -> None:
    async with scripted([*REPLY[:5], *REPLY[6:]]) as server:  # no usage from the server
        seen = await ask("litellm-sdk", server.url)
    assert (seen.failure, seen.finish_reason, seen.prompt_tokens, seen.completion_tokens) == (None, "stop", None, None)


async def test_cancelling_the_sdk_route_makes_the_server_stop() -> None:
    async with scripted([*REPLY[:3], HANG]) as server:
        client = open_client("litellm-sdk", Connection(server.url, "m"), Clock())
        seen = Observation()
        task = asyncio.create_task(client.complete(REQUEST, seen))
        while not seen.stamps:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.gone.wait(), 5)
        await client.close()
    assert (seen.content, seen.end_ns, seen.failure) == ("Hello", None, None)


def test_a_provider_of_another_protocol_is_a_usage_error_that_names_the_way_out() -> None:
    with pytest.raises(UsageError, match="litellm-sdk"):
        Codec(Connection("http://x/v1", "m", provider="anthropic"))
    with pytest.raises(UsageError, match="hosted_vllm"):
        Codec(Connection("http://x/v1", "m", provider="vlm"))


def test_this_litellm_has_the_private_parts_that_the_codec_builds_on() -> None:
    """When it fails, a new LiteLLM has moved them: the route falls back to the SDK until litellm_codec.py follows."""
    for provider in ("hosted_vllm", "openai", "litellm_proxy"):
        Codec(Connection("http://x/v1", "m", api_key="k", provider=provider))


async def test_a_litellm_that_has_moved_them_is_used_through_its_sdk_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import litellm.utils

    monkeypatch.delattr(litellm.utils, "ProviderConfigManager")
    with pytest.raises(MovedError, match="ProviderConfigManager"):
        Codec(Connection("http://x/v1", "m"))
    with caplog.at_level(logging.WARNING):
        client = open_client("litellm", Connection("http://x/v1", "m"), Clock())
    assert isinstance(client, litellm_route.LiteLLMSdkClient)
    assert "choose the route direct" in caplog.text


def test_litellm_stays_at_home() -> None:
    assert os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"
    litellm = load()
    assert litellm.telemetry is False
    assert not litellm.callbacks
    assert litellm_codec.load() is litellm


def test_litellm_is_imported_only_by_who_uses_it() -> None:
    code = (
        "import sys\n"
        "import swarm.client.connect, swarm.client.target.probe, swarm.client.retry, swarm.client.target.metrics\n"
        "swarm.client.connect.warm_up('direct')\n"
        "assert not {'litellm', 'openai', 'httpx'} & set(sys.modules), 'imported too early'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

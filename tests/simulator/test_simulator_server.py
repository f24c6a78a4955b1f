import asyncio
import json
import time

import aiohttp
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families
from virtual import profile

from swarm.simulator.server import server as simulator
from swarm.simulator.server.timerfd import Alarm

pytestmark = pytest.mark.realtime

READ = {
    "type": "function",
    "function": {
        "name": "read_file",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    },
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


def chat(content="Fix src/cache.py.", **fields):
    return {"model": "moe", "messages": [{"role": "user", "content": content}], "max_tokens": 6, **fields}


def pinned(tokens, content="Fix src/cache.py.", **fields):
    return chat(content, max_tokens=tokens, min_tokens=tokens, ignore_eos=True, **fields)


USAGE = {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}


async def post(http, body):
    """Status and JSON of an unstreamed answer."""
    async with http.post("/v1/chat/completions", json=body) as reply:
        return reply.status, await reply.json()


async def stream(http, body):
    """The chunks of a streamed answer; it must end with [DONE]."""
    async with http.post("/v1/chat/completions", json=body) as reply:
        assert reply.status == 200
        assert reply.content_type == "text/event-stream"
        text = (await reply.read()).decode()
    events = text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]


async def samples(http):
    """Values of /metrics by name and, where there is one, the label that tells several apart."""
    async with http.get("/metrics") as reply:
        text = await reply.text()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            rest = {k: v for k, v in sample.labels.items() if k not in ("engine", "model_name")}
            found[(sample.name, *rest.values())] = sample.value
    return found


async def truths(http, after=0):
    async with http.get(f"/swarm/requests?after={after}") as reply:
        return (await reply.json())["requests"]


async def until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < end, "not in time"
        await asyncio.sleep(0.005)


# Streams


async def test_a_stream_begins_with_the_role_then_one_chunk_a_token_then_the_usage(http):
    chunks = await stream(http, pinned(4, **USAGE))
    assert [chunk["object"] for chunk in chunks] == ["chat.completion.chunk"] * 6
    assert len({chunk["id"] for chunk in chunks}) == 1
    choices = [chunk["choices"][0] for chunk in chunks[:-1]]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert [len(choice["delta"]["content"]) for choice in choices[1:]] == [4, 4, 4, 4]
    assert [choice["finish_reason"] for choice in choices] == [None, None, None, None, "length"]
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks] == [0, 1, 2, 3, 4, 4]
    assert chunks[-1]["choices"] == []
    prompt = chunks[-1]["usage"]["prompt_tokens"]
    expected = {"prompt_tokens": prompt, "completion_tokens": 4, "total_tokens": prompt + 4}
    assert chunks[-1]["usage"] == expected | {"prompt_tokens_details": {"cached_tokens": 0}}


async def test_without_stream_options_no_chunk_has_a_usage(http):
    chunks = await stream(http, pinned(3, stream=True))
    assert len(chunks) == 4
    assert not any("usage" in chunk for chunk in chunks)


async def test_usage_only_at_the_end_if_so_asked(http):
    chunks = await stream(http, pinned(3, stream=True, stream_options={"include_usage": True}))
    assert [chunk.get("usage", {}).get("completion_tokens") for chunk in chunks] == [None, None, None, None, 3]


async def test_a_streamed_tool_call_has_its_head_first_and_then_its_arguments_in_pieces(http):
    chunks = await stream(http, chat(tools=[READ], tool_choice="required", max_tokens=100, **USAGE))
    calls = [chunk["choices"][0]["delta"]["tool_calls"][0] for chunk in chunks[1:-1]]
    assert calls[0]["type"] == "function"
    assert calls[0]["id"].startswith("chatcmpl-tool-")
    assert calls[0]["function"] == {"name": "read_file", "arguments": ""}
    arguments = [call["function"]["arguments"] for call in calls[1:]]
    assert json.loads("".join(arguments)) == {"path": "src/cache.py"}
    assert {len(piece) for piece in arguments[:-1]} == {4}
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks[-1]["usage"]["completion_tokens"] == len(calls)


async def test_an_unstreamed_answer_says_the_same_as_the_streamed_one(http):
    body = chat(max_tokens=500, tools=[READ])
    _, whole = await post(http, body)
    chunks = await stream(http, body | {"stream": True})
    message = whole["choices"][0]["message"]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert message["content"] == "".join(delta.get("content", "") for delta in deltas)
    pieces = [call["function"]["arguments"] for delta in deltas for call in delta.get("tool_calls", [])]
    assert message["tool_calls"][0]["function"] == {"name": "read_file", "arguments": "".join(pieces)}
    assert whole["choices"][0]["finish_reason"] == "tool_calls"
    assert whole["usage"]["completion_tokens"] == len(chunks) - 1


async def test_the_tokens_of_a_hidden_stop_string_come_in_no_chunk_but_count(http):
    _, whole = await post(http, pinned(60))
    stop = whole["choices"][0]["message"]["content"][101:110]
    chunks = await stream(http, chat(max_tokens=60, ignore_eos=True, stop=[stop], **USAGE))
    content = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks[:-1])
    assert len(content) == 101
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-2]["choices"][0]["stop_reason"] == stop
    assert chunks[-1]["usage"]["completion_tokens"] == 28
    assert len(chunks) == 1 + 26 + 1 + 1


async def test_requests_in_flight_get_their_tokens_in_the_same_steps(http):
    await asyncio.gather(*(stream(http, pinned(40, f"{n}", stream=True)) for n in range(4)))
    counted = await samples(http)
    assert counted[("vllm:generation_tokens_total",)] == 160
    assert counted[("vllm:iteration_tokens_total_count",)] < 60


async def test_the_stock_openai_client_streams_a_tool_call(server):
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        events = await client.chat.completions.create(
            model="moe",
            messages=[{"role": "user", "content": "Fix src/cache.py."}],
            tools=[READ],
            stream=True,
            stream_options={"include_usage": True},
        )
        name, arguments, finish, usage = None, "", None, None
        async for event in events:
            usage = event.usage or usage
            for choice in event.choices:
                finish = choice.finish_reason or finish
                for call in choice.delta.tool_calls or []:
                    name = call.function.name or name
                    arguments += call.function.arguments or ""
        assert (name, json.loads(arguments), finish) == ("read_file", {"path": "src/cache.py"}, "tool_calls")
        assert usage.completion_tokens > 6
        assert [model.id async for model in client.models.list()] == ["moe"]


async def raw(server, head, body):
    reader, writer = await asyncio.open_connection(server.host, server.port)
    data = json.dumps(body).encode()
    writer.write(
        f"{head}\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        + data
    )
    return reader, writer


async def test_a_connection_is_used_again_after_a_stream(server):
    reader, writer = await raw(server, "POST /v1/chat/completions HTTP/1.1", pinned(2, stream=True))
    first = await reader.readuntil(b"\r\n0\r\n\r\n")
    assert first.count(b"data: ") == 4
    writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_an_old_client_gets_its_stream_without_chunk_framing(server):
    reader, writer = await raw(server, "POST /v1/chat/completions HTTP/1.0", pinned(2, stream=True))
    _, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert body.startswith(b"data: {")
    assert body.endswith(b"data: [DONE]\n\n")
    assert body.count(b"\n\n") == 4
    writer.close()


# What is asked about the server


async def test_models_version_and_health(http):
    async with http.get("/v1/models") as reply:
        (model,) = (await reply.json())["data"]
    assert (model["id"], model["max_model_len"], model["object"]) == ("moe", 32768, "model")
    async with http.get("/version") as reply:
        assert await reply.json() == {"version": "0.17.0", "simulator": "moe-30b-a3b-awq-1x3090"}
    async with http.get("/health") as reply:
        assert reply.status == 200


async def test_the_model_is_named_like_the_profile_unless_told_otherwise():
    server = await simulator.start(profile())
    assert server.model_name == "moe-30b-a3b-awq-1x3090"
    await server.close()


# Refusals


@pytest.mark.parametrize(
    ("fields", "status", "param", "message"),
    [
        ({"model": "other"}, 404, "model", "The model `other` does not exist."),
        ({"messages": []}, 400, "messages", "messages must not be empty"),
        ({"messages": [{"content": "x"}]}, 400, "messages[0]", "messages[0].role must be a string"),
        ({"messages": [{"role": "user", "content": 5}]}, 400, "messages[0]", "content must be a string"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "messages[0]", "only text parts"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, 400, "messages[0]", "each needs function.name"),
        ({"max_tokens": 0}, 400, "max_tokens", "max_tokens must be at least 1, got 0."),
        ({"max_tokens": "5"}, 400, None, "Expected `int | null`, got `str` - at `$.max_tokens`"),
        ({"min_tokens": 7}, 400, "min_tokens", "min_tokens must be less than or equal to max_tokens=6, got 7."),
        ({"min_tokens": -1}, 400, "min_tokens", "must be greater than or equal to 0, got -1."),
        ({"temperature": -0.1}, 400, "temperature", "temperature must be non-negative, got -0.1."),
        ({"top_p": 0}, 400, "top_p", "top_p must be in (0, 1], got 0"),
        ({"top_k": -2}, 400, "top_k", "got -2."),
        ({"min_p": 1.5}, 400, "min_p", "min_p must be in [0, 1], got 1.5."),
        ({"presence_penalty": 3}, 400, "presence_penalty", "presence_penalty must be in [-2, 2], got 3"),
        ({"repetition_penalty": 0}, 400, "repetition_penalty", "must be greater than zero"),
        ({"n": 2}, 400, "n", "n must be 1"),
        ({"logprobs": True}, 400, "logprobs", "not simulated"),
        ({"stop": ["a", ""]}, 400, "stop", "stop cannot contain an empty string."),
        ({"stream_options": {"include_usage": True}}, 400, "stream_options", "can only be defined when `stream=True`"),
        ({"tool_choice": "required"}, 400, "tool_choice", "When using `tool_choice`, `tools` must be set."),
        ({"tools": [{"type": "function"}]}, 400, None, "missing required field `function` - at `$.tools[0]`"),
        (
            {"tools": [READ], "tool_choice": {"type": "function", "function": {"name": "rm"}}},
            400,
            "tool_choice",
            "does not match any of the specified `tools`",
        ),
    ],
)
async def test_a_wrong_request_is_refused_in_vllms_form(http, fields, status, param, message):
    got, body = await post(http, chat() | fields)
    assert got == status
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert (body["error"]["code"], body["error"]["param"]) == (status, param)
    assert message in body["error"]["message"]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"messages": "x"}', b'{"messages": [{"role": "\xff"}]}', b"null"])
async def test_what_is_no_chat_request_is_a_bad_request(http, data):
    async with http.post("/v1/chat/completions", data=data) as reply:
        assert reply.status == 400
        assert (await reply.json())["error"]["type"] in ("Bad Request", "BadRequestError")


async def test_a_context_that_does_not_fit_is_refused_in_vllms_words(http):
    status, body = await post(http, chat("x" * 400, max_tokens=32768))
    assert (status, body["error"]["type"], body["error"]["param"]) == (400, "BadRequestError", "input_tokens")
    assert body["error"]["message"].startswith(
        "This model's maximum context length is 32768 tokens. However, you requested 32768 output tokens and your "
        "prompt contains at least "
    )
    status, body = await post(http, chat("x" * 4 * 32768) | {"max_tokens": None})
    assert status == 400
    assert "you requested 0 output tokens" in body["error"]["message"]


async def test_max_completion_tokens_goes_before_max_tokens(http):
    _, body = await post(http, pinned(50, max_completion_tokens=3) | {"min_tokens": 3})
    assert body["usage"]["completion_tokens"] == 3


async def test_an_unknown_path_or_method_is_refused_in_the_same_form(http):
    async with http.get("/v1/embeddings") as reply:
        assert (reply.status, (await reply.json())["error"]["type"]) == (404, "Not Found")
    async with http.get("/v1/chat/completions") as reply:
        assert (reply.status, (await reply.json())["error"]["code"]) == (405, 405)


async def test_a_key_is_demanded_under_v1_only():
    server = await simulator.start(profile(), served_model_name="moe", api_key="secret")
    async with aiohttp.ClientSession(server.url) as http:
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer no"}, 401),
            ({"Authorization": "Bearer secret"}, 200),
        ):
            async with http.post("/v1/chat/completions", json=pinned(1), headers=headers) as reply:
                assert reply.status == status
                if status == 401:
                    assert await reply.json() == {"error": "Unauthorized"}
        async with http.get("/metrics") as reply:
            assert reply.status == 200
    await server.close()


# What it counts


async def test_the_counters_are_exactly_what_the_clients_were_told(http):
    usages = []
    for tokens in (1, 5, 9):
        _, body = await post(http, pinned(tokens, "x" * 400 + str(tokens)))
        usages.append(body["usage"])
    _, body = await post(http, pinned(2, "x" * 400 + "9"))  # all but the last block is cached
    usages.append(body["usage"])
    cached = [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages]
    assert cached[0] == 0
    assert cached[3] >= 96
    counted = await samples(http)
    assert counted[("vllm:generation_tokens_total",)] == 17
    assert counted[("vllm:prompt_tokens_total",)] == sum(usage["prompt_tokens"] for usage in usages)
    assert counted[("vllm:prompt_tokens_cached_total",)] == counted[("vllm:prefix_cache_hits_total",)] == sum(cached)
    assert counted[("vllm:prefix_cache_queries_total",)] == counted[("vllm:prompt_tokens_total",)]
    assert counted[("vllm:request_success_total", "length")] == 4
    assert counted[("vllm:inter_token_latency_seconds_count",)] == 17 - 4
    assert counted[("vllm:request_time_per_output_token_seconds_count",)] == 3
    for name in ("time_to_first_token", "e2e_request_latency", "request_queue_time", "request_decode_time"):
        assert counted[(f"vllm:{name}_seconds_count",)] == 4


async def test_metrics_are_named_and_labelled_as_vllm_does(server, http):
    await post(http, pinned(3))
    async with http.get("/metrics") as reply:
        assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        families = {family.name: family for family in text_string_to_metric_families(await reply.text())}
    for name in ("process_start_time_seconds", "process_resident_memory_bytes"):  # as vLLM's, of prometheus_client
        assert list(families.pop(name).samples[0].labels) == []
    for family in families.values():
        for sample in family.samples:
            assert sample.labels["model_name"] == "moe"
            assert sample.labels["engine"] == "0"
    buckets = [s.labels["le"] for s in families["vllm:time_to_first_token_seconds"].samples if "le" in s.labels]
    assert buckets[:3] + buckets[-2:] == ["0.001", "0.005", "0.01", "2560.0", "+Inf"]
    assert families["vllm:iteration_tokens_total"].type == "histogram"
    assert families["vllm:num_requests_running"].type == "gauge"
    config = families["vllm:cache_config_info"].samples[0]
    assert (config.labels["num_gpu_blocks"], config.labels["block_size"], config.value) == ("3478", "16", 1)


async def test_histograms_are_cumulative_and_sum_up(http):
    await post(http, pinned(30))
    counted = await samples(http)
    steps = [value for (name, *_), value in counted.items() if name == "vllm:inter_token_latency_seconds_bucket"]
    assert steps == sorted(steps)
    assert steps[0] == steps[-1] == 29  # 6 ms each: all in the first
    (truth,) = await truths(http)
    assert counted[("vllm:inter_token_latency_seconds_sum",)] == pytest.approx(truth["decode_s"])
    assert counted[("vllm:request_decode_time_seconds_sum",)] == pytest.approx(truth["decode_s"])


async def test_a_client_that_goes_away_stops_its_request_and_its_tokens_are_counted(server, http):
    async with http.post("/v1/chat/completions", json=pinned(5000, **USAGE)) as reply:
        seen = 0
        async for line in reply.content:
            if line.startswith(b"data: {"):
                seen = json.loads(line[6:])["usage"]["completion_tokens"]
            if seen == 5:
                break
        reply.close()

    async def stopped():
        return server.engine.running == 0

    await until(stopped, 1.0)
    counted = await samples(http)
    assert counted[("vllm:request_success_total", "abort")] == 1
    assert counted[("vllm:kv_cache_usage_perc",)] == 0
    (truth,) = await truths(http)
    assert truth["finish_reason"] == "abort"
    assert 5 <= truth["completion_tokens"] == counted[("vllm:generation_tokens_total",)] < 50


async def test_a_client_that_goes_away_before_its_first_token_leaves_nothing(server, http):
    task = asyncio.create_task(post(http, pinned(3000)))

    async def running():
        return server.engine.running == 1

    await until(running)
    task.cancel()

    async def stopped():
        return server.engine.running == 0

    await until(stopped, 1.0)
    assert (await samples(http))[("vllm:num_requests_running",)] == 0


async def test_the_truth_about_each_request_can_be_read_afterwards(http):
    async with http.post("/v1/chat/completions", json=pinned(4), headers={"X-Request-Id": "mine"}) as reply:
        assert (await reply.json())["id"] == "chatcmpl-mine"
    await post(http, pinned(2))
    first, second = await truths(http)
    assert (first["id"], first["number"], first["completion_tokens"]) == ("chatcmpl-mine", 1, 4)
    assert first["decode_s"] == pytest.approx(3 * 0.0056, rel=0.05)
    assert (first["queue_s"], first["preemptions"], first["prefill_stall_s"]) == (0, 0, 0)
    assert await truths(http, after=1) == [second]
    async with http.get("/swarm/requests?after=x") as reply:
        assert reply.status == 400


# Time


async def test_steps_are_sent_on_time_and_the_slip_is_told(server, http):
    await post(http, pinned(50))
    async with http.get("/swarm/slip") as reply:
        slip = await reply.json()
    assert (slip["steps"], slip["resyncs"]) == (50, 0)
    assert 0 <= slip["start_s"]["p50"] <= slip["start_s"]["p99"] <= slip["max_s"]
    assert slip["start_s"]["p50"] < slip["bound_s"]
    assert (await samples(http))[("swarm_simulator_step_slip_seconds_count",)] == 50


async def test_a_late_step_does_not_delay_those_after_it(server, http):
    task = asyncio.create_task(post(http, pinned(40)))

    async def running():
        return server.engine.generation_tokens >= 5

    await until(running)
    time.sleep(0.08)  # noqa: ASYNC251 - the event loop is held up on purpose
    began = server.engine.step.start - (server.engine.generation_tokens - 1) * 0.0056
    await task
    late = time.monotonic() - (began + 40 * 0.0056)
    assert late < 0.06, "the 80 ms were made up for"
    assert server.realtime.metrics.slip.max_s > 0.05


async def test_a_server_that_was_stopped_goes_on_from_now_and_says_so(server, http, caplog):
    task = asyncio.create_task(post(http, pinned(60)))

    async def running():
        return server.engine.generation_tokens >= 5

    await until(running)
    time.sleep(0.4)  # noqa: ASYNC251 - as a stopped process would
    await task
    counted = await samples(http)
    assert counted[("swarm_simulator_resyncs_total",)] == 1
    assert counted[("swarm_simulator_overloaded",)] == 1
    assert "behind its own time line" in caplog.text


async def test_closing_the_server_cuts_its_streams_off():
    server = await simulator.start(profile(), served_model_name="moe")
    async with aiohttp.ClientSession(server.url) as http:
        async with http.post("/v1/chat/completions", json=pinned(5000, stream=True)) as reply:
            await reply.content.readline()
            await server.close()
            with pytest.raises(aiohttp.ClientPayloadError):
                await reply.read()
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get("/health")


async def test_when_the_engine_dies_nobody_waits_for_it(server, http, monkeypatch, caplog):
    def broken(*args):
        raise ZeroDivisionError("by a test")

    monkeypatch.setattr(server.engine.cost, "terms", broken)
    async with http.post("/v1/chat/completions", json=pinned(5)) as reply:
        assert reply.status == 500
    async with http.post("/v1/chat/completions", json=pinned(5)) as reply:
        assert reply.status == 500
    async with http.get("/health") as reply:
        assert reply.status == 503
    assert "died of ZeroDivisionError" in caplog.text


async def test_a_port_that_is_taken_is_an_error(server):
    with pytest.raises(OSError, match="address already in use"):
        await simulator.start(profile(), port=server.port)


@pytest.mark.parametrize("exact", [True, False])
async def test_an_alarm_rings_once_at_the_time_that_was_set_last(exact, monkeypatch):
    if not exact:
        monkeypatch.setattr("sys.platform", "elsewhere")
    loop = asyncio.get_running_loop()
    rung = []
    alarm = Alarm(loop, lambda: rung.append(loop.time()))
    assert alarm.exact == exact
    alarm.set(loop.time() + 5)
    due = loop.time() + 0.03
    alarm.set(due)
    await asyncio.sleep(0.1)
    assert len(rung) == 1
    assert due - 1e-6 <= rung[0] < due + 0.03
    alarm.set(loop.time() - 1)  # in the past: at once
    await asyncio.sleep(0.02)
    assert len(rung) == 2
    alarm.set(loop.time() + 0.01)
    alarm.close()
    await asyncio.sleep(0.03)
    assert len(rung) == 2

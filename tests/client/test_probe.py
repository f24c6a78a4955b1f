"""Servers that promise more and less, each a function from a request to an answer."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_server import DONE, END, HANG, Received, Step, answer, delta, event, piece, scripted, stream_head, usage

from swarm.client.base import Capabilities, Connection
from swarm.client.target.probe import PINNED_TOKENS, Probe, probe
from swarm.errors import BackendError, ExitCode

Server = Callable[[Received], list[Step]]
ALL = Capabilities()


def reply(
    body: dict[str, Any],
    tokens: int = 2,
    counts: bool = True,
    per_chunk: bool = False,
    cached: int | None = None,
    call: bool = False,
) -> list[Step]:
    """A streamed reply of `tokens` tokens."""
    parts: list[Any] = []
    for number in range(1, tokens + 1):
        fields: dict[str, Any] = {"content": "yes "}
        if call:
            fields = {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "answer", "arguments": "{}"}}]}
        parts.append(delta(usage=usage(100, number) if per_chunk else None, **fields))
    reason = "tool_calls" if call else "length" if tokens == body["max_tokens"] else "stop"
    parts.append(delta(finish_reason=reason))
    if counts and body.get("stream_options", {}).get("include_usage"):
        parts.append({"choices": [], "usage": usage(100, tokens, cached)})
    return [stream_head(), *(piece(event(part)) for part in parts), piece(DONE), END]


def models(*names: str, **fields: Any) -> list[Step]:
    return answer("200 OK", {"object": "list", "data": [{"id": name, "object": "model", **fields} for name in names]})


NOT_FOUND = answer("404 Not Found", {"detail": "Not Found"})


def refuse(message: str) -> list[Step]:
    return answer("400 Bad Request", {"error": {"message": message, "type": "BadRequestError", "code": 400}})


def vllm(request: Received, auto_tools: bool = True, cached: int | None = 80) -> list[Step]:
    match request.path:
        case "/v1/models":
            return models("qwen", max_model_len=8192)
        case "/version":
            return answer("200 OK", {"version": "0.32.0"})
        case "/metrics":
            return answer(
                "200 OK", b"vllm:num_requests_running 0.0\nvllm:generation_tokens_total 0\n", content_type="text/plain"
            )
        case "/v1/chat/completions":
            body = request.body
            if body.get("tool_choice") not in (None, "none") and not auto_tools:
                return refuse('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set')
            tokens = body.get("min_tokens", 2)
            per_chunk = body.get("stream_options", {}).get("continuous_usage_stats", False)
            return reply(body, tokens, True, per_chunk, cached, call=body.get("tool_choice") == "required")
    return NOT_FOUND


def ollama(request: Received) -> list[Step]:
    """Takes everything and ignores most of it; no metrics, no lengths, no cached tokens."""
    match request.path:
        case "/v1/models":
            return models("llama3.1:latest")
        case "/api/version":
            return answer("200 OK", {"version": "0.9.1"})
        case "/v1/chat/completions":
            return reply(request.body)
    return answer("404 Not Found", b"404 page not found", content_type="text/plain")


def llama_cpp(request: Received) -> list[Step]:
    match request.path:
        case "/v1/models":
            return models("/models/qwen.gguf", meta={"n_ctx_train": 131072})
        case "/props":
            return answer("200 OK", {"default_generation_settings": {"n_ctx": 16384}, "build_info": "b6100-abc"})
        case "/metrics":
            return answer("200 OK", b"llamacpp:prompt_tokens_total 5\n", content_type="text/plain")
        case "/v1/chat/completions":
            if "tools" in request.body:
                return answer("500 Error", {"error": {"code": 500, "message": "tools param requires --jinja flag"}})
            return reply(request.body)
    return NOT_FOUND


def strict(*unknown: str) -> Server:
    """Refuses fields it does not know, as OpenAI does; keeps to what it takes."""

    def server(request: Received) -> list[Step]:
        if request.path == "/v1/chat/completions":
            named = set(request.body) | set(request.body.get("stream_options", {}))
            for name in unknown:
                if name in named:
                    return refuse(f"Unrecognized request argument supplied: {name}")
        return vllm(request)

    return server


def without_counts(request: Received) -> list[Step]:
    return reply(request.body, counts=False) if request.path == "/v1/chat/completions" else vllm(request)


async def ask(server: Server, model: str | None = None, **settings: Any) -> Probe:
    async with scripted(server) as at:
        return await probe(Connection(at.url, model, **settings))


async def test_a_vllm_with_everything_leaves_nothing_to_say() -> None:
    assert await ask(vllm) == Probe(
        model="qwen",
        models=("qwen",),
        max_model_len=8192,
        version="0.32.0",
        honours=ALL,
        forced_tool_calls=True,
        cached_tokens=True,
        metrics=True,
        notes=(),
    )


async def test_probing_takes_a_handful_of_small_requests() -> None:
    async with scripted(vllm) as at:
        await probe(Connection(at.url, "qwen"))
    asked = [request.body for request in at.received if request.path.endswith("completions")]
    assert len(asked) <= 4
    assert sum(body["max_tokens"] for body in asked) <= 100


BASE = {"id": "base", "root": "/models/base", "parent": None, "max_model_len": 8192}


@pytest.mark.parametrize(
    ("entries", "length"),
    [
        ([BASE, {"id": "lora", "parent": "base"}], 8192),
        ([{"id": "lora", "parent": "base", "max_model_len": None}, BASE], 8192),
        ([BASE, {"id": "lora", "parent": "/models/base"}], 8192),  # named by where it lies
        ([BASE, {"id": "lora", "parent": "other"}, {"id": "other", "parent": "base"}], 8192),
        ([BASE, {"id": "lora", "parent": "base", "max_model_len": 4096}], 4096),
        ([BASE, {"id": "lora", "parent": "gone"}], None),
        ([BASE, {"id": "lora"}], None),
        ([{"id": "lora", "parent": "lora"}, {"id": "base", "parent": ["lora"]}], None),
        ([{"id": "lora", "parent": "base"}, {"id": "base", "parent": "lora"}], None),
    ],
)
async def test_a_loras_context_is_as_long_as_its_parents(entries: list[dict[str, Any]], length: int | None) -> None:
    def server(request: Received) -> list[Step]:
        return answer("200 OK", {"data": entries}) if request.path == "/v1/models" else vllm(request)

    found = await ask(server, "lora")
    assert found.max_model_len == length
    assert any("context length" in note for note in found.notes) == (length is None)


async def test_an_ollama_can_be_tested_for_what_it_is() -> None:
    found = await ask(ollama, "llama3.1")
    assert (found.model, found.version, found.max_model_len, found.metrics) == ("llama3.1", "0.9.1", None, False)
    assert found.honours == Capabilities(continuous_usage=False, pinned_length=False)
    assert (found.forced_tool_calls, found.cached_tokens) == (False, False)
    said = "\n".join(found.notes)
    for words in ("end only", "min_tokens", "forced", "cached", "/metrics", "context length"):
        assert words in said, words
    assert len(found.notes) == 6


async def test_a_llama_cpp_tells_its_context_in_its_own_way_and_may_refuse_tools() -> None:
    found = await ask(llama_cpp, "/models/qwen.gguf")
    assert (found.max_model_len, found.version, found.metrics) == (16384, "b6100-abc", False)
    assert found.honours == Capabilities(continuous_usage=False, pinned_length=False, tools=False, tool_choice=False)
    assert any("no tool schemas" in note for note in found.notes)


async def test_a_vllm_without_a_tool_parser_takes_the_schemas_but_lets_none_be_called() -> None:
    found = await ask(lambda request: vllm(request, auto_tools=False))
    assert found.honours == Capabilities(tool_choice=False)
    assert [("--enable-auto-tool-choice" in note) for note in found.notes] == [True]


async def test_a_vllm_that_does_not_tell_of_its_cache_is_told_how() -> None:
    found = await ask(lambda request: vllm(request, cached=None))
    assert not found.cached_tokens
    assert [("--enable-prompt-tokens-details" in note) for note in found.notes] == [True]


@pytest.mark.parametrize(
    ("unknown", "honours"),
    [
        (["continuous_usage_stats"], Capabilities(continuous_usage=False)),
        (["ignore_eos"], Capabilities(pinned_length=False)),
        (["min_tokens", "continuous_usage_stats"], Capabilities(continuous_usage=False, pinned_length=False)),
        (
            ["stream_options", "min_tokens"],
            Capabilities(usage=False, continuous_usage=False, pinned_length=False),
        ),
    ],
)
async def test_what_a_server_refuses_is_found_and_the_rest_kept(unknown: list[str], honours: Capabilities) -> None:
    assert (await ask(strict(*unknown))).honours == honours


async def test_a_server_without_token_counts_is_said_to_give_invalid_stages() -> None:
    found = await ask(without_counts)
    assert not found.honours.usage
    assert any("invalid" in note for note in found.notes)


async def test_a_server_that_gives_the_pinned_number_of_tokens_keeps_to_lengths() -> None:
    def short(request: Received) -> list[Step]:
        return reply(request.body, PINNED_TOKENS - 1) if request.path.endswith("completions") else vllm(request)

    def exact(request: Received) -> list[Step]:
        return reply(request.body, PINNED_TOKENS) if request.path.endswith("completions") else vllm(request)

    assert not (await ask(short)).honours.pinned_length
    assert (await ask(exact)).honours.pinned_length


def listing(*names: str) -> Server:
    return lambda request: models(*names) if request.path == "/v1/models" else vllm(request)


@pytest.mark.parametrize(
    ("names", "wanted", "found"),
    [
        (["a"], None, "a"),
        (["a", "b"], "b", "b"),
        (["a:latest"], "a", "a"),
        (["openai/*"], "openai/gpt", "openai/gpt"),
        ([], "a", "a"),
    ],
)
async def test_the_model_is_the_named_one_or_the_only_one(names: list[str], wanted: str | None, found: str) -> None:
    assert (await ask(listing(*names), wanted)).model == found


@pytest.mark.parametrize(
    ("names", "wanted", "words"),
    [
        (["a", "b"], "c", "does not serve the model 'c'; it serves: a, b"),
        ([*"abcdefgh", *("i" * 9990)], "z", "it serves: a, b, c, d, e, f, g, h, ... and 9,990 more"),
        (["a", "b"], None, "serves a, b; choose one"),
        ([], None, "names no model; say which"),
    ],
)
async def test_a_wrong_model_is_told_the_ones_served(names: list[str], wanted: str | None, words: str) -> None:
    with pytest.raises(BackendError, match=words) as caught:
        await ask(listing(*names), wanted)
    assert caught.value.exit_code == ExitCode.BACKEND
    assert "127.0.0.1" in str(caught.value)


def always(script: list[Step]) -> Server:
    return lambda _: script


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (always(answer("401 Unauthorized", {"error": "Unauthorized"})), "api_key_env"),
        (always(answer("404 Not Found", b"")), "/v1"),
        (always(answer("200 OK", b"<html>", content_type="text/html")), "no OpenAI-compatible server"),
        (always(answer("200 OK", {"data": 5})), "no OpenAI-compatible server"),
        (always(answer("302 Found", b"", headers="Location: https://login\r\n")), "https://login"),
        (lambda r: answer("503 Busy", {"error": "loading"}) if r.path.endswith("ions") else vllm(r), "loading"),
        (lambda r: refuse("no chat template") if r.path.endswith("ions") else vllm(r), "no chat template"),
        (always([HANG]), "no answer"),
    ],
)
async def test_a_server_that_cannot_be_tested_is_a_backend_error_with_address_and_remedy(
    server: Server, words: str
) -> None:
    with pytest.raises(BackendError) as caught:
        await ask(server, timeout_s=0.3)
    assert words in str(caught.value)
    assert "http://127.0.0.1:" in str(caught.value)


async def test_a_server_that_is_not_there_is_a_backend_error() -> None:
    with pytest.raises(BackendError, match=r"nothing listens at http://127\.0\.0\.1:1/v1"):
        await probe(Connection("http://127.0.0.1:1/v1", "m"))
    with pytest.raises(BackendError, match=r"nowhere\.invalid.* does not resolve"):
        await probe(Connection("http://nowhere.invalid/v1", "m"))


async def test_a_server_without_a_list_of_models_can_be_tested_when_the_model_is_named() -> None:
    def server(request: Received) -> list[Step]:
        return NOT_FOUND if request.path == "/v1/models" else vllm(request)

    found = await ask(server, "qwen")
    assert (found.model, found.models, found.max_model_len) == ("qwen", (), None)


async def test_untrusted_tls_is_told_about_ca_file() -> None:
    tls = Path(__file__).parent / "tls"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls / "cert.pem", tls / "key.pem")
    async with scripted(vllm, tls=context) as at:
        with pytest.raises(BackendError, match=r"client\.ca_file"):
            await probe(Connection(at.url, None))
        assert (await probe(Connection(at.url, None, ca_file=str(tls / "cert.pem")))).honours == ALL


async def test_the_key_and_headers_go_with_every_question() -> None:
    async with scripted(vllm) as at:
        await probe(Connection(at.url, None, api_key="k", headers={"X-Team": "a"}))
    assert {(each.headers["authorization"], each.headers["x-team"]) for each in at.received} == {("Bearer k", "a")}

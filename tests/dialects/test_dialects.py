"""The probe and the client against other servers: what each keeps to is found out, and what it says is read."""

import pytest
from dialects import NATURAL, PROMPT, llama_cpp, llama_cpp_breaks, lm_studio, ollama, ollama_breaks, sglang
from scripted_server import scripted

from swarm.client.base import Capabilities, ChatRequest, Connection, Observation, ToolCall
from swarm.client.direct import DirectClient
from swarm.client.litellm_route import LiteLLMClient
from swarm.client.target.probe import Probe, probe
from swarm.clock import Clock
from swarm.errors import BackendError

TOOL = {"type": "function", "function": {"name": "answer", "parameters": {"type": "object", "properties": {}}}}
SERVERS = {
    "llama_cpp": (llama_cpp, "qwen.gguf"),
    "sglang": (sglang, "qwen"),
    "ollama": (ollama, "llama3.2"),
    "lm_studio": (lm_studio, "qwen2.5-coder-14b"),
}


async def probed(name: str) -> Probe:
    server, model = SERVERS[name]
    async with scripted(server) as at:
        return await probe(Connection(at.url, model))


def request(tokens: int = 40, content: str = "Say yes.", **fields) -> ChatRequest:
    given = {"tools": [], "max_tokens": tokens, "pinned": True} | fields
    return ChatRequest(messages=[{"role": "user", "content": content}], **given)


async def ask(server, model, asked: ChatRequest, honours: Capabilities, route=DirectClient) -> Observation:
    seen = Observation()
    async with scripted(server) as at:
        client = route(Connection(at.url, model, honours=honours), Clock())
        await client.complete(asked, seen)
        await client.close()
    return seen


async def test_llama_cpp_pins_lengths_by_ignore_eos_alone_and_shows_its_queue() -> None:
    found = await probed("llama_cpp")
    assert found.honours == Capabilities(continuous_usage=False)
    assert (found.max_model_len, found.version) == (16384, "b6100-abcdef12")
    assert (found.forced_tool_calls, found.cached_tokens, found.metrics) == (True, True, True)
    assert [note.split(",")[0] for note in found.notes] == [
        "it counts tokens at a reply's end only",
        "its metrics say what it runs and queues",
    ]


async def test_sglang_is_nearly_a_vllm() -> None:
    found = await probed("sglang")
    assert found.honours == Capabilities()
    assert (found.max_model_len, found.version) == (32768, "0.5.9")
    assert (found.forced_tool_calls, found.cached_tokens, found.metrics) == (True, False, True)
    assert [note.split(",")[0].split(" (")[0] for note in found.notes] == [
        "it does not say how much of a prompt was cached",
        "its metrics say what it runs and queues",
    ]


async def test_ollama_fixes_no_lengths_and_shows_nothing_of_itself() -> None:
    found = await probed("ollama")
    assert found.honours == Capabilities(continuous_usage=False, pinned_length=False)
    assert (found.model, found.version, found.max_model_len, found.metrics) == ("llama3.2", "0.12.3", None, False)
    said = " ".join(found.notes)
    for words in ("at a reply's end only", "reply lengths", "was cached", "no metrics", "context length"):
        assert words in said, words


async def test_lm_studio_answers_200_to_everything_and_is_not_believed() -> None:
    found = await probed("lm_studio")
    assert found.honours == Capabilities(continuous_usage=False, pinned_length=False)
    assert (found.version, found.max_model_len, found.metrics, found.forced_tool_calls) == (None, None, False, False)
    async with scripted(lm_studio) as at:
        with pytest.raises(BackendError, match=r"no list of models.*check api_base"):
            await probe(Connection(at.url.removesuffix("/v1"), None))
        with pytest.raises(BackendError, match=r"serves qwen2\.5-coder-14b, text-embedding"):
            await probe(Connection(at.url, None))
        with pytest.raises(BackendError, match="No models loaded"):
            await probe(Connection(at.url, "text-embedding-nomic-embed-text-v1.5"))


@pytest.mark.parametrize("route", [DirectClient, LiteLLMClient])
@pytest.mark.parametrize("name", SERVERS)
async def test_a_reply_in_every_dialect_has_its_tokens_and_its_counts(name: str, route) -> None:
    server, model = SERVERS[name]
    honours = (await probed(name)).honours
    seen = await ask(server, model, request(), honours, route)
    tokens = 40 if honours.pinned_length else NATURAL
    assert seen.failure is None
    assert (len(seen.stamps), seen.completion_tokens, seen.prompt_tokens) == (tokens, tokens, PROMPT)
    assert seen.finish_reason == ("length" if honours.pinned_length else "stop")
    assert list(seen.tokens) == (list(range(1, tokens + 1)) if honours.continuous_usage else [])
    words = (seen.reasoning + seen.content).split()
    assert len(words) == tokens
    assert bool(seen.reasoning) == (name in ("sglang", "ollama"))
    assert seen.cached_tokens == (64 if name == "llama_cpp" else None)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("llama_cpp", ToolCall("k7", "answer", '{"word":"yes"}')),
        ("sglang", ToolCall("call_1", "answer", "{}")),
        ("ollama", ToolCall("call_x", "answer", '{"word":"yes"}')),
    ],
)
async def test_a_tool_call_in_every_dialect_is_put_together_and_has_a_first_token(name: str, call: ToolCall) -> None:
    server, model = SERVERS[name]
    asked = request(tools=[TOOL], tool_choice="required", pinned=False)
    seen = await ask(server, model, asked, Capabilities())
    assert seen.failure is None
    assert seen.tool_calls == [call]
    assert (seen.finish_reason, seen.content) == ("tool_calls", "")
    assert seen.stamps


@pytest.mark.parametrize("route", [DirectClient, LiteLLMClient])
async def test_failures_in_every_dialect_are_told_apart(route) -> None:
    async def failure(server, model, asked):
        seen = await ask(server, model, asked, Capabilities(), route)
        assert seen.failure is not None
        return seen.failure

    long = await failure(llama_cpp, "qwen.gguf", request(content="x" * 70_000))
    assert (long.kind, "exceeds the available context size" in long.message) == ("context_overflow", True)
    broken = await failure(llama_cpp_breaks, "qwen.gguf", request())
    assert (broken.kind, "Context size has been exceeded." in broken.message) == ("in_band", True)
    assert (await failure(ollama_breaks, "llama3.2", request())).kind == "cut"
    unknown = await failure(sglang, "gpt-9", request())
    assert (unknown.kind, unknown.status, "no such model" in unknown.message) == ("server_error", 400, True)
    unloaded = await failure(lm_studio, "text-embedding-nomic-embed-text-v1.5", request())
    assert (unloaded.kind, "No models loaded." in unloaded.message) == ("not_found", True)

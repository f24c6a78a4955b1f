"""Counting tokens as a target does: by its own /tokenize, or by what it charges for small completions."""

import pytest
from scripted_server import answer, delta, event, piece, scripted, stream_head, usage

from swarm.client.base import Connection
from swarm.client.target.tokenizer import WORDS, one_token_words, open_tokenizer
from swarm.errors import BackendError
from swarm.simulator.profiles import profiles
from swarm.simulator.server import tokens
from swarm.simulator.server.server import start

CHATS = [
    [{"role": "user", "content": "the and for"}],
    [
        {"role": "system", "content": "x"},
        {"role": "user", "content": "the " * 500},
        {"role": "assistant", "content": ""},
    ],
]


async def test_the_simulated_server_counts_as_it_does_when_it_answers():
    server = await start(profiles.load("moe-30b-a3b-awq-1x3090"))
    tools = [{"type": "function", "function": {"name": "ls", "description": "List.", "parameters": {"type": "object"}}}]
    try:
        async with open_tokenizer(Connection(f"{server.url}/v1", server.model_name)) as tokenizer:
            assert tokenizer.exact
            for chat in CHATS:
                assert await tokenizer.count(chat) == len(tokens.render(chat)) // 4
                assert await tokenizer.count(chat, tools) == len(tokens.render(chat, tools)) // 4
            assert await one_token_words(tokenizer) == WORDS
            with pytest.raises(BackendError, match="role must be a string"):
                await tokenizer.count([{"content": "no role"}])
    finally:
        await server.close()


def charges(request):
    """A server with no /tokenize: 9 tokens a prompt, 4 a message, and a word is 1.5."""
    if request.path.endswith("/tokenize"):
        return answer("404 Not Found", {"detail": "Not Found"})
    messages = request.body["messages"]
    words = sum(len(message["content"].split()) for message in messages)
    told = {"choices": [], "usage": usage(round(9 + 4 * len(messages) + 1.5 * words), 1)}
    parts = [delta(content="yes"), delta(finish_reason="length"), told]
    return [stream_head(), *(piece(event(part)) for part in parts), piece(b"data: [DONE]\n\n"), b"0\r\n\r\n"]


async def test_a_server_that_tells_no_counts_is_estimated_from_what_it_charges():
    async with scripted(charges) as server, open_tokenizer(Connection(server.url, "m")) as tokenizer:
        assert not tokenizer.exact
        words = [{"role": "user", "content": " ".join(WORDS[:40])}] * 3
        assert await tokenizer.count(words) == pytest.approx(9 + 4 * 3 + 1.5 * 120, abs=1)
        assert await one_token_words(tokenizer) == WORDS
    assert len([request for request in server.received if request.path.endswith("completions")]) == 3


async def test_words_that_are_several_tokens_are_not_used():
    def counts(request):
        words = request.body["messages"][0]["content"].split()
        return answer("200 OK", {"count": 5 + sum(2 if word in WORDS[:10] else 1 for word in words)})

    async with scripted(counts) as server, open_tokenizer(Connection(server.url, "m")) as tokenizer:
        assert await one_token_words(tokenizer) == WORDS[10:]


async def test_words_that_are_several_tokens_where_a_text_begins_are_not_used():
    """A token often holds the space before its word, and another vocabulary entry, or several, the word without it."""

    def counts(request):
        words = request.body["messages"][0]["content"].split()
        return answer("200 OK", {"count": 5 + len(words) + (words[0] in WORDS[3:7])})

    async with scripted(counts) as server, open_tokenizer(Connection(server.url, "m")) as tokenizer:
        assert await one_token_words(tokenizer) == (*WORDS[:3], *WORDS[7:])


@pytest.mark.parametrize("body", [b"no JSON", {"tokens": 5}, {"count": "many"}])
async def test_an_answer_that_is_no_count_is_no_tokenizer(body):
    def nonsense(request):
        return answer("200 OK", body) if request.path.endswith("/tokenize") else charges(request)

    async with scripted(nonsense) as server, open_tokenizer(Connection(server.url, "m")) as tokenizer:
        assert not tokenizer.exact


async def test_a_server_that_counts_nothing_at_all_cannot_be_replayed_to():
    def silent(request):
        if request.path.endswith("/tokenize"):
            return answer("404 Not Found", {})
        parts = [delta(content="yes"), delta(finish_reason="length")]
        return [stream_head(), *(piece(event(part)) for part in parts), piece(b"data: [DONE]\n\n"), b"0\r\n\r\n"]

    async with scripted(silent) as server:
        with pytest.raises(BackendError, match="cannot be made to length"):
            async with open_tokenizer(Connection(server.url, "m")):
                pass

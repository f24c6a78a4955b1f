"""Replies of the simulated model: any text, or a call of a tool that makes sense, decided by the request alone.

A reply is a list of tokens, 4 bytes of text each, so that its length is exact; the same request gets the same reply.
"""

import random
import zlib
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from swarm.simulator.server import tokens
from swarm.simulator.server.toolcalls import choose_call

Finish = Literal["stop", "length", "tool_calls"]

_WORDS = (
    "the a this that each every first last next same other new old one two both all none index value key item "
    "entry node list dict set tuple queue stack cache buffer block token prompt reply model agent turn task test "
    "case suite fixture module function method class argument result error message path file line column change "
    "patch edit branch loop condition invariant bound limit rate window bucket timer lock thread handler route "
    "service layer store request response client server parser field schedule minute hour day returns raises "
    "reads writes keeps drops holds moves merges splits sorts checks fails passes covers calls expects handles "
    "updates removes adds so then because when where while after before until only also now here again still not "
    "no and or but with without from into over under between at by for of on in to is are was has have should "
    "must can will would means shows needs uses "
)
_CORPUS_TOKENS = 1 << 14


@dataclass(frozen=True, slots=True)
class ToolCall:
    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Reply:
    """`pieces[i]` is the text that token i brings; those after `call_at` belong to the call, whose head is `call_at`.

    A piece may be empty: a token that shows nothing, as those of a stop string that is left out.
    """

    pieces: list[str]
    finish: Finish
    call: ToolCall | None = None
    call_at: int | None = None
    stop_reason: str | None = None

    @property
    def content(self) -> str:
        return "".join(self.pieces[: self.call_at])

    @property
    def arguments(self) -> str:
        """The call's arguments as far as the reply's length lets them come."""
        return "" if self.call_at is None else "".join(self.pieces[self.call_at + 1 :])

    def tokens(self) -> bytes:
        """As the tokens of a prompt in which the reply is history, 4 bytes each."""
        head = b"" if self.call is None else tokens.call_head(self.call.name)
        return tokens.text_tokens(self.content) + head + tokens.text_tokens(self.arguments)


@cache
def _corpus() -> tuple[str, list[str]]:
    """An endless text, and its tokens; a reply is a piece of it. Plain ASCII without anything that JSON escapes."""
    rng = random.Random(0)
    words = _WORDS.split()
    sentences = []
    length = 0
    while length < tokens.TOKEN_BYTES * _CORPUS_TOKENS:
        sentence = " ".join(rng.choices(words, k=rng.randint(5, 14))).capitalize() + ". "
        sentences.append(sentence)
        length += len(sentence)
    text = "".join(sentences)[: tokens.TOKEN_BYTES * _CORPUS_TOKENS]
    return text, [text[at : at + tokens.TOKEN_BYTES] for at in range(0, len(text), tokens.TOKEN_BYTES)]


def _prose(rng: random.Random, count: int) -> list[str]:
    pieces = _corpus()[1]
    start = rng.randrange(len(pieces))
    found = pieces[start : start + count]
    while len(found) < count:
        found += pieces[: count - len(found)]
    return found


def _pieces(text: str) -> list[str]:
    return [text[at : at + tokens.TOKEN_BYTES] for at in range(0, len(text), tokens.TOKEN_BYTES)]


def answer(
    prompt: bytes,
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]],
    tool_choice: str | dict[str, Any],
    *,
    limit: int,
    min_tokens: int = 0,
    ignore_eos: bool = False,
    stop: tuple[str, ...] = (),
    seed: int = 0,
) -> Reply:
    """The reply to a chat, at most `limit` tokens long.

    With `ignore_eos`, or `min_tokens` equal to `limit`, it is exactly `limit` tokens of text and ends by "length",
    tools or not; where `tool_choice` demands a call, that one is filled up with spaces. Else its length is what comes
    naturally (some 20 to 600 tokens, not below `min_tokens`).
    """
    rng = random.Random(zlib.crc32(prompt) ^ seed)
    pinned = ignore_eos or min_tokens >= limit
    demanded = tool_choice == "required" or isinstance(tool_choice, dict)
    if tools and (demanded or (tool_choice == "auto" and not pinned)):
        call = choose_call(messages, tools, tool_choice, rng)
        if call is not None:
            words = 0 if demanded else rng.randint(6, 24)
            return _call_reply(call, words, limit, limit if pinned else min_tokens, rng)
    count = limit if pinned else min(limit, max(min_tokens, _natural_length(rng)))
    reply = Reply(_prose(rng, count), "length" if count == limit else "stop")
    return _stopped(reply, stop, min_tokens) if stop else reply


def _natural_length(rng: random.Random) -> int:
    return round(min(600.0, max(20.0, rng.lognormvariate(5.0, 0.6))))


def _call_reply(call: tuple[str, str], words: int, limit: int, at_least: int, rng: random.Random) -> Reply:
    name, arguments = call
    missing = at_least - (words + 1 + -(-len(arguments) // tokens.TOKEN_BYTES))
    if missing > 0:
        # White space before the closing brace changes nothing but the length.
        target = (at_least - words - 1) * tokens.TOKEN_BYTES
        arguments = arguments[:-1] + " " * (target - len(arguments)) + "}"
    pieces = [*_prose(rng, words), "", *_pieces(arguments)]
    call_id = f"chatcmpl-tool-{rng.getrandbits(128):032x}"
    if len(pieces) > limit:
        cut = pieces[:limit]
        if limit <= words:
            return Reply(cut, "length")
        return Reply(cut, "length", ToolCall(call_id, name, "".join(cut[words + 1 :])), words)
    return Reply(pieces, "tool_calls", ToolCall(call_id, name, arguments), words)


def _stopped(reply: Reply, stop: tuple[str, ...], min_tokens: int) -> Reply:
    """Cuts a text where a stop string begins; the tokens that complete it are generated, but show nothing."""
    text = "".join(reply.pieces)
    size = tokens.TOKEN_BYTES
    found = []
    for order, string in enumerate(stop):
        at = text.find(string, max(0, min_tokens * size - len(string) + 1))
        if at >= 0:
            found.append((at + len(string), order, at, string))
    if not found:
        return reply
    end, _, at, string = min(found)
    pieces = [text[i : min(i + size, at)] if i < at else "" for i in range(0, end, size)]
    return Reply(pieces, "stop", stop_reason=string)

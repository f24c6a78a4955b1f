"""Two minutes of questions that tell what a server is made of: `swarm calibrate URL`.

Cold prompts of three lengths, one after the other; replies of a fixed length at one, four and sixteen streams, behind a
short prompt and behind the longest one that was computed; and one turn whose prompt is in the prefix cache. What the
answers cost is known beforehand only roughly, so that a question that would take too long is left out, and named.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from swarm.client.base import ChatRequest, Client, Observation
from swarm.commands.observed_steps import Prefill, Stream, Stretch, observed, of_observation
from swarm.errors import BackendError
from swarm.text import counted

PROMPTS = (1000, 8000, 32000)
"""Tokens of the cold prompts."""
REPEATS = {1000: 4, 8000: 2, 32000: 1}
STREAMS = (1, 4, 16)
REPLY = 160
SHORT = 300
"""Tokens of the prompt in front of a reply, where the context should not count."""
BUDGET_S = 120.0
LONGEST_S = 45.0
"""Seconds that one question may take: a longer one is left out."""
MARGIN = 64
"""Tokens that a server's template may add."""
_WORDS = (
    *("the", "cache", "of", "each", "file", "and", "then", "read", "write", "test", "code", "line", "list", "name"),
    *("time", "value", "call", "data", "type", "one", "two", "page", "open", "close", "first", "last", "make", "take"),
)


@dataclass
class Answers:
    """All that a server showed. `left_out`: questions that were not asked, and why; a sentence each."""

    stretches: list[Stretch] = field(default_factory=list)
    prefills: list[Prefill] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


class Questions:
    """Asks one server. `limit`: tokens of prompt and reply together, None: unknown; `seed` makes prompts new ones;
    `say` is told of each question that was answered."""

    def __init__(self, client: Client, limit: int | None, seed: int, say: Callable[[str], None]) -> None:
        self._client = client
        self._say = say
        self._limit = limit
        self._random = random.Random(seed)
        self._per_word = 1.4
        """Tokens, until the first answer has told."""
        self._spent = 0.0
        self._second_per_token = 0.0
        self._longest: tuple[str, int] | None = None
        self.answers = Answers()

    async def all(self) -> Answers:
        """Raises BackendError where the server fails, or does not say how many tokens a chunk or a prompt has."""
        await self._one(self._prompt(SHORT), 4)  # the first request of all may load and compile things
        for tokens in self._lengths():
            await self._cold(tokens)
        await self._cached_turn()
        for streams in STREAMS:
            await self._decode(streams, SHORT)
        if self._longest and self._longest[1] > 4 * SHORT:
            for streams in STREAMS[:2]:
                await self._decode_behind(streams, *self._longest)
        return self.answers

    def _lengths(self) -> list[int]:
        """Lengths of the cold prompts: as planned, and where the server's limit is below one, as far as it goes."""
        if self._limit is None:
            return list(PROMPTS)
        room = int((self._limit - REPLY - SHORT - MARGIN) / 1.1)
        found = [tokens for tokens in PROMPTS if tokens <= room]
        if len(found) < len(PROMPTS):
            told = f"cold prompts of {PROMPTS[len(found)]:,} tokens: the server's limit is {self._limit:,}"
            self.answers.left_out.append(told)
            if room > 1.5 * (found[-1] if found else SHORT):
                found.append(room)
        return found

    async def _cold(self, tokens: int) -> None:
        if not self._fits(tokens, 2):
            return
        repeats = next(count for length, count in REPEATS.items() if tokens <= length)
        for _ in range(repeats):
            expected = self._second_per_token * tokens * 1.5
            if expected > LONGEST_S or self._spent + expected > BUDGET_S:
                self.answers.left_out.append(f"a cold prompt of {tokens:,} tokens: it would take {expected:.0f} s")
                return
            prompt = self._prompt(tokens)
            stream = await self._one(prompt, 2)
            self._take(1, [stream])
            known = stream.prompt or tokens
            self._second_per_token = (stream.stamps[0] - stream.send) / 1e9 / max(1, known)
            if self._longest is None or known > self._longest[1]:
                self._longest = (prompt, known)
        self._done(f"{counted(repeats, 'cold prompt')} of {tokens:,} tokens")

    async def _cached_turn(self) -> None:
        if self._longest is None:
            return
        prompt, tokens = self._longest
        if not self._fits(tokens + SHORT, 2):
            return
        stream = await self._one(f"{prompt} {self._prompt(SHORT)}", 2)
        self._take(1, [stream])
        if stream.cached is None:
            self.answers.left_out.append("the cached turn: the server does not say what its prefix cache had")
        else:
            self._done(f"a turn with {stream.cached:,} of its {stream.prompt or 0:,} tokens cached")

    async def _decode(self, streams: int, tokens: int) -> None:
        expected = self._second_per_token * streams * tokens
        await self._together(streams, [self._prompt(tokens) for _ in range(streams)], tokens, expected)

    async def _decode_behind(self, streams: int, prompt: str, tokens: int) -> None:
        await self._together(streams, [prompt] * streams, tokens, 0.0)

    async def _together(self, streams: int, prompts: list[str], tokens: int, expected: float) -> None:
        """`expected`: seconds until all have their first token."""
        if not self._fits(tokens, REPLY):
            return
        if expected > LONGEST_S or self._spent + expected > BUDGET_S:
            told = f"{counted(streams, 'stream')} behind {tokens:,} tokens: it would take {expected:.0f} s to begin"
            self.answers.left_out.append(told)
            return
        found = await asyncio.gather(*(self._one(prompt, REPLY) for prompt in prompts))
        self._take(streams, found)
        self._done(f"{counted(streams, 'stream')} of {REPLY} tokens behind {tokens:,}")

    async def _one(self, prompt: str, reply: int) -> Stream:
        seen = Observation()
        request = ChatRequest(
            messages=[{"role": "user", "content": prompt}], tools=[], max_tokens=reply, pinned=True, temperature=0.7
        )
        await self._client.complete(request, seen)
        if seen.failure:
            raise BackendError(f"a question of {len(prompt):,} characters failed: {seen.failure.message}")
        stream = of_observation(seen)
        if stream is None or stream.prompt is None or not stream.stamps:
            raise BackendError(
                "the server does not say how many tokens a chunk and a prompt have, so that its steps cannot be told "
                "apart (vLLM does: stream_options.continuous_usage_stats); `swarm calibrate RUN` has the same need"
            )
        self._per_word = stream.prompt / max(1, prompt.count(" ") + 1)
        return stream

    def _take(self, level: int, streams: list[Stream]) -> None:
        stretches, prefills = observed(level, streams)
        self._spent += (max(one.end for one in streams) - min(one.send for one in streams)) / 1e9
        self.answers.stretches += stretches
        if level == 1:
            self.answers.prefills += prefills

    def _fits(self, tokens: int, reply: int) -> bool:
        if self._limit is None or tokens * 1.1 + reply + MARGIN <= self._limit:
            return True
        self.answers.left_out.append(f"a context of {tokens:,} tokens: the server's limit is {self._limit:,}")
        return False

    def _prompt(self, tokens: int) -> str:
        """New text of about so many tokens; nothing of it is in a cache."""
        words = max(4, round(tokens / self._per_word))
        return " ".join([str(self._random.randrange(10**8)), *self._random.choices(_WORDS, k=words - 1)])

    def _done(self, question: str) -> None:
        self.answers.asked.append(question)
        self._say(question)

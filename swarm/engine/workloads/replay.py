"""A trace made ready for one target: which sessions run, how long each made-up text must be, and what is not known.

Where contents are missing, a prompt is made to have exactly the recorded tokens: a skeleton of it (one word a message)
is counted by the target's own tokenizer, and what it lacks is filled up with words of one token each. A message that
was made once keeps its length wherever its beginning comes up again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import msgspec

from swarm.agents.driver import Call, SubAgent
from swarm.agents.trace import Line, Part, Replay, ReplayTurn, made_up, session_task
from swarm.client.target.tokenizer import Tokenizer, one_token_words
from swarm.engine.workloads.replay_timing import Step, Timing, planned_ns
from swarm.errors import UsageError
from swarm.scenario.schema import TraceSettings
from swarm.scenario.units import BYTES_PER_TOKEN
from swarm.tasks import Task
from swarm.tasks.folder import check_folder
from swarm.text import listed
from swarm.trace.format import Trace, TraceMessage, TraceTurn
from swarm.trace.read import load_trace
from swarm.trace.structure import (
    SYSTEM_ROLES,
    Prompt,
    first_attempts,
    new_lengths,
    pause,
    shared_links,
    whole_prompts,
)

OPENING_TOKENS = 32
"""At most, of salt and ticket, which are put before texts as they were said."""
CHECKED = 8
"""Made-up prompts that are counted as a whole, to be sure."""


@lru_cache(maxsize=1)
def trace_of(settings: TraceSettings) -> Trace:
    """Raises UsageError for a file that cannot be read as a trace."""
    return load_trace(Path(settings.path), settings.format)


def replayable(turns: Sequence[TraceTurn]) -> list[Prompt]:
    """A session's turns that asked something, and had a reply whose length is known, or can be."""
    return [
        prompt
        for prompt in whole_prompts(turns)
        if prompt.turn.error is None
        and (prompt.turn.completion_tokens or prompt.turn.reply is not None)
        and (prompt.messages or prompt.turn.blocks)
    ]


def lengths(prompt: Prompt) -> tuple[int, int]:
    """Tokens of prompt and reply as far as the trace knows them, else of 4 bytes each."""
    turn, reply = prompt.turn, prompt.turn.reply
    parts = [_tokens(message) for message in prompt.messages]
    schemas = (prompt.tools.bytes or 0) / BYTES_PER_TOKEN if prompt.tools else 0
    written = (reply.tokens or (reply.bytes or 0) / BYTES_PER_TOKEN) if reply else 0
    return turn.prompt_tokens or max(1, round(sum(parts) + schemas)), turn.completion_tokens or max(1, round(written))


def _tokens(message: TraceMessage) -> float:
    return message.tokens if message.tokens is not None else (message.bytes or 0) / BYTES_PER_TOKEN


def tasks_of_trace(settings: TraceSettings, context: int) -> list[Task]:
    """The sessions that begin within the context; a sub-agent's is part of its parent's. UsageError if none does."""
    if settings.workspace:
        if not Path(settings.workspace).is_dir():
            raise UsageError(f"agents.trace.workspace: {settings.workspace} is no directory")
        check_folder(Path(settings.workspace))
    trace = trace_of(settings)
    tasks, shortest = [], 0
    for name, turns in trace.sessions().items():
        prompts = replayable(turns)
        if turns[0].parent is None and not turns[0].side and prompts:
            needed = sum(lengths(prompts[0]))
            shortest = min(shortest or needed, needed)
            if needed <= context:
                tasks.append(session_task(name, settings.workspace))
    if not tasks and shortest:
        raise UsageError(
            f"agents.context: {context} tokens, but the shortest first turn in {settings.path} takes about {shortest}; "
            "raise `context`"
        )
    if not tasks:
        raise UsageError(f"{settings.path}: no session in it has a turn that can be replayed")
    return tasks


def mean_of_trace(settings: TraceSettings, context: int, think_s: float) -> tuple[float, float, float, float]:
    """Means over its turns that fit: tokens of prompt and reply, seconds after each, and turns per session."""
    trace, tasks = trace_of(settings), tasks_of_trace(settings, context)
    sizes: list[tuple[int, int]] = []
    pauses: list[float] = []
    for turns in trace.sessions().values():
        prompts = replayable(turns)
        sizes += [size for size in map(lengths, prompts) if sum(size) <= context]
        firsts = first_attempts(turns)
        for one, other in pairwise(prompts):
            planned = planned_ns(pause(one.turn, firsts[other.turn.number]), settings.think)
            pauses.append(think_s if planned is None else planned / 1e9)
    prompt, reply = (fmean(column) for column in zip(*sizes, strict=True))
    return prompt, reply, sum(pauses) / len(sizes), len(sizes) / len(tasks)


def outlook(settings: TraceSettings, context: int) -> Iterator[str]:
    """Where a replay will differ from the recording, and gaps in the trace: as far as the trace alone tells."""
    trace = trace_of(settings)
    sessions = trace.sessions()
    yield f"{settings.path}: {len(sessions)} sessions, {len(trace.turns)} turns"
    yield from trace.header.notes
    yield from _cut_off(
        [[sum(lengths(prompt)) for prompt in replayable(turns)] for turns in sessions.values()], context
    )


@dataclass(frozen=True)
class Prepared:
    replay: Replay
    notes: tuple[str, ...]
    """Differences from the recording, and facts that it lacks: a sentence each."""


async def prepare(settings: TraceSettings, context: int, tokenizer: Tokenizer) -> Prepared:
    """All sessions, made for the target of `tokenizer`. Raises BackendError where that cannot count, and UsageError
    where its tokens are so many more than the trace's that a session does not fit any more.
    """
    words = await one_token_words(tokenizer)
    making = _Making(trace_of(settings), settings, tokenizer, words[0])
    sessions = {name: await making.session(name) for name in making.prompts}
    replay = Replay(_fitting(sessions, context), words)
    for task in tasks_of_trace(settings, context):
        if task.variant not in replay.sessions:
            raise UsageError(
                f"agents.context: {context} tokens, but the first turn of session {task.variant} takes "
                f"{_needs(sessions[task.variant][0])} as the target counts; raise `context`, or leave the session out "
                "with `swarm trace cut`"
            )
    needed = [[_needs(turn) for turn in turns] for turns in sessions.values()]
    notes = [*making.trace.header.notes, *making.notes(), *_cut_off(needed, context)]
    return Prepared(replay, (*notes, *await checked(replay, tokenizer)))


class _Making:
    """Makes the turns of all sessions."""

    def __init__(self, trace: Trace, settings: TraceSettings, tokenizer: Tokenizer, word: str) -> None:
        """`word`: one of one token."""
        self.trace = trace
        self._settings = settings
        self._tokenizer = tokenizer
        self._word = word
        sessions = trace.sessions()
        self.prompts = {name: replayable(turns) for name, turns in sessions.items()}
        self._firsts = {name: first_attempts(turns) for name, turns in sessions.items()}
        self._left_out = len(trace.turns) - sum(map(len, self.prompts.values()))
        self._timing = Timing(trace, settings)
        self._shared = shared_links(trace)
        self._words: dict[str, int] = {}
        """Link -> the length of the text that is made up for it."""
        self._skeletons: dict[bytes, int] = {}
        self._off: list[int] = []
        """Tokens that prompts have too many, where no text could be made short enough."""

    async def session(self, name: str) -> tuple[ReplayTurn, ...]:
        prompts = self.prompts[name]
        said = all(prompt.turn.blocks is None and all(map(_is_said, prompt.messages)) for prompt in prompts)
        sizes = await self._sizes(prompts) if said else []
        skeleton: list[dict[str, Any]] = []
        turns = []
        waits = [self._timing.wait(self._step(one.turn, other.turn)) for one, other in pairwise(prompts)]
        for at, prompt in enumerate(prompts):
            before = prompts[at - 1] if at else None
            kept = _alike(before, prompt)
            if said:
                tokens, added = sizes[at], self._as_said(prompt, kept)
            else:
                _lay_out(skeleton, prompt, before, kept, self._word)
                tokens, added = await self._made_up(prompt, kept, skeleton)
            turns.append(
                ReplayTurn(
                    kept=kept,
                    added=added,
                    prompt_tokens=tokens,
                    reply_tokens=await self._reply_tokens(prompt),
                    tools=(prompt.tools.content or []) if said and prompt.tools else [],
                    think_ns=waits[at - 1].think_ns if at else None,
                    calls=waits[at].calls if at < len(waits) else (),
                    awaits=waits[at - 1].awaits if at else (),
                    beside=self._timing.beside(prompt.turn),
                )
            )
        return tuple(turns)

    def _step(self, before: TraceTurn, following: TraceTurn) -> Step:
        return Step(before, self._firsts[before.session][following.number], following)

    def _as_said(self, prompt: Prompt, kept: int) -> tuple[Line, ...]:
        """Messages as they were said; a system message that the log left out is made up."""
        own = next((at for at, link in enumerate(prompt.chain) if link not in self._shared), None)
        return tuple(
            Line(message.content, own=at == own)
            if message.content is not None
            else Line({"role": message.role, "content": self._word}, (Part(link, message.tokens or 1, shared=True),))
            for at, (message, link) in enumerate(zip(prompt.messages, prompt.chain, strict=True))
            if at >= kept
        )

    async def _sizes(self, prompts: list[Prompt]) -> list[int]:
        """Tokens of prompts as they were said: the last one is counted, the others are in proportion to their bytes."""
        if not prompts or not self._tokenizer.exact:
            return [lengths(prompt)[0] + OPENING_TOKENS for prompt in prompts]
        texts = [
            sum(message.bytes or 0 for message in prompt.messages) + ((prompt.tools.bytes or 0) if prompt.tools else 0)
            for prompt in prompts
        ]
        last = prompts[-1]
        tools = (last.tools.content or []) if last.tools else []
        counted = await self._tokenizer.count([said.content for said in last.messages if said.content], tools)
        made_up = [sum(said.tokens or 0 for said in prompt.messages if said.content is None) for prompt in prompts]
        return [
            max(1, round(counted * text / max(1, texts[-1]))) + unsaid + OPENING_TOKENS
            for text, unsaid in zip(texts, made_up, strict=True)
        ]

    async def _made_up(self, prompt: Prompt, kept: int, skeleton: list[dict[str, Any]]) -> tuple[int, tuple[Line, ...]]:
        """Length of the prompt in tokens, and its new messages."""
        base = await self._count(skeleton) - len(skeleton)
        if prompt.turn.blocks is not None:
            words = max(1, (prompt.turn.prompt_tokens or 1) - base)
            made = (Line(skeleton[0], tuple(self._blocks(prompt, words))),)
            self._off.append(base + words - (prompt.turn.prompt_tokens or 1))
            return base + words, made
        self._fit(prompt, base)
        sizes = [self._words[link] for link in prompt.chain]
        tokens = base + sum(sizes)
        if prompt.turn.prompt_tokens is not None:
            self._off.append(tokens - prompt.turn.prompt_tokens)
        lines = [
            Line(message, (Part(link, words, link in self._shared),))
            for message, link, words in zip(skeleton, prompt.chain, sizes, strict=True)
        ]
        return tokens, tuple(lines[kept:])

    def _blocks(self, prompt: Prompt, words: int) -> Iterator[Part]:
        each = self.trace.header.block_tokens or words
        for number, link in enumerate(prompt.chain):
            last = number == len(prompt.chain) - 1
            size = words if last else min(each, words)
            words -= size
            yield Part(link, size, link in self._shared)

    def _fit(self, prompt: Prompt, base: int) -> None:
        """Sizes of the texts that are new: at least a word each; the last makes the prompt as long as it was."""
        new = new_lengths(prompt, self._words, base)
        self._words |= {prompt.chain[at]: max(1, int(tokens)) for at, tokens in new.items()}
        if new and prompt.turn.prompt_tokens is not None:
            last = prompt.chain[max(new)]
            missing = prompt.turn.prompt_tokens - base - sum(self._words[link] for link in prompt.chain)
            self._words[last] = max(1, self._words[last] + missing)

    async def _count(self, skeleton: list[dict[str, Any]]) -> int:
        key = msgspec.json.encode(skeleton)
        if key not in self._skeletons:
            self._skeletons[key] = await self._tokenizer.count(skeleton)
        return self._skeletons[key]

    async def _reply_tokens(self, prompt: Prompt) -> int:
        """Recorded, or what the target's tokenizer makes of the reply's text, or an estimate."""
        reply = prompt.turn.reply
        if prompt.turn.completion_tokens or reply is None or reply.content is None or not self._tokenizer.exact:
            return lengths(prompt)[1]
        asked = {"role": "user", "content": self._word}
        said = await self._tokenizer.count([asked, reply.content])
        return max(1, said - await self._count([asked, {"role": "assistant", "content": ""}]))

    def notes(self) -> Iterator[str]:
        if never := self._timing.never_started:
            yield f"{never} sub-agents never start: their parents' turns are left out, or the last of their sessions"
        if self._left_out:
            yield f"{self._left_out} turns failed when they were recorded, or had no reply; they are left out"
        if not self._tokenizer.exact:
            yield "the target has no /tokenize: the lengths of prompts are estimates from what it counts (usage)"
        if wrong := [off for off in self._off if off]:
            most = max(map(abs, wrong))
            yield f"{len(wrong)} of {len(self._off)} prompts are off their recorded length, by {most} tokens at most"
        if unstreamed := sum(prompt.turn.streamed is False for each in self.prompts.values() for prompt in each):
            yield (
                f"{unstreamed} replies were not streamed when they were recorded; they are here: the server's work is "
                "the same, and times within a reply are those of a stream"
            )
        if self._timing.waited:
            calls = listed(sorted(self._timing.waited))
            yield f"calls of {calls} are waited for: swarm has no such tools, or the trace not their arguments"


def _is_said(message: TraceMessage) -> bool:
    """Whether a message is there as it was said, or is a system message of known length that a log leaves out."""
    return message.content is not None or (message.role in SYSTEM_ROLES and bool(message.tokens) and not message.bytes)


def _alike(before: Prompt | None, prompt: Prompt) -> int:
    """Leading messages that two prompts of a session share; a prompt of blocks is one message, and always new."""
    if before is None or prompt.turn.blocks is not None:
        return 0
    pairs = enumerate(zip(before.chain, prompt.chain, strict=False))
    return next((at for at, (old, new) in pairs if old != new), min(len(before.chain), len(prompt.chain)))


def _lay_out(skeleton: list[dict[str, Any]], prompt: Prompt, before: Prompt | None, kept: int, word: str) -> None:
    """Puts the prompt's new messages into the skeleton, a `word` each; results go behind their calls by their ids."""
    del skeleton[kept:]
    if prompt.turn.blocks is not None:
        skeleton.append({"role": "user", "content": word})
        return
    calls = before.turn.reply.calls if before and before.turn.reply else ()
    open_ids: list[str] = []
    for message in prompt.messages[kept:]:
        role = message.role if message.role in ("system", "assistant", "tool") else "user"
        line: dict[str, Any] = {"role": role, "content": word}
        if role == "assistant" and calls and before:
            open_ids = [f"call_{before.turn.number}_{at}" for at in range(len(calls))]
            line["tool_calls"] = [
                {"id": identity, "type": "function", "function": {"name": call.name or "unnamed", "arguments": "{}"}}
                for identity, call in zip(open_ids, calls, strict=True)
            ]
            calls = ()
        elif role == "tool":
            line |= {"tool_call_id": open_ids.pop(0)} if open_ids else {"role": "user"}
        skeleton.append(line)


def _fitting(sessions: dict[str, tuple[ReplayTurn, ...]], context: int) -> dict[str, tuple[ReplayTurn, ...]]:
    """Without the sub-agents that cannot begin within the context."""
    begins = {name for name, turns in sessions.items() if turns and _needs(turns[0]) <= context}
    return {
        name: tuple(
            replace(turn, calls=tuple(replace(call, sub_agents=_among(call, begins)) for call in turn.calls))
            for turn in turns
        )
        for name, turns in sessions.items()
        if name in begins
    }


def _among(call: Call, names: set[str]) -> tuple[SubAgent, ...]:
    return tuple(sub for sub in call.sub_agents if sub.job.task.variant in names)


def _needs(turn: ReplayTurn) -> int:
    return turn.prompt_tokens + turn.reply_tokens


def _cut_off(sessions: Sequence[Sequence[int]], context: int) -> Iterator[str]:
    """`sessions`: the tokens that each turn of each session needs."""
    fits = [[needed <= context for needed in turns] for turns in sessions if turns]
    never, some = sum(not fit[0] for fit in fits), sum(fit[0] and not all(fit) for fit in fits)
    if some:
        yield f"{some} of {len(fits)} sessions outgrow agents.context ({context} tokens), and end there (context_limit)"
    if never:
        yield f"{never} of {len(fits)} sessions do not begin within agents.context ({context} tokens), and are left out"


async def checked(replay: Replay, tokenizer: Tokenizer) -> list[str]:
    """Counts the last made-up prompts of a few sessions as a whole: words may not add up in every vocabulary."""
    checked = [turns for turns in replay.sessions.values() if any(line.made_up for line in turns[-1].added)]
    off = []
    for turns in checked[:CHECKED] if tokenizer.exact else ():
        messages: list[dict[str, Any]] = []
        for turn in turns:
            del messages[turn.kept :]
            messages += [made_up(line, replay.words, "", "") for line in turn.added]
        off.append(abs(await tokenizer.count(messages) - turns[-1].prompt_tokens))
    if any(off):
        return [f"{len(off)} made-up prompts were counted as a whole: they are up to {max(off)} tokens off"]
    return []

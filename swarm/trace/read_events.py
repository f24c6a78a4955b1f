"""A run's `events.jsonl` as a trace: each job is a session, each turn's last attempt its completion.

Contents are there where `record.content` was on. Where it was off, the first prompts of a stage share what the server
said was cached of them at most, and later prompts of a job go on from the one before.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from swarm.recording.observations import is_complete
from swarm.recording.records import AnyRecord, Attempt, Content, Tool, Turn
from swarm.recording.rotation import parts_of
from swarm.trace.format import (
    Keys,
    Parent,
    Trace,
    TraceCall,
    TraceHeader,
    TraceMessage,
    TraceReply,
    TraceTools,
    TraceTurn,
    calls_of,
    kept,
    message_of,
    read_lines,
    text_bytes,
    tools_of,
)

_Stage = tuple[str, int, int]
_Place = tuple[str | None, int | None, str]
"""Place of a conversation: its job, its agent, and the job's variant; sub-agents are part of their agent's job."""


@dataclass(frozen=True)
class _Completion:
    attempt: Attempt
    tools: list[Tool]
    prompt: tuple[TraceMessage, ...] | None
    """None: contents were not recorded."""
    said: Content | None


@dataclass
class _Job:
    """A conversation's turns so far, as the records tell them."""

    name: str
    stage: _Stage
    turns: list[_Completion] = field(default_factory=list)
    parent: Parent | None = None
    """The call that started it, of a sub-agent; None: no sub-agent."""


def read_events(path: Path) -> Trace:
    """A damaged line, and a torn last one, is left out, and said. Raises UsageError for a file that cannot be read."""
    keys, notes = Keys(), dict[str, None]()
    found = _Conversations(keys, notes)
    for record in _records(path, notes):
        found.add(record)
    found.bind()
    jobs = list(found.jobs.values())
    content = all(turn.prompt is not None for job in jobs for turn in job.turns)
    if not content:
        notes["it has no contents (record.content was off): prompts are made up, with the recorded lengths"] = None
        notes["it does not say whether replies came back as they were written: they are taken for new text"] = None
        notes["what first prompts share is told by the cached tokens of the server, in whole blocks"] = None
    shared = _shared(jobs)
    told = (_said(job, found.schemas, keys) if content else _counted(job, keys, shared) for job in jobs)
    turns = sorted((turn for each in told for turn in each), key=lambda turn: turn.end_ns or 0)
    return Trace(TraceHeader(source="events", content=content, notes=tuple(notes)), tuple(turns))


class _Conversations:
    """Those of a run, as its records come in: what belongs to a turn comes before it."""

    def __init__(self, keys: Keys, notes: dict[str, None]) -> None:
        self.jobs: dict[_Place, _Job] = {}
        self.schemas: dict[str, TraceTools] = {}
        """By their digest."""
        self._keys = keys
        self._notes = notes
        self._begun: Counter[tuple[_Stage, int | None]] = Counter()
        self._attempts: dict[str | None, list[Attempt]] = {}
        self._tools: dict[str | None, list[Tool]] = {}
        self._said: dict[str | None, Content] = {}
        self._prompts: dict[_Place, list[TraceMessage]] = {}
        self._mains: dict[tuple[str | None, int | None], _Job] = {}
        """By job and agent, those of no sub-agents."""
        self._parts: list[tuple[tuple[str | None, int | None], _Job]] = []
        """Those of sub-agents, and whose they are."""

    def add(self, record: AnyRecord) -> None:
        match record:
            case Attempt():
                self._attempts.setdefault(record.parent, []).append(record)
            case Content():
                self._said[record.parent] = record
                if record.schemas is not None:
                    self.schemas[record.tools] = tools_of(record.schemas, self._keys)
            case Tool():
                self._tools.setdefault(record.parent, []).append(record)
            case Turn():
                tools = self._tools.pop(record.id, [])
                if attempts := self._attempts.pop(record.id, []):
                    self._add_turn(record, attempts, tools)

    def _add_turn(self, turn: Turn, attempts: list[Attempt], tools: list[Tool]) -> None:
        last = attempts[-1]
        place = turn.parent, turn.agent, last.variant
        prompt, content = self._prompts.setdefault(place, []), None
        for attempt in attempts:  # a retry tells only what is new since the attempt before
            if content := self._said.pop(attempt.id, None):
                prompt[content.kept :] = [message_of(message, self._keys) for message in content.messages]
        if not is_complete(last) or last.completion_tokens is None:
            self._notes["turns that failed, or were cut off at a stage's end, are left out"] = None
            return
        if place not in self.jobs:
            self.jobs[place] = self._begin(turn, last)
        self.jobs[place].turns.append(_Completion(last, tools, tuple(prompt) if content else None, content))

    def _begin(self, turn: Turn, first: Attempt) -> _Job:
        stage = turn.target, turn.agents, turn.trial
        self._begun[stage, turn.agent] += 1
        name = f"{turn.target}@{turn.agents}.{turn.trial}/{turn.agent}.{self._begun[stage, turn.agent]}"
        job = _Job(f"{name}:{first.task}/{first.variant}"[:200], stage)
        whose = turn.parent, turn.owner
        if turn.agent == turn.owner:
            self._mains[whose] = job
        else:
            self._parts.append((whose, job))
        return job

    def bind(self) -> None:
        """Tells sub-agents their parents: the last turn of their agent whose reply was there when they began."""
        for whose, job in self._parts:
            main, began = self._mains.get(whose), job.turns[0].attempt.t_ns
            if main and (before := sum(turn.attempt.end_ns <= began for turn in main.turns)):
                job.parent = Parent(session=main.name, turn=before)


def _records(path: Path, notes: dict[str, None]) -> Iterator[AnyRecord]:
    decoder: msgspec.json.Decoder[AnyRecord] = msgspec.json.Decoder(AnyRecord)
    for part in parts_of(path) or [path]:
        for number, line in read_lines(part):
            try:
                yield decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                if line.endswith(b"\n"):
                    notes[f"the damaged line {part.name}:{number} is left out"] = None
                else:
                    notes["its last line is torn, as the run broke off; it is left out"] = None


def _shared(jobs: list[_Job]) -> dict[_Stage, int]:
    """By stage: the most tokens that the first prompt of a job found cached."""
    most: dict[_Stage, int] = {}
    for job in jobs:
        most[job.stage] = max(most.get(job.stage, 0), job.turns[0].attempt.cached_tokens or 0)
    return most


def _counted(job: _Job, keys: Keys, shared: dict[_Stage, int]) -> Iterator[TraceTurn]:
    """A job's turns by their counts alone."""
    system = TraceMessage(role="system", key=keys.of(["system", job.stage]), tokens=shared[job.stage])
    messages = 0
    tokens_before = 0
    for number, turn in enumerate(job.turns, 1):
        tokens = turn.attempt.prompt_tokens or 0
        kept, added = messages, [] if number == 1 else _history(job, number - 1, keys)
        if number == 1 or tokens < tokens_before:  # or the context was compacted
            has_system = int(0 < shared[job.stage] < tokens)
            opening = TraceMessage(role="user", key=keys.of([job.name, "opening", number]))
            kept = has_system if number > 1 else 0
            added = [*[system][: has_system - kept], opening]
        messages, tokens_before = kept + len(added), tokens
        reply = TraceReply(
            key=keys.of([job.name, "written", number]),  # what it became in the history is not known
            tokens=turn.attempt.completion_tokens,
            calls=_calls(turn),
        )
        yield _turn(job, number, kept, added, reply)


def _history(job: _Job, number: int, keys: Keys) -> list[TraceMessage]:
    """The messages that turn `number` added to the history: the reply and the results of its calls."""
    results = [
        TraceMessage(role="tool", key=keys.of([job.name, "result", number, at]), bytes=tool.result_bytes)
        for at, tool in enumerate(job.turns[number - 1].tools)
    ]
    return [TraceMessage(role="assistant", key=keys.of([job.name, "reply", number])), *results]


def _said(job: _Job, schemas: dict[str, TraceTools], keys: Keys) -> Iterator[TraceTurn]:
    """A job's turns with their contents."""
    before: tuple[TraceMessage, ...] = ()
    offered: TraceTools | None = None
    for number, turn in enumerate(job.turns, 1):
        assert turn.said is not None
        assert turn.prompt is not None
        same, tools = kept(before, turn.prompt), schemas.get(turn.said.tools)
        follows = job.turns[number].prompt if number < len(job.turns) else None
        reply = _reply(turn, follows[len(turn.prompt)] if follows and len(follows) > len(turn.prompt) else None, keys)
        yield _turn(job, number, same, turn.prompt[same:], reply, None if tools == offered else tools)
        before, offered = turn.prompt, tools


def _reply(turn: _Completion, history: TraceMessage | None, keys: Keys) -> TraceReply:
    """`history`: what stands in its place in the next prompt, and tells its calls; None: there is no next prompt."""
    assert turn.said is not None
    content: dict[str, Any] = {"role": "assistant", "content": turn.said.content}
    became = history.content if history and history.content else {}
    if became.get("role") == "assistant" and became.get("content") == turn.said.content:
        content = became  # and not what a script puts there
    return TraceReply(
        key=history.key if history and content is became else keys.of(content),
        bytes=text_bytes(content),
        tokens=turn.attempt.completion_tokens,
        reasoning_bytes=len(turn.said.reasoning.encode()),
        calls=calls_of(became) or _calls(turn),
        content=content,
    )


def _calls(turn: _Completion) -> tuple[TraceCall, ...]:
    return tuple(TraceCall(id=tool.id, name=tool.name) for tool in turn.tools)


def _turn(
    job: _Job, number: int, same: int, added: Sequence[TraceMessage], reply: TraceReply, tools: TraceTools | None = None
) -> TraceTurn:
    attempt = job.turns[number - 1].attempt
    return TraceTurn(
        session=job.name,
        number=number,
        parent=job.parent if number == 1 else None,
        t_ns=attempt.t_ns,
        first_token_ns=attempt.first_token_ns,
        end_ns=attempt.end_ns,
        kept=same,
        added=tuple(added),
        tools=tools,
        reply=reply,
        prompt_tokens=attempt.prompt_tokens,
        cached_tokens=attempt.cached_tokens,
        completion_tokens=attempt.completion_tokens,
        finish_reason=attempt.finish_reason,
    )

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

from swarm.errors import UsageError
from swarm.recording.observations import is_complete
from swarm.recording.parts import parts_of
from swarm.recording.records import AnyRecord, Attempt, Content, Tool, Turn
from swarm.trace.format import (
    Keys,
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


@dataclass(frozen=True)
class _Completion:
    attempt: Attempt
    tools: list[Tool]
    prompt: tuple[TraceMessage, ...] | None
    """None: contents were not recorded."""
    said: Content | None


@dataclass
class _Job:
    """A job's turns so far, as the records tell them."""

    name: str
    stage: _Stage
    turns: list[_Completion] = field(default_factory=list)


def read_events(path: Path) -> Trace:
    """Raises UsageError with the number of a damaged line; a torn last one is left out, and said."""
    notes: dict[str, None] = {}
    keys = Keys()
    schemas: dict[str, TraceTools] = {}
    jobs = _jobs(path, keys, schemas, notes)
    content = all(turn.prompt is not None for job in jobs for turn in job.turns)
    if not content:
        notes["it has no contents (record.content was off): prompts are made up, with the recorded lengths"] = None
        notes["it does not say whether replies came back as they were written: they are taken for new text"] = None
        notes["what first prompts share is told by the cached tokens of the server, in whole blocks"] = None
    shared = _shared(jobs)
    turns = [turn for job in jobs for turn in (_said(job, schemas, keys) if content else _counted(job, keys, shared))]
    turns.sort(key=lambda turn: turn.end_ns or 0)
    return Trace(TraceHeader(source="events", content=content, notes=tuple(notes)), tuple(turns))


def _jobs(path: Path, keys: Keys, schemas: dict[str, TraceTools], notes: dict[str, None]) -> list[_Job]:
    """All jobs with a whole turn. Adds to `schemas` by digest, and to `notes`."""
    jobs: dict[str, _Job] = {}
    begun: Counter[tuple[_Stage, int | None]] = Counter()
    attempts: dict[str | None, list[Attempt]] = {}
    tools: dict[str | None, list[Tool]] = {}
    said: dict[str | None, Content] = {}
    prompts: dict[str, list[TraceMessage]] = {}
    for record in _records(path, notes):
        match record:
            case Attempt():
                attempts.setdefault(record.parent, []).append(record)
            case Content():
                said[record.parent] = record
                if record.schemas is not None:
                    schemas[record.tools] = tools_of(record.schemas, keys)
            case Tool():
                tools.setdefault(record.parent, []).append(record)
            case Turn(parent=str(job_id)):
                tried, prompt = attempts.pop(record.id, []), prompts.setdefault(job_id, [])
                content = None
                for attempt in tried:  # a retry tells only what is new since the attempt before
                    if content := said.pop(attempt.id, None):
                        prompt[content.kept :] = [message_of(message, keys) for message in content.messages]
                called = tools.pop(record.id, [])
                if not tried or not is_complete(tried[-1]) or tried[-1].completion_tokens is None:
                    notes["turns that failed, or were cut off at a stage's end, are left out"] = None
                    continue
                if job_id not in jobs:
                    stage = record.target, record.agents, record.trial
                    begun[stage, record.agent] += 1
                    place = (
                        f"{record.target}@{record.agents}.{record.trial}/{record.agent}.{begun[stage, record.agent]}"
                    )
                    jobs[job_id] = _Job(f"{place}:{tried[-1].task}/{tried[-1].variant}"[:200], stage)
                whole = tuple(prompt) if content else None
                jobs[job_id].turns.append(_Completion(tried[-1], called, whole, content))
    return list(jobs.values())


def _records(path: Path, notes: dict[str, None]) -> Iterator[AnyRecord]:
    decoder: msgspec.json.Decoder[AnyRecord] = msgspec.json.Decoder(AnyRecord)
    for part in parts_of(path) or [path]:
        for number, line in read_lines(part):
            try:
                yield decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                if line.endswith(b"\n"):
                    raise UsageError(f"{part}:{number}: the line is damaged: {error}") from None
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
    """What turn `number` put into the history: the reply and the results of its calls."""
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

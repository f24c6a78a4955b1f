"""The sessions of a scenario, made ready for one target: how long each made-up text must be, by its own tokenizer.

As in a replay: a skeleton of each prompt (one word a message) is counted, and what it lacks is filled up with words of
one token each. So a prompt has the planned tokens on every target, whatever its chat template puts around messages.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from swarm.agents.driver import Call, Job, SubAgent
from swarm.agents.session import Session, SessionJob
from swarm.agents.trace import NOWHERE, Line, Part, Replay, ReplayTurn
from swarm.client.target.tokenizer import Tokenizer, one_token_words
from swarm.engine.workloads.replay import Prepared, checked
from swarm.errors import ScenarioError
from swarm.scenario.schema import Scenario, TaskFolder
from swarm.sessions.plan import Piece, PlannedSession, Step, everything, plan
from swarm.tasks import Task, load_tasks

KIND = "session"
"""The kind of all tasks that are jobs of sessions."""


def planned(scenario: Scenario) -> tuple[PlannedSession, ...]:
    """Raises ScenarioError where the context is too short for the sessions."""
    shape = scenario.agents.shape
    assert shape
    try:
        return plan(shape, scenario.agents.seed)
    except ValueError as error:
        raise ScenarioError(f"agents.context: {error}; raise `context` or lower `system_tokens`") from None


def real_tasks(scenario: Scenario) -> tuple[Task, ...]:
    """The tasks whose repositories the real calls of sessions work on; none where all calls are only waited for."""
    assert scenario.agents.session
    if not scenario.agents.session.real_tools:
        return ()
    return tuple(load_tasks(Path(scenario.tasks.path) if isinstance(scenario.tasks, TaskFolder) else scenario.tasks))


def sessions_of(sessions: tuple[PlannedSession, ...], real: Sequence[Task] = ()) -> tuple[Session, ...]:
    """As agents work through them; `real`: session i works on the repository of the i-th, round and round."""
    return tuple(
        tuple(
            SessionJob(
                _task(f"{session.name}.{number}", real[at % len(real)].repository if real else NOWHERE),
                job.behind - job.first,
                round(job.pause_s * 1e9),
            )
            for number, job in enumerate(session.jobs, 1)
        )
        for at, session in enumerate(sessions)
    )


@lru_cache(maxsize=1 << 14)
def _task(variant: str, repository: Path = NOWHERE) -> Task:
    return Task(KIND, variant, variant, "", repository, (), ())


async def prepare_sessions(
    sessions: tuple[PlannedSession, ...], tokenizer: Tokenizer, real: Sequence[Task] = (), share: float = 0.0
) -> Prepared:
    """All of them, for the target of `tokenizer`. Raises BackendError where that cannot count.

    `share` of the calls are carried out: the calls of the scripts of the tasks `real`, from the first on in every job.
    """
    words = await one_token_words(tokenizer)
    making = _Making(tokenizer, words[0])
    turns = {each.name: await making.session(each) for each in everything(sessions)}
    if real and share:
        for at, session in enumerate(sessions):
            turns[session.name] = tuple(_carried_out(session, turns[session.name], real[at % len(real)], share))
    jobs = {
        f"{session.name}.{number}": (session.name, job.first, job.behind)
        for session in sessions
        for number, job in enumerate(session.jobs, 1)
    }
    replay = Replay(turns, words, jobs)
    return Prepared(replay, (*making.notes(), *await checked(replay, tokenizer)))


class _Making:
    """Turns of sessions with texts of the right lengths."""

    def __init__(self, tokenizer: Tokenizer, word: str) -> None:
        """`word`: one of one token."""
        self._tokenizer = tokenizer
        self._word = word
        self._counted: dict[bytes, int] = {}
        self._off: list[int] = []
        """Tokens that prompts have too many, where no text could be made short enough."""

    async def session(self, session: PlannedSession) -> tuple[ReplayTurn, ...]:
        skeleton: list[dict[str, Any]] = []
        sizes: list[int] = []
        calls: list[str] = []
        turns = []
        for number, step in enumerate(session.steps):
            del skeleton[step.kept :], sizes[step.kept :]
            for piece in step.added:
                _lay(skeleton, calls, piece, self._word)
            base = await self._count(skeleton) - len(skeleton)
            sizes += _words(step, base + sum(sizes))
            tokens = base + sum(sizes)
            self._off.append(tokens - step.prompt_tokens)
            lines = tuple(
                Line(message, (Part(piece.link, size, piece.shared),))
                for message, piece, size in zip(skeleton[step.kept :], step.added, sizes[step.kept :], strict=True)
            )
            turns.append(
                ReplayTurn(
                    kept=step.kept,
                    added=lines,
                    prompt_tokens=tokens,
                    reply_tokens=step.reply_tokens,
                    tools=[],
                    calls=tuple(_calls(step, f"{session.name}_{number}")),
                    awaits=step.awaits,
                    beside=tuple(_sub_agent(name, joins=False) for name in step.beside),
                )
            )
        return tuple(turns)

    async def _count(self, skeleton: list[dict[str, Any]]) -> int:
        """Tokens of a prompt; of one with the same messages in the same order they are the same."""
        shape = msgspec.json.encode([(message["role"], len(message.get("tool_calls", ()))) for message in skeleton])
        if shape not in self._counted:
            self._counted[shape] = await self._tokenizer.count(skeleton)
        return self._counted[shape]

    def notes(self) -> Iterator[str]:
        if not self._tokenizer.exact:
            yield "the target has no /tokenize: the lengths of prompts are estimates from what it counts (usage)"
        if wrong := [off for off in self._off if off]:
            most = max(map(abs, wrong))
            yield f"{len(wrong)} of {len(self._off)} prompts are off their planned length, by {most} tokens at most"


def _lay(skeleton: list[dict[str, Any]], calls: list[str], piece: Piece, word: str) -> None:
    """Puts a message into the skeleton; `calls` are those that have no result yet."""
    message: dict[str, Any] = {"role": piece.role, "content": word}
    if piece.calls:
        calls[:] = [f"call_{len(skeleton)}_{at}" for at in range(len(piece.calls))]
        message["tool_calls"] = [
            {"id": identity, "type": "function", "function": {"name": name, "arguments": "{}"}}
            for identity, name in zip(calls, piece.calls, strict=True)
        ]
    elif piece.role == "tool":
        message["tool_call_id"] = calls.pop(0)
    skeleton.append(message)


def _words(step: Step, tokens: int) -> list[int]:
    """Words for each new message, so that the prompt, which has `tokens` without them, is as long as planned.

    What the chat template puts around them is shared out in proportion, and the last one takes what is left.
    """
    missing, planned = step.prompt_tokens - tokens, sum(piece.tokens for piece in step.added)
    sizes = [max(1, piece.tokens * missing // planned) for piece in step.added]
    sizes[-1] = max(1, sizes[-1] + missing - sum(sizes))
    return sizes


def _calls(step: Step, name: str) -> Iterator[Call]:
    """Their time is that of all together, so they share it; the first one starts the sub-agents, as in a replay."""
    each = round(step.tool_s * 1e9 / max(1, len(step.tools)))
    for at, tool in enumerate(step.tools):
        launches = step.launches if at == 0 else ()
        beside = tuple(_sub_agent(it.session, it.joins) for it in launches)
        yield Call(f"call_{name}_{at}", tool, {}, each, beside)


def _carried_out(
    session: PlannedSession, turns: Sequence[ReplayTurn], task: Task, share: float
) -> Iterator[ReplayTurn]:
    """The turns of a session where a share of the calls does what the script of `task` does, in its order; each job
    begins with its first call, in a new workspace, and stays at its last one where it has more."""
    script = [call for turn in task.turns for call in turn.calls]
    rng = random.Random(f"real:{session.name}")
    for job in session.jobs:
        done = 0
        for turn in turns[job.first : job.behind]:
            calls = list(turn.calls)
            for at, call in enumerate(calls):
                if not call.sub_agents and script and rng.random() < share:
                    mine = script[min(done, len(script) - 1)]
                    calls[at] = replace(call, name=mine.tool, arguments=mine.arguments, real=True)
                    done += 1
            yield replace(turn, calls=tuple(calls))


def _sub_agent(session: str, joins: bool) -> SubAgent:
    return SubAgent(Job(_task(session), ""), 0, joins)


def means(sessions: Sequence[PlannedSession]) -> tuple[float, float, float, float]:
    """Means: tokens of a prompt and a reply, seconds after a step, and steps of a job."""
    steps = [step for session in sessions for step in session.steps]
    jobs = [job for session in sessions for job in session.jobs]
    return (
        sum(step.prompt_tokens for step in steps) / len(steps),
        sum(step.reply_tokens for step in steps) / len(steps),
        (sum(step.tool_s for step in steps) + sum(job.pause_s for job in jobs)) / len(steps),
        len(steps) / len(jobs),
    )

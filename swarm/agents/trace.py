"""Driver `trace`: what was recorded happens again: the same prompts, replies as long as they were, the same pauses.

The history holds what was RECORDED, not what the model writes now, so every prompt is as long as it was (the model's
own tokens are then prefilled again in the next turn, as with scripts). Where the trace has no contents, texts are made
up from the links of the prompts' chains: equal beginnings stay equal, and nothing else is.
"""

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from swarm.agents.driver import Call, Conversation, Job, SubAgent
from swarm.agents.tools import Toolbox, ToolResult
from swarm.client.base import ChatRequest, Observation
from swarm.tasks import Task

NOWHERE = Path("no-workspace")
"""In the place of a repository, where calls are only waited for."""
MARKS = 12
"""Words at the beginning of a text that are its own."""
BOOK = 1 << 17
"""Words of the text that all others are cut out of."""
KIND = "trace"
"""The kind of all tasks that are sessions of a trace."""


@dataclass(frozen=True, slots=True)
class Part:
    """So many words that are made up from `link`, and from the job's ticket unless agents share them."""

    link: str
    words: int
    shared: bool


@dataclass(frozen=True, slots=True)
class Line:
    """A message to send: as it was said, or with a content that is made up."""

    message: dict[str, Any]
    made_up: tuple[Part, ...] = ()
    own: bool = False
    """Whether it is the first message, as it was said, that other jobs do not share."""


@dataclass(frozen=True, slots=True)
class ReplayTurn:
    """One turn of a session, as it is to be sent to one target."""

    kept: int
    added: tuple[Line, ...]
    prompt_tokens: int
    """Expected."""
    reply_tokens: int
    tools: list[dict[str, Any]]
    think_ns: int | None = None
    """Before it is sent; None: as the scenario says."""
    calls: tuple[Call, ...] = ()
    """That follow its reply; the jobs of their sub-agents have no ticket yet."""
    awaits: tuple[str, ...] = ()
    """Sessions of sub-agents in the background whose results are in this prompt; `think_ns` counts from their end."""
    beside: tuple[SubAgent, ...] = ()
    """Side calls that start with it; their jobs have no ticket yet either."""


@dataclass(frozen=True)
class Replay:
    """Sessions, prepared for one target. Picklable."""

    sessions: Mapping[str, tuple[ReplayTurn, ...]]
    words: tuple[str, ...]
    """To make texts of; each is one token, and all are equally long."""
    jobs: Mapping[str, tuple[str, int, int]] = field(default_factory=dict)
    """Where sessions have several jobs, by their names: the session, and the job's turns, from the first to the one
    behind the last. A session that no job names is a job by itself."""

    def turns_of(self, job: str) -> tuple[str, int, int]:
        return self.jobs.get(job) or (job, 0, len(self.sessions[job]))


@dataclass(frozen=True)
class TraceDriver:
    """`salt` is the stage's, `context` the most tokens of prompt and reply together."""

    replay: Replay
    salt: str
    context: int
    pinned: bool = True
    temperature: float = 0.7
    sampling_seed: int | None = None
    extra_body: dict[str, Any] | None = None

    def begin(self, job: Job, before: Conversation | None = None) -> "TraceConversation":
        return TraceConversation(self, job, before if isinstance(before, TraceConversation) else None)

    def entering(self, job: Job) -> ChatRequest | None:
        return TraceConversation(self, job).last_request()


class TraceConversation:
    stuck = False

    def __init__(self, driver: TraceDriver, job: Job, before: "TraceConversation | None" = None) -> None:
        self._driver = driver
        self._ticket = job.ticket
        self._session, first, self._behind = driver.replay.turns_of(job.task.variant)
        self._turns = driver.replay.sessions[self._session]
        self._at = first + job.skip
        self._scale = 1.0
        """Prompt tokens as the server counts them, per expected one."""
        self._messages: list[dict[str, Any]] = []
        """Messages of the last request."""
        if before and (before._session, before._ticket, before._at) == (self._session, self._ticket, self._at):
            self._messages, self._scale = before._messages, before._scale
        elif self._at:
            lines: list[Line] = []
            for turn in self._turns[: self._at]:
                lines[turn.kept :] = turn.added
            for line in lines:
                self._messages.append(self._message(line))

    def last_request(self) -> ChatRequest | None:
        return self._ask(self._turns[self._at - 1], 1) if self._at else None

    @property
    def think_ns(self) -> int | None:
        return self._turns[self._at].think_ns

    @property
    def awaits(self) -> tuple[str, ...]:
        return self._turns[self._at].awaits

    @property
    def beside(self) -> tuple[SubAgent, ...]:
        return self._own(self._turns[self._at].beside)

    @property
    def answered(self) -> bool:
        return self._at == self._behind

    def request(self) -> ChatRequest | None:
        driver, turn = self._driver, self._turns[self._at]
        if turn.prompt_tokens * self._scale + turn.reply_tokens > driver.context:
            return None
        del self._messages[turn.kept :]
        for line in turn.added:
            self._messages.append(self._message(line))
        return self._ask(turn, turn.reply_tokens)

    def _ask(self, turn: ReplayTurn, max_tokens: int) -> ChatRequest:
        driver = self._driver
        return ChatRequest(
            messages=list(self._messages),
            tools=turn.tools,
            max_tokens=max_tokens,
            pinned=driver.pinned,
            temperature=driver.temperature,
            seed=driver.sampling_seed,
            tool_choice="auto" if turn.tools else None,
            extra_body=driver.extra_body or {},
        )

    def _message(self, line: Line) -> dict[str, Any]:
        if line.made_up:
            # In the first message alone: prompts of all stages and targets are then the same behind its first words.
            salt = "" if self._messages else self._driver.salt
            return made_up(line, self._driver.replay.words, salt, self._ticket)
        opening = f"Session {self._driver.salt}\n\n" if not self._messages else ""
        opening += f"Ticket {self._ticket}\n\n" if line.own else ""
        return opened(line.message, opening) if opening else line.message

    def accept(self, reply: Observation) -> tuple[Call, ...]:
        turn = self._turns[self._at]
        if reply.prompt_tokens:
            self._scale = reply.prompt_tokens / turn.prompt_tokens
        self._at += 1
        return tuple(
            replace(call, sub_agents=self._own(call.sub_agents)) if call.sub_agents else call for call in turn.calls
        )

    def _own(self, sub_agents: tuple[SubAgent, ...]) -> tuple[SubAgent, ...]:
        """With this job's ticket: they share with it what they shared when they were recorded."""
        return tuple(SubAgent(Job(sub.job.task, self._ticket), sub.after_ns, sub.joins) for sub in sub_agents)

    def add_result(self, call: Call, text: str) -> None:
        """The next prompt holds the result that was recorded."""


def made_up(line: Line, words: tuple[str, ...], salt: str, ticket: str) -> dict[str, Any]:
    """A message with as many words as its parts ask for; equal parts of equal jobs give equal texts."""
    parts = (_text(words, part.words, f"{'' if part.shared else ticket} {part.link}", salt) for part in line.made_up)
    return line.message | {"content": " ".join(parts)}


def _text(words: tuple[str, ...], count: int, key: str, salt: str) -> str:
    """So many words: the first few tell `salt` and `key` from all others, the rest is cut out of one long text at a
    place that is the key's, as a prompt of 200,000 words must take no longer than a fraction of a millisecond."""
    digest = blake2b(f"{salt} {key}".encode(), digest_size=MARKS).digest()
    marks = " ".join(words[byte % len(words)] for byte in digest[:count])
    if count <= MARKS:
        return marks
    book, wide = _book(words), len(words[0]) + 1
    at = int.from_bytes(blake2b(key.encode(), digest_size=4).digest()) % BOOK
    cut = book[at * wide : (at + count - MARKS) * wide]
    while len(cut) < (count - MARKS) * wide:
        cut += book[: (count - MARKS) * wide - len(cut)]
    return f"{marks} {cut[:-1]}"


@lru_cache(maxsize=4)
def _book(words: tuple[str, ...]) -> str:
    draw = random.Random("book").randbytes(BOOK)
    return "".join([f"{words[byte % len(words)]} " for byte in draw])


def opened(message: dict[str, Any], opening: str) -> dict[str, Any]:
    """A message with a text before its own."""
    content = message.get("content")
    if isinstance(content, list):
        return message | {"content": [{"type": "text", "text": opening}, *content]}
    return message | {"content": opening + (content if isinstance(content, str) else "")}


def session_task(session: str, workspace: str | None) -> Task:
    """A session as a task; `workspace` is what its calls work on, where they are carried out."""
    return Task(KIND, session, session, "", Path(workspace) if workspace else NOWHERE, (), ())


class ReplayTools:
    """Waits for calls as long as they took; `toolbox` carries out those without a planned time, and the real ones."""

    def __init__(self, toolbox: Toolbox | None = None) -> None:
        self._toolbox = toolbox

    @asynccontextmanager
    async def open(self, repository: Path) -> AsyncIterator[Any]:
        if self._toolbox is None:
            yield None
            return
        async with self._toolbox.open(repository) as workspace:
            yield workspace

    async def execute(self, call: Call, workspace: Any) -> ToolResult:
        if self._toolbox is None or (call.planned_ns is not None and not call.real):
            return ToolResult(True, "")
        return await self._toolbox.execute(call, workspace)

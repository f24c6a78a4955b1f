"""Sessions drawn from a shape: a pure function of shape, seed and number. Lengths, times and structure; no texts.

A session is a list of steps, each one completion; its jobs are its user messages, each with the steps that answer it.
Lengths hold on every server: a step says how many tokens its prompt has, and which messages that are new in it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

from swarm.sessions.presets import Shape
from swarm.sessions.spread import Draws, Spread

SESSIONS = 16
"""Different sessions that agents work through, each beginning at another one: enough that none repeats in a stage of
minutes, few enough to be counted by the target's tokenizer at its start."""
TOOLS = (("read_file", 0.45), ("search", 0.7), ("run_tests", 0.9), ("edit_file", 1.0))
"""Tools that are called, and the share of the calls that are of them or of one before."""
SUMMARY = 0.05
"""Share of the context that a compaction's summary has."""
INSTRUCTION = 60
"""Tokens of the message that asks for it."""
LAUNCHED = 40
"""Tokens of the answer to a call whose sub-agent runs in the background."""
TITLE = Spread(12, 20, 30, 4)
SIDE_SYSTEM = 300
MOST_STEPS = 2_000
"""The longest session: it ends with the job that reaches it."""
LEAST_MESSAGE = 16
"""Tokens: room for what a chat template puts around a message."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A message of a prompt: `tokens` long, template included; made up from `link`, the same for all agents if
    `shared`. `calls` of an assistant's message name the tools that it calls."""

    role: str
    link: str
    tokens: int
    shared: bool = False
    calls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Launch:
    """A sub-agent that a reply starts: the session that it works through, and whether the reply's call waits for it."""

    session: str
    joins: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One completion. `kept`: leading messages of the prompt before, which stay."""

    kept: int
    added: tuple[Piece, ...]
    prompt_tokens: int
    reply_tokens: int
    tools: tuple[str, ...] = ()
    """Called by its reply."""
    tool_s: float = 0.0
    """Until all of them are done."""
    launches: tuple[Launch, ...] = ()
    awaits: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    """Sessions of side calls that start with it."""


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A user message: the steps `first` to `behind` - 1 of its session, after a pause of the person."""

    first: int
    behind: int
    pause_s: float


@dataclass(frozen=True)
class PlannedSession:
    name: str
    steps: tuple[Step, ...]
    jobs: tuple[PlannedJob, ...] = ()
    """None of a sub-agent's and a side call's: they belong to the session that starts them."""
    parts: "tuple[PlannedSession, ...]" = ()
    """Its sub-agents and side calls."""


@lru_cache(maxsize=4)
def plan(shape: Shape, seed: int, sessions: int = SESSIONS) -> tuple[PlannedSession, ...]:
    """The sessions that all agents of a scenario work through. Raises ValueError where the context is too short."""
    _check(shape)
    common = Draws(f"{seed}")
    return tuple(_Making(shape, seed, number, common).session() for number in range(1, sessions + 1))


def _check(shape: Shape) -> None:
    """Raises ValueError where a session, or a sub-agent, cannot begin within the context."""
    reply, sub = round(shape.reply.max), shape.sub_agents
    first = max(LEAST_MESSAGE, round(shape.prompt.min), summary_tokens(shape) + LEAST_MESSAGE)
    needed = shape.system + first + reply + shape.context - longest_step(shape) + LEAST_MESSAGE
    if needed > shape.context:
        raise ValueError(
            f"a context of {shape.context} tokens is too short for {shape.system} shared ones, a first prompt of "
            f"{first} and replies of up to {reply}: it takes {needed} at least"
        )
    needed = sub.system + round(sub.prompt.max) + reply + LEAST_MESSAGE
    if sub.share and needed > shape.context:
        raise ValueError(
            f"a context of {shape.context} tokens is too short for sub-agents with {sub.system} shared tokens, first "
            f"prompts of up to {sub.prompt.max:.0f} and replies of up to {reply}: it takes {needed} at least"
        )


def summary_tokens(shape: Shape) -> int:
    return max(LEAST_MESSAGE, round(shape.context * SUMMARY)) if shape.compaction else 0


def longest_step(shape: Shape) -> int:
    """The longest prompt and reply of an ordinary step: what a step adds at least still fits then, and a compaction."""
    if not shape.compaction:
        return shape.context
    return shape.context - summary_tokens(shape) - INSTRUCTION - LEAST_MESSAGE * (shape.sub_agents.fan_out + 2)


def everything(sessions: tuple[PlannedSession, ...]) -> Iterator[PlannedSession]:
    """The sessions with their sub-agents and side calls."""
    for session in sessions:
        yield session
        yield from everything(session.parts)


@dataclass
class _History:
    """The conversation as the next prompt holds it."""

    name: str
    pieces: list[Piece] = field(default_factory=list)
    tokens: int = 0
    sent: int = 0
    """Pieces that the last prompt held and that are still there."""
    links: int = 0

    def add(self, role: str, tokens: int, *, calls: tuple[str, ...] = (), shared: str = "") -> None:
        self.links += 1
        self.pieces.append(Piece(role, shared or f"{self.name}:{self.links}", tokens, bool(shared), calls))
        self.tokens += tokens

    def cut(self, kept: int) -> None:
        self.tokens = sum(piece.tokens for piece in self.pieces[:kept])
        del self.pieces[kept:]
        self.sent = min(self.sent, kept)

    def step(self, reply_tokens: int) -> Step:
        """The completion of what is there now."""
        step = Step(self.sent, tuple(self.pieces[self.sent :]), self.tokens, reply_tokens)
        self.sent = len(self.pieces)
        return step


class _Making:
    """One session of a shape, from its seed."""

    def __init__(self, shape: Shape, seed: int, number: int, common: Draws) -> None:
        """`common`: draws the sessions' lengths, over all of them."""
        self._shape = shape
        self._name = f"{number:02d}"
        self._common = common
        self._draws = Draws(f"{seed}:{number}")
        self._summary = summary_tokens(shape)
        self._limit = longest_step(shape)
        self._steps: list[Step] = []
        self._parts: list[PlannedSession] = []
        self._history = _History(self._name)

    def session(self) -> PlannedSession:
        shape, draws, jobs = self._shape, self._draws, list[PlannedJob]()
        self._history.add("system", shape.system, shared="system")
        for number in range(self._common.count("messages", shape.messages)):
            first = len(self._steps)
            if not self._message(first=number == 0):
                break
            whole = self._job()
            jobs.append(PlannedJob(first, len(self._steps), draws.value("pause", shape.pause) if number else 0.0))
            if not whole or len(self._steps) > MOST_STEPS:
                break
        return PlannedSession(self._name, tuple(self._steps), tuple(jobs), tuple(self._parts))

    def _message(self, *, first: bool) -> bool:
        """The person's message; False where there is no room for it and a reply."""
        shape, history = self._shape, self._history
        draws, name, spread = (
            (self._common, "prompt", shape.prompt) if first else (self._draws, "message", shape.message)
        )
        wanted = draws.count(name, spread)
        room = self._limit - history.tokens - self._longest_reply
        if room < LEAST_MESSAGE and not shape.compaction:
            return False
        history.add("user", max(LEAST_MESSAGE, min(wanted, room)))
        return True

    @property
    def _longest_reply(self) -> int:
        return round(self._shape.reply.max)

    @property
    def _room(self) -> int:
        """For messages; where nothing makes room for another reply, without that."""
        return self._limit - self._history.tokens - (0 if self._shape.compaction else self._longest_reply)

    def _reply(self) -> int:
        return self._draws.count("reply", self._shape.reply)

    def _job(self) -> bool:
        """The steps of one user message; False where the context was full before they were done."""
        draws, shape = self._draws, self._shape
        turns = draws.count("turns", shape.turns)
        delegates = turns > 1 and draws.quantile("delegates") < shape.sub_agents.share
        at = min(turns - 2, int(draws.quantile("delegation") * (turns - 1))) if delegates else -1
        beside = self._title() if shape.side_calls else ()
        waiting: tuple[str, ...] = ()
        for turn in range(turns):
            reply = self._fitting_reply()
            if reply is None:
                return False
            more = beside if turn == 0 else ()
            if turn == turns - 1:
                self._answer(reply, beside=more)
            elif turn == at and self._room > self._delegation(reply):
                waiting = self._delegate(reply, more)
            elif not self._work(reply, more):
                return False
        return all(self._wake(name) for name in waiting)

    def _fitting_reply(self) -> int | None:
        """The next reply's length, after a compaction where it would not fit; None: it does not."""
        reply = self._reply()
        if self._history.tokens + reply > self._limit:
            if not self._shape.compaction:
                return None
            self._compact()
        return reply

    def _compact(self) -> None:
        """The summary of all there is, which then replaces it: nothing but the system prompt stays."""
        history = self._history
        history.add("user", INSTRUCTION)
        self._steps.append(history.step(self._summary))
        history.cut(1)
        history.add("user", self._summary + LEAST_MESSAGE)

    def _answer(self, reply: int, beside: tuple[str, ...] = (), awaits: tuple[str, ...] = ()) -> None:
        """A reply to the person, without a call."""
        self._steps.append(replace(self._history.step(reply), beside=beside, awaits=awaits))
        self._history.add("assistant", max(LEAST_MESSAGE, reply))

    def _work(self, reply: int, beside: tuple[str, ...]) -> bool:
        """A reply that calls a tool; False where the context is full: it is then the last one, and calls none."""
        shape, draws, history = self._shape, self._draws, self._history
        growth = draws.count("growth", shape.growth)
        room = self._room - max(LEAST_MESSAGE, reply)
        if room < LEAST_MESSAGE and not shape.compaction:
            self._answer(reply, beside)
            return False
        tool, seconds = self._tool(), draws.value("tools", shape.tools)
        self._steps.append(replace(history.step(reply), tools=(tool,), tool_s=seconds, beside=beside))
        history.add("assistant", max(LEAST_MESSAGE, reply), calls=(tool,))
        history.add("tool", max(LEAST_MESSAGE, min(growth, room)))
        return True

    def _tool(self) -> str:
        quantile = self._draws.quantile("tool")
        return next(name for name, upto in TOOLS if quantile < upto)

    def _delegation(self, reply: int) -> int:
        """The least that a reply to sub-agents and their answers add."""
        return max(LEAST_MESSAGE * self._shape.sub_agents.fan_out, reply) * 2

    def _delegate(self, reply: int, beside: tuple[str, ...]) -> tuple[str, ...]:
        """A reply that sends tasks to sub-agents, all at once; returns those whose results come later."""
        sub, history = self._shape.sub_agents, self._history
        joins = self._draws.quantile("background") >= sub.background
        launches = tuple(Launch(self._sub_agent(), joins) for _ in range(sub.fan_out))
        calls = ("task",) * sub.fan_out
        self._steps.append(replace(history.step(reply), tools=calls, launches=launches, beside=beside))
        history.add("assistant", max(LEAST_MESSAGE * sub.fan_out, reply), calls=calls)
        room = self._room // sub.fan_out
        for _ in launches:
            wanted = self._draws.count("result", sub.result) if joins else LAUNCHED
            history.add("tool", max(LEAST_MESSAGE, min(wanted, room)))
        return () if joins else tuple(launch.session for launch in launches)

    def _wake(self, name: str) -> bool:
        """The result of a sub-agent in the background arrives, as a user message, and is answered. What makes room for
        it comes before: a compaction is not sent a result that may not exist yet."""
        wanted = self._draws.count("result", self._shape.sub_agents.result)
        if self._limit - self._history.tokens - self._longest_reply < LEAST_MESSAGE:
            if not self._shape.compaction:
                return False
            self._compact()
        room = self._limit - self._history.tokens - self._longest_reply
        self._history.add("user", max(LEAST_MESSAGE, min(wanted, room)))
        self._answer(self._reply(), awaits=(name,))
        return True

    def _part(self, kind: str) -> str:
        return f"{self._name}/{kind}{len(self._parts) + 1}"

    def _title(self) -> tuple[str, ...]:
        """A short request beside the first turn, which holds the beginning of the person's message."""
        history = _History(self._part("title"))
        history.add("system", SIDE_SYSTEM, shared="side-system")
        history.add("user", min(500, self._history.pieces[-1].tokens))
        self._parts.append(PlannedSession(history.name, (history.step(self._draws.count("title", TITLE)),)))
        return (history.name,)

    def _sub_agent(self) -> str:
        """A sub-agent's whole session: a task, turns with tools, and a last reply that is its result."""
        shape, sub, draws = self._shape, self._shape.sub_agents, self._draws
        history, steps = _History(self._part("sub")), list[Step]()
        history.add("system", sub.system, shared="sub-system")
        history.add("user", draws.count("sub prompt", sub.prompt))
        for left in range(draws.count("sub turns", sub.turns) - 1, -1, -1):
            reply = self._reply()
            growth = max(LEAST_MESSAGE, draws.count("growth", shape.growth))
            full = history.tokens + reply + growth + LEAST_MESSAGE + self._longest_reply > shape.context
            if full or not left:
                steps.append(history.step(reply))
                break
            tool = self._tool()
            steps.append(replace(history.step(reply), tools=(tool,), tool_s=draws.value("tools", shape.tools)))
            history.add("assistant", max(LEAST_MESSAGE, reply), calls=(tool,))
            history.add("tool", growth)
        self._parts.append(PlannedSession(history.name, tuple(steps)))
        return history.name

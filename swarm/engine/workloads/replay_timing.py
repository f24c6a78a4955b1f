"""When the turns of a replay are sent: tools and thinking as they were, and nothing before what it holds has ended.

A call may start sub-agents. It waits for those whose results the next prompt holds. A sub-agent in the background has
its result in a later prompt (`TraceTurn.results`): that prompt waits for it, however much longer it takes than it took
when it was recorded. Where a trace does not tell results, a call waits for the sub-agents that ended before the next
send. Attempts that failed, and the back-off between them, are neither tool time nor thinking.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from swarm.agents.driver import Call, Job, SubAgent
from swarm.agents.trace import session_task
from swarm.scenario.schema import TraceSettings, TraceThink
from swarm.tasks.calls import ARGUMENTS
from swarm.trace.format import Trace, TraceCall, TraceTurn
from swarm.trace.structure import Pause, pause


@dataclass(frozen=True)
class Step:
    """Two turns that are replayed one after the other."""

    before: TraceTurn
    first: TraceTurn
    """The first attempt at the next one."""
    following: TraceTurn


@dataclass(frozen=True)
class Wait:
    """How a step is spent: calls, then the sub-agents whose results the prompt holds, then thinking."""

    calls: tuple[Call, ...]
    awaits: tuple[str, ...]
    think_ns: int | None
    """None: the scenario's own."""


class Timing:
    """The steps of all sessions of a trace."""

    def __init__(self, trace: Trace, settings: TraceSettings) -> None:
        self._settings = settings
        self._children: dict[tuple[str, int], list[list[TraceTurn]]] = {}
        self._side: dict[tuple[str, int], list[list[TraceTurn]]] = {}
        self._results: dict[str, dict[str, int]] = {}
        """Session -> its sub-agents -> the turn that is the first to hold the result."""
        self._ends: dict[str, int] = {}
        self._started = 0
        self.waited: set[str] = set()
        """Tools whose calls cannot be carried out."""
        for name, turns in trace.sessions().items():
            self._ends[name] = max((turn.end_ns or turn.t_ns or 0 for turn in turns), default=0)
            if parent := turns[0].parent:
                kind = self._side if turns[0].side else self._children
                kind.setdefault((parent.session, parent.turn), []).append(turns)
            for turn in turns:
                for child in turn.results:
                    self._results.setdefault(name, {}).setdefault(child, turn.number)

    @property
    def never_started(self) -> int:
        """Sub-agents whose parents' turns are left out, or the last ones of their sessions."""
        return sum(map(len, self._children.values())) - self._started

    def wait(self, step: Step) -> Wait:
        after, ended, sent = pause(step.before, step.first), step.before.end_ns or 0, step.first.t_ns or 0
        children = self._children.get((step.before.session, step.before.number), [])
        beside = tuple(self._sub_agent(step, child) for child in children)
        joined = [sub.name for sub in beside if sub.joins]
        awaits = tuple(name for name in self._held(step) if name not in joined)
        late = max((self._ends[name] for name in (*joined, *awaits)), default=0)
        if awaits and late > ended:
            return Wait(self._calls(step, after, beside, 0), awaits, max(0, sent - late))
        if joined:
            return Wait(self._calls(step, after, beside, max(0, sent - late)), awaits, None if after.ns is None else 0)
        took = (after.ns or 0) if after.kind == "tool" else 0
        return Wait(self._calls(step, after, beside, took), awaits, self._think(after))

    def beside(self, turn: TraceTurn) -> tuple[SubAgent, ...]:
        """Side calls that start with a turn."""
        return tuple(
            SubAgent(
                Job(session_task(side[0].session, self._settings.workspace), ""),
                max(0, (side[0].t_ns or 0) - (turn.t_ns or 0)),
                joins=False,
            )
            for side in self._side.get((turn.session, turn.number), [])
        )

    def _held(self, step: Step) -> list[str]:
        """Sub-agents whose results come with the next turn, or came with an attempt at it."""
        numbers = range(step.before.number + 1, step.following.number + 1)
        results = self._results.get(step.before.session, {})
        return [child for child, number in results.items() if number in numbers]

    def _sub_agent(self, step: Step, child: Sequence[TraceTurn]) -> SubAgent:
        self._started += 1
        name = child[0].session
        told = self._results.get(step.before.session, {}).get(name)
        joins = self._ends[name] <= (step.first.t_ns or 0) if told is None else told <= step.following.number
        started = max(0, (child[0].t_ns or 0) - (step.before.end_ns or 0))
        return SubAgent(Job(session_task(name, self._settings.workspace), ""), started, joins)

    def _think(self, after: Pause) -> int | None:
        return 0 if after.kind == "tool" and after.ns is not None else planned_ns(after, self._settings.think)

    def _calls(self, step: Step, after: Pause, beside: tuple[SubAgent, ...], took_ns: int) -> tuple[Call, ...]:
        """The calls that follow a reply. The trace tells the time of all of them together, so they share it."""
        reply = step.before.reply
        recorded = reply.calls if reply and after.kind == "tool" else ()
        if beside and not recorded:
            recorded = (TraceCall(id="", name="sub-agent"),)
        return tuple(
            self._call(f"call_{step.before.number}_{at}", call, took_ns // len(recorded), beside if at == 0 else ())
            for at, call in enumerate(recorded)
        )

    def _call(self, identity: str, call: TraceCall, took_ns: int, beside: tuple[SubAgent, ...]) -> Call:
        if self._settings.workspace and not beside:
            if call.name in ARGUMENTS and call.arguments is not None:
                return Call(identity, call.name, call.arguments)
            self.waited.add(call.name)
        return Call(identity, call.name, {}, took_ns, beside)


def planned_ns(before: Pause, think: TraceThink) -> int | None:
    """Planned length of a pause: tools as recorded, think times scaled and capped; None: as the scenario says."""
    if before.ns is None or before.kind == "tool":
        return before.ns
    return round(before.ns * think.scale if think.max is None else min(before.ns * think.scale, think.max * 1e9))

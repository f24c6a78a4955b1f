"""Traces made of traces: parts of one, several in one, and one that tells less."""

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from itertools import count

import msgspec

from swarm.errors import UsageError
from swarm.trace.format import Keys, Parent, Trace, TraceMessage, TraceReply, TraceTools, TraceTurn, kept
from swarm.trace.structure import whole_prompts

replace = msgspec.structs.replace


def cut(
    trace: Trace,
    sessions: Sequence[str] = (),
    turns: tuple[int, int] | None = None,
    seconds: tuple[float, float] | None = None,
) -> Trace:
    """The turns of the sessions whose name matches one of `sessions` (as file names do; none: of all), from the
    first to the last of `turns`, sent from the first up to the last of `seconds`.

    A session's first turn that is left becomes its first. Sub-agents come along where the turn that started them does,
    and are sessions like any other where it does not. Raises UsageError where nothing is left, or there are no times.
    """
    if seconds and any(turn.t_ns is None for turn in trace.turns):
        raise UsageError("the trace has no times to cut by; cut it by sessions or by turns")
    chosen = _with_sub_agents(trace, {name for name in trace.sessions() if _named(name, sessions)})

    def wanted(turn: TraceTurn) -> bool:
        at = turn.t_ns or 0
        return (
            turn.session in chosen
            and (turns is None or turns[0] <= turn.number <= turns[1])
            and (seconds is None or seconds[0] * 1e9 <= at < seconds[1] * 1e9)
        )

    left = _only(trace, wanted)
    if not left.turns:
        raise UsageError("no turn is left; `swarm trace FILE` tells how many sessions and turns there are")
    return left


def _named(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


def _with_sub_agents(trace: Trace, chosen: set[str]) -> set[str]:
    """A parent's first line stands before its child's, so one pass finds all."""
    for turn in trace.turns:
        if turn.parent and turn.parent.session in chosen:
            chosen.add(turn.session)
    return chosen


def _only(trace: Trace, wanted: Callable[[TraceTurn], bool]) -> Trace:
    """The wanted turns of each session, numbered from 1, its first prompt whole."""
    lines: dict[tuple[str, int], TraceTurn] = {}
    for name, turns in trace.sessions().items():
        before: tuple[TraceMessage, ...] = ()
        tools: TraceTools | None = None
        left = (prompt for prompt in whole_prompts(turns) if wanted(prompt.turn))
        for number, prompt in enumerate(left, 1):
            same = kept(before, prompt.messages)
            parent = prompt.turn.parent
            started_by = lines.get((parent.session, parent.turn)) if parent else None
            lines[name, prompt.turn.number] = replace(
                prompt.turn,
                number=number,
                parent=Parent(session=started_by.session, turn=started_by.number) if started_by else None,
                kept=same,
                added=prompt.messages[same:],
                tools=None if prompt.tools == tools else prompt.tools,
            )
            before, tools = prompt.messages, prompt.tools
    ordered = [lines[key] for turn in trace.turns if (key := (turn.session, turn.number)) in lines]
    there = {turn.session for turn in ordered}
    return Trace(trace.header, tuple(replace(turn, results=_among(turn.results, there)) for turn in ordered))


def _among(names: Iterable[str], there: set[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name in there)


def merge(traces: Sequence[Trace]) -> Trace:
    """The sessions of several traces side by side, each on its own time line from 0.

    Names that come up again get a number. Contents of two traces are never taken for the same: each has its own keys.
    Raises UsageError for traces of blocks of different sizes.
    """
    sizes = {trace.header.block_tokens for trace in traces if trace.header.block_tokens}
    if len(sizes) > 1:
        raise UsageError(f"traces with blocks of {' and '.join(map(str, sorted(sizes)))} tokens cannot be one")
    turns: list[TraceTurn] = []
    taken: set[str] = set()
    blocks = 0
    for trace in traces:
        names = {name: _free(name, taken) for name in trace.sessions()}
        turns += [_renamed(turn, names, blocks) for turn in trace.turns]
        blocks = max((max(turn.blocks, default=-1) + 1 for turn in turns if turn.blocks), default=blocks)
    headers = [trace.header for trace in traces]
    header = replace(
        headers[0],
        recorded_at=None,
        content=all(header.content for header in headers),
        redacted=tuple(dict.fromkeys(rule for header in headers for rule in header.redacted)),
        block_tokens=max(sizes, default=None),
        notes=tuple(dict.fromkeys(note for header in headers for note in header.notes)),
    )
    return Trace(header, tuple(turns))


def _free(name: str, taken: set[str]) -> str:
    found = next(
        free for number in count(1) if (free := name if number == 1 else f"{name[:190]}#{number}") not in taken
    )
    taken.add(found)
    return found


def _renamed(turn: TraceTurn, names: dict[str, str], blocks: int) -> TraceTurn:
    parent = turn.parent and replace(turn.parent, session=names[turn.parent.session])
    moved = turn.blocks and tuple(block + blocks for block in turn.blocks)
    results = tuple(names[name] for name in turn.results if name in names)
    return replace(turn, session=names[turn.session], parent=parent, results=results, blocks=moved)


def anonymise(trace: Trace) -> Trace:
    """Without contents, names and dates: roles, lengths, times and the structure of prefixes are left.

    Keys are made anew, so that nobody who has the old ones finds them again; the first send is at 0.
    """
    keys, numbers = Keys(), _Numbers()
    first = min((turn.t_ns for turn in trace.turns if turn.t_ns is not None), default=0)
    header = replace(trace.header, recorded_at=None, content=False, redacted=())
    return Trace(header, tuple(_bare(turn, keys, numbers, first) for turn in trace.turns))


class _Numbers:
    """Names in the order of their first coming up."""

    def __init__(self) -> None:
        self._of: dict[str, dict[object, int]] = {}

    def of(self, kind: str, name: object) -> int:
        known = self._of.setdefault(kind, {})
        return known.setdefault(name, len(known) + 1)


def _bare(turn: TraceTurn, keys: Keys, numbers: _Numbers, first_ns: int) -> TraceTurn:
    def earlier(t_ns: int | None) -> int | None:
        return None if t_ns is None else max(0, t_ns - first_ns)

    def session(name: str) -> str:
        return f"session-{numbers.of('session', name)}"

    return replace(
        turn,
        session=session(turn.session),
        parent=turn.parent and replace(turn.parent, session=session(turn.parent.session)),
        results=tuple(map(session, turn.results)),
        t_ns=earlier(turn.t_ns),
        first_token_ns=earlier(turn.first_token_ns),
        end_ns=earlier(turn.end_ns),
        added=tuple(replace(message, key=keys.of(message.key), content=None) for message in turn.added),
        tools=turn.tools and replace(turn.tools, key=keys.of(turn.tools.key), content=None),
        reply=turn.reply and _bare_reply(turn.reply, keys, numbers),
        model=None,
        blocks=turn.blocks and tuple(numbers.of("block", block) for block in turn.blocks),
    )


def _bare_reply(reply: TraceReply, keys: Keys, numbers: _Numbers) -> TraceReply:
    calls = tuple(
        replace(call, id=f"call-{at}", name=f"tool-{numbers.of('tool', call.name)}", arguments=None)
        for at, call in enumerate(reply.calls, 1)
    )
    return replace(reply, key=keys.of(reply.key), calls=calls, content=None)

"""Which requests belong to one conversation. Nothing in the protocol says so: it is read off what the prompts repeat.

A request is a session's next turn when it repeats what was said in that session's last prompt and goes on with its
reply. System messages do not count, as some agents put a time or a checksum there. Agents also rewrite their history:
what still proves a session then is the id of a call that its model made, or most of its prompt. A session waits for its
reply, so a request that was sent before it cannot be its next: conversations that begin alike and run side by side are
told apart by that, and by their replies.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile

_MOST_OPEN = 8
"""Turns of a session whose calls may still be starting sub-agents."""
_LEAST_WORDS = 5
"""Words of an argument that a sub-agent's prompt repeats, so that it is no accident, as a path or a name would be."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message, as far as it tells one conversation from another."""

    key: str
    """Equal for equal content."""
    gist: str
    """Equal for the same text and calls, however a client writes them down."""
    role: str
    calls: tuple[str, ...] = ()
    """Ids of the calls that it makes or answers."""


@dataclass(frozen=True)
class Request:
    """A request: its prompt, when it was sent, and the text of the user that opens it (see `opening`)."""

    prompt: Sequence[Message] = ()
    sent_ns: int = 0
    opening: str = ""

    @cached_property
    def talk(self) -> list[Message]:
        return [said for said in self.prompt if said.role not in ("system", "developer")]


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a request, or how it failed."""

    reply: Message | None = None
    quotes: tuple[str, ...] = ()
    """Texts among the arguments of its calls, as `quote` makes them."""
    end_ns: int = 0
    whole: bool = True


@dataclass(slots=True)
class Session:
    """A conversation as its last turn left it."""

    name: str
    turns: int = 0
    asked: Request = Request()
    answered: Response = Response()
    callers: deque[tuple[int, Response]] = field(default_factory=lambda: deque(maxlen=_MOST_OPEN))
    """Its last turns with calls, by their number."""


class Sessions:
    """All conversations of a recording. Turns are given to it in the order in which they ended."""

    def __init__(self) -> None:
        self._sessions: list[Session] = []
        self._callers: dict[str, str | None] = {}  # call id -> session; None: several, as ids need not be unique

    def __len__(self) -> int:
        return len(self._sessions)

    def of(self, asked: Request) -> Session:
        """The session that a request continues, or a new one."""
        callers = {self._callers.get(call) for said in asked.prompt for call in said.calls}
        ranked = [(_rank(session, asked, session.name in callers), session) for session in self._sessions]
        rank, best = max(ranked, key=lambda each: (each[0], each[1].answered.end_ns), default=((0, 0), None))
        if best is None or rank[0] == 0:
            best = Session(f"s{len(self._sessions) + 1}")
            self._sessions.append(best)
        return best

    def parent(self, asked: Request) -> tuple[str, int] | None:
        """Session and turn one of whose calls has an argument that this request's opening repeats; None: none has."""
        found = [
            (answered.end_ns, session.name, number)
            for session in self._sessions
            for number, answered in session.callers
            if answered.end_ns <= asked.sent_ns and any(text in asked.opening for text in answered.quotes)
        ]
        return max(found)[1:] if found else None

    def take(self, session: Session, asked: Request, answered: Response) -> None:
        """Adds a turn to its session."""
        session.turns += 1
        session.asked, session.answered = asked, answered
        for call in answered.reply.calls if answered.reply else ():
            self._callers[call] = session.name if self._callers.get(call, session.name) == session.name else None
        if answered.quotes:
            session.callers.append((session.turns, answered))


def _rank(session: Session, asked: Request, calls: bool) -> tuple[int, int]:
    """How sure it is that a request continues a session (0: it does not), and how many messages they share.

    `calls`: the prompt holds a call that only this session's model made.
    """
    before, now, answered = session.asked.talk, asked.talk, session.answered
    if answered.whole and answered.end_ns > asked.sent_ns:
        return 0, 0  # it was still waiting for its reply
    shared = common(before, now)
    repeats, goes_on = shared == len(before), len(now) > len(before)
    if repeats and goes_on and answered.reply is not None and now[shared].gist == answered.reply.gist:
        return 4, shared
    if calls:
        return 3, shared
    if repeats and (goes_on or not answered.whole):
        return 2, shared
    return int(shared > 1 and 2 * shared >= len(before)), shared


def common(before: Sequence[Message], now: Sequence[Message]) -> int:
    """How many leading messages two prompts share."""
    return sum(1 for _ in takewhile(lambda pair: pair[0].key == pair[1].key, zip(before, now, strict=False)))


def quote(text: str) -> str | None:
    """A text as it is looked for in prompts: its beginning, white space evened out; None: too short to tell a thing."""
    words = text[:2000].split()[: -1 if len(text) > 2000 else None]
    return " ".join(words) if len(words) >= _LEAST_WORDS else None


def opening(text: str) -> str:
    """The text of a prompt's first message of the user, as quotes are looked for in it."""
    return " ".join(text[:200_000].split())

"""Which requests belong to one conversation. Nothing in the protocol says so: it is read off what the prompts repeat.

A request is a session's next turn when it repeats what was said in that session's last prompt and goes on with its
reply. System messages do not count, as some agents put a time or a checksum there. Agents also rewrite their history:
what still proves a session then is the id of a call that its model made, or most of its prompt. A session waits for its
reply, so a request that was sent before it cannot be its next: conversations that begin alike and run side by side are
told apart by that, and by their replies.

A client that compacts replaces its history by a summary that its model wrote: the request that holds this reply, or
that of a call made beside the session, goes on with the session. A call beside a session (for a title, or a summary of
a transcript) offers no tools and holds what the session's user said first. A sub-agent is told what an argument of its
parent's call says; its result is the text of its last reply, in a later prompt of the parent.
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
_LEAST_SUMMARY = 20
"""Words of a reply that takes the place of a history."""
_MOST_LOOSE = 8
"""Calls that may be beside a session whose first turn has not ended yet."""
_CHARS_OF_A_REPLY = 200


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
    texts: Sequence[str] = ()
    """The text of each message; "" where it has none."""
    offers: bool = False
    """Whether it offers tools."""

    @cached_property
    def talk(self) -> list[Message]:
        return [said for said in self.prompt if said.role not in ("system", "developer")]

    @cached_property
    def systems(self) -> list[str]:
        """Keys of its system messages."""
        return [said.key for said in self.prompt if said.role in ("system", "developer")]

    @cached_property
    def user_keys(self) -> frozenset[str]:
        return frozenset(said.key for said in self.prompt if said.role == "user")

    @cached_property
    def user_quotes(self) -> tuple[str, ...]:
        """The texts of its user, as they are looked for in other prompts."""
        said = zip(self.prompt, self.texts, strict=False)
        return tuple(text for message, each in said if message.role == "user" and (text := quote(each)))

    @cached_property
    def said(self) -> str:
        """All that is said in it, white space evened out."""
        return self.text_from(0)

    def text_from(self, place: int) -> str:
        """All that is said from a message on, system messages aside."""
        said = zip(self.prompt[place:], self.texts[place:], strict=False)
        return " ".join(opening(text) for message, text in said if message.role not in ("system", "developer"))


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a request, or how it failed."""

    reply: Message | None = None
    quotes: tuple[str, ...] = ()
    """Texts among the arguments of its calls, as `quote` makes them."""
    end_ns: int = 0
    whole: bool = True
    text: str = ""
    """The reply's."""

    def beginning(self, least_words: int) -> str | None:
        """The reply's first words, as they are looked for in prompts; None: it has too few to tell it."""
        words = opening(self.text[: 20 * _CHARS_OF_A_REPLY]).split()
        return " ".join(words)[:_CHARS_OF_A_REPLY] if self.whole and len(words) >= least_words else None


@dataclass(slots=True)
class Session:
    """A conversation as its last turn left it."""

    name: str
    turns: int = 0
    asked: Request = Request()
    answered: Response = Response()
    callers: deque[tuple[int, Response]] = field(default_factory=lambda: deque(maxlen=_MOST_OPEN))
    """Its last turns with calls, by their number."""
    first: Request = Request()
    owner: "Session | None" = None
    """The session that it is a call beside."""
    children: dict[str, "Session"] = field(default_factory=dict)
    """Its sub-agents whose results no prompt has held yet, by their names."""


class Sessions:
    """All conversations of a recording. Turns are given to it in the order in which they ended."""

    def __init__(self) -> None:
        self._sessions: list[Session] = []
        self._callers: dict[str, str | None] = {}  # call id -> session; None: several, as ids need not be unique
        self._loose: deque[Session] = deque(maxlen=_MOST_LOOSE)
        """Sessions of one turn that may be calls beside one whose first turn has not ended yet."""

    def __len__(self) -> int:
        return len(self._sessions)

    def of(self, asked: Request) -> Session:
        """The session that a request continues, or a new one."""
        callers = {self._callers.get(call) for said in asked.prompt for call in said.calls}
        ranked = [(_rank(session, asked, session.name in callers), session) for session in self._sessions]
        rank, best = max(ranked, key=lambda each: (each[0], each[1].answered.end_ns), default=((0, 0), None))
        if best is None or rank[0] == 0:
            best = self._compacted(asked)
        if best is None:
            best = Session(f"s{len(self._sessions) + 1}")
            self._sessions.append(best)
        return best

    def _compacted(self, asked: Request) -> Session | None:
        """The session whose history a request has replaced by a summary: it holds a reply of it, or beside it."""
        found: tuple[int, Session] | None = None
        for session in self._sessions:
            answered, goes_on = session.answered, session.owner or session
            if answered.end_ns > asked.sent_ns or goes_on.first.offers != asked.offers or not asked.texts:
                continue
            summary = answered.beginning(_LEAST_SUMMARY)
            if summary and summary in asked.said and (found is None or answered.end_ns > found[0]):
                found = answered.end_ns, goes_on
        return None if found is None or self._told(asked, most_of_it=True) else found[1]

    def parent(self, asked: Request) -> tuple[str, int] | None:
        """Session and turn one of whose calls has an argument that this request's opening repeats; None: none has."""
        return self._told(asked, most_of_it=False)

    def _told(self, asked: Request, most_of_it: bool) -> tuple[str, int] | None:
        """`most_of_it`: a message of its user is little else than the argument."""

        def repeats(text: str) -> bool:
            if not most_of_it:
                return text in asked.opening
            return any(text in said and 2 * len(text) >= len(said) for said in asked.user_quotes)

        found = [
            (answered.end_ns, session.name, number)
            for session in self._sessions
            for number, answered in session.callers
            if answered.end_ns <= asked.sent_ns and any(map(repeats, answered.quotes))
        ]
        return max(found)[1:] if found else None

    def beside(self, asked: Request) -> tuple[Session, int] | None:
        """The session, and its turn, that a new session is a call beside; None: it is none."""
        if self._told(asked, most_of_it=True):
            return None
        owners = [session for session in self._sessions if _is_beside(asked, session)]
        if not owners:
            return None
        owner = max(owners, key=lambda session: session.asked.sent_ns)
        return owner, owner.turns if owner.asked.sent_ns <= asked.sent_ns else max(1, owner.turns - 1)

    def bind(self, session: Session) -> list[Session]:
        """Calls that ended before the first turn of the session that they are beside: now it is there."""
        bound = [loose for loose in self._loose if loose is not session and _is_beside(loose.first, session)]
        for loose in bound:
            loose.owner = session
            self._loose.remove(loose)
        return bound

    def results(self, session: Session, asked: Request) -> tuple[str, ...]:
        """Sub-agents whose results this prompt is the first to hold."""
        new = asked.text_from(common(session.asked.prompt, asked.prompt)) if session.children else ""
        held = [
            name
            for name, child in session.children.items()
            if child.answered.end_ns <= asked.sent_ns
            and (text := child.answered.beginning(_LEAST_WORDS))
            and text in new
        ]
        for name in held:
            del session.children[name]
        return tuple(held)

    def begin(self, session: Session, asked: Request) -> tuple[str, int] | None:
        """The session and the turn that a new session belongs to, as a call beside it (`owner`) or its sub-agent."""
        if beside := self.beside(asked):
            session.owner, number = beside
            return session.owner.name, number
        if parent := self.parent(asked):
            above = next(each for each in self._sessions if each.name == parent[0])
            above.children[session.name] = session
        return parent

    def take(self, session: Session, asked: Request, answered: Response) -> None:
        """Adds a turn to its session."""
        session.turns += 1
        if session.turns == 1:
            session.first = asked
            if not asked.offers and asked.texts and session.owner is None:
                self._loose.append(session)
        elif session in self._loose:
            self._loose.remove(session)
        session.asked, session.answered = asked, answered
        for call in answered.reply.calls if answered.reply else ():
            self._callers[call] = session.name if self._callers.get(call, session.name) == session.name else None
        if answered.quotes:
            session.callers.append((session.turns, answered))


def _is_beside(asked: Request, session: Session) -> bool:
    """Whether a request without tools holds what the user of a session said first.

    Where the session has no tools either, and the same system prompt, it is the same job once more.
    """
    first = session.first
    if asked.offers or not asked.texts or session.owner or not session.turns or first is asked:
        return False
    if not first.offers and first.systems == asked.systems:
        return False
    return bool(first.user_keys & asked.user_keys) or any(text in asked.said for text in first.user_quotes)


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
    words = text[:2000].replace("\\n", " ").split()[: -1 if len(text) > 2000 else None]
    return " ".join(words) if len(words) >= _LEAST_WORDS else None


def opening(text: str) -> str:
    """A text as quotes are looked for in it, JSON's line ends like any others."""
    return " ".join(text[:200_000].replace("\\n", " ").split())

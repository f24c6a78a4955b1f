"""Replies whose truth is known: what a server did, and when, before it is put into bytes.

Times are milliseconds after the request. The bytes of something are whole at its time, to the byte that ends it.
"""

import os
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("SWARM_TEST_TRUTH", "200"))
"""Cases in all: four fifths are replies, and the others runs."""
TRUTH = settings(
    max_examples=EXAMPLES * 4 // 5,
    deadline=None,
    derandomize=EXAMPLES <= 500,  # as many as CI makes up
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
MS = 1_000_000
IDLE_MS = 2_000
"""`client.idle_timeout`; what is no stall stays below half of it."""
TIMEOUT_MS = 60_000
MOST_TOKENS = 4096

PIECES = ("content", "reasoning", "reasoning_content", "reasoning_details", "call", "call")
NOISE = ("comment", "blank", "retry", "no data", "white data", "ping", "no choices", "no delta", "empty", "role")


class Told:
    """A dataclass whose repr leaves out what is as usual, so that a failure can be read."""

    def __repr__(self) -> str:
        told = ((one.name, getattr(self, one.name), one.default) for one in fields(self))  # type: ignore[arg-type]
        shown = (f"{name}={value!r}" for name, value, usual in told if value != usual and value != Voice())
        return f"{type(self).__name__}({', '.join(shown)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """As Hypothesis asks."""
        printer.text(repr(self))


@dataclass(frozen=True, repr=False)
class Piece(Told):
    """A chunk that bears text of the kind `kind`, for which the server counts `tokens`."""

    at: int
    kind: str
    text: str
    tokens: int
    call: int = 0
    """Which call it belongs to, of the kind `call`."""


@dataclass(frozen=True, repr=False)
class Finish(Told):
    at: int
    reason: str


@dataclass(frozen=True, repr=False)
class Counts(Told):
    """A chunk with nothing but the usage."""

    at: int


@dataclass(frozen=True, repr=False)
class Noise(Told):
    """What means nothing."""

    at: int
    kind: str


@dataclass(frozen=True, repr=False)
class Trouble(Told):
    """`error`: the server's own words inside the stream; `broken`: no chunk at all. There are several forms of each."""

    at: int
    kind: Literal["error", "broken"]
    form: int


@dataclass(frozen=True, repr=False)
class Done(Told):
    at: int
    form: Literal["whole", "no blank line", "no line end"] = "whole"


@dataclass(frozen=True, repr=False)
class End(Told):
    """How the body ends: in good order, by FIN, by RST, or never; `torn`: inside an event."""

    at: int
    kind: Literal["clean", "close", "reset", "never"]
    torn: bool = False


Said = Piece | Finish | Counts | Noise | Trouble | Done


@dataclass(frozen=True, repr=False)
class Voice(Told):
    """How it is put into bytes; nothing of it may matter."""

    line_end: str = "\n"
    space: bool = True
    bom: bool = False
    ascii: bool = False
    bare: bool = False
    """Chunks without the keys that nobody reads."""
    over_lines: bool = False
    """JSON over several `data:` lines."""
    fields: bool = False
    """`id:` lines in the events."""
    null_usage: bool = False
    calls: Literal["numbered", "all 0", "no number", "named", "id alone"] = "numbered"
    """How the pieces of a tool call tell which one it is."""
    framing: Literal["chunked", "by events", "length", "until close"] = "by events"
    whole: bool = True
    """What follows the byte that ends an event, of its line end and its frame, comes with it, and not with the next."""
    frames: tuple[int, ...] = ()
    """Where chunks of the body end besides, modulo its length."""
    cuts: tuple[int, ...] | Literal["everywhere", "at line ends"] = ()
    """Where reads end besides, modulo the length of all."""


@dataclass(frozen=True, repr=False)
class Reply(Told):
    head_at: int
    said: tuple[Said, ...]
    end: End
    usage: Literal["none", "end", "finish", "always"] = "end"
    """The chunks that carry it: none, one of its own, that of the finish reason, or all from the first piece on."""
    prompt: int = 100
    cached: int | None = None
    unseen: int = 0
    """Tokens that no chunk brought, counted at the end."""
    absurd: Any = None
    """What the server says at the end, in the place of the number of tokens; None: that number."""
    names: tuple[str, ...] = ("list_files", "read_file")
    voice: Voice = field(default_factory=Voice)


@dataclass(frozen=True, repr=False)
class Refusal(Told):
    """An answer that is no stream."""

    at: int
    status: int
    body: Any
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"


TEXTS = (
    *("a", " wörld", "日本語", "🙂🙃", " ", "\0", "\n\n", "\r\n", "\u2028\x85", '"\\', "\ud83d", "\ude42", "\udc00x"),
    *("data: [DONE]", "[DONE]", "}\n\n\r\n", "ab" * 40),
)
FINISHES = (
    "stop",
    "length",
    "tool_calls",
    "function_call",
    "content_filter",
    "eos",
    "end_turn",
    "max_tokens",
    "tool_use",
)
ABNORMAL = ("abort", "error", "cancelled", "whatever")
ABSURD = (-1, 1 << 60, 7.5, "many", float("inf"), float("nan"))


def often(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    """Mostly `usual`, where that is named again the more so."""
    return st.sampled_from([usual] * max(2, len(others)) + list(others))


@st.composite
def voices(draw: Any) -> Voice:
    places = st.lists(st.integers(0, 5000), max_size=6).map(tuple)
    return Voice(
        line_end=draw(often("\n", "\r\n", "\r")),
        space=draw(often(True, False)),
        bom=draw(often(False, True)),
        ascii=draw(st.booleans()),
        bare=draw(st.booleans()),
        over_lines=draw(often(False, False, True)),
        fields=draw(often(False, False, True)),
        null_usage=draw(st.booleans()),
        calls=draw(often("numbered", "all 0", "no number", "named", "id alone")),
        framing=draw(often("by events", "chunked", "length", "until close")),
        whole=draw(often(True, True, False)),
        frames=draw(places),
        cuts=draw(st.one_of(places, places, places, st.just("at line ends"), st.just("everywhere"))),
    )


gaps = st.sampled_from([0, 0, 1, 1, 7, 10, 10, 10, 50, 400, 900])


@st.composite
def replies(draw: Any) -> Reply:
    """Any reply, well or badly ended."""
    at = head_at = draw(st.integers(1, 300))
    said: list[Said] = []

    def later() -> int:
        nonlocal at
        at += draw(gaps)
        return at

    def noise() -> None:
        for kind in draw(st.lists(st.sampled_from(NOISE), max_size=2)) if draw(st.booleans()) else ():
            said.append(Noise(later(), kind))  # noqa: PERF401

    if draw(st.booleans()):
        said.append(Noise(later(), "role"))
    kinds, call = draw(st.lists(st.sampled_from(PIECES), min_size=1, max_size=2)), 0
    for number in range(draw(st.integers(0, 8))):
        noise()
        kind = kinds[number % len(kinds)]
        text, tokens = draw(st.sampled_from(TEXTS)), draw(often(1, 2, 5, 0))
        call = max(call, draw(st.integers(0, 1)))
        first = kind == "call" and not any(
            isinstance(one, Piece) and (one.kind, one.call) == (kind, call) for one in said
        )
        if first and draw(st.booleans()):
            text = ""  # a name alone, as OpenAI begins a call
        said.append(Piece(later(), kind, text, tokens, call if kind == "call" else 0))
    gap = draw(st.sampled_from([1, 10, 30]))
    for _ in range(draw(often(0, 0, 0, 5, 40, 90))):  # a steady stream
        at += gap
        said.append(Piece(at, kinds[0], "tok", 1, call if kinds[0] == "call" else 0))
    usage = draw(st.sampled_from(["none", "end", "end", "finish", "always", "always"]))
    noise()
    if draw(often(True, True, False)):
        said.append(Finish(later(), draw(st.sampled_from(FINISHES * 2 + ABNORMAL))))
    noise()
    if usage in ("end", "always") and draw(often(True, True, False)):
        said.append(Counts(later()))
    if draw(often(True, True, False)):
        noise()
        said.append(Done(later(), draw(often("whole", "whole", "no blank line", "no line end"))))
    whole = not said or not isinstance(said[-1], Done) or said[-1].form == "whole"
    if draw(often(False, False, False, False, True)):  # something goes wrong
        wrong = draw(st.sampled_from(["error", "broken", "stall", "cut short"]))
        place = draw(st.integers(0, len(said) - (not whole)))
        before = said[place - 1].at if place else head_at
        if wrong == "stall":
            said[place:] = [later_by(one, 3 * IDLE_MS) for one in said[place:]]
            at += 3 * IDLE_MS
        elif wrong == "cut short":
            said[place:], at, whole = [], before, True
        elif draw(st.booleans()):
            said.insert(place, Trouble(before, wrong, draw(st.integers(0, 7))))
        else:
            said[place:], at, whole = [Trouble(before, wrong, draw(st.integers(0, 7)))], before, True
    elif whole and said and isinstance(said[-1], Done) and draw(st.booleans()):
        after = draw(st.sampled_from(["comment", "error", "broken", "piece", "done"]))
        said.append(
            {
                "comment": Noise(at, "comment"),
                "error": Trouble(at, "error", 0),
                "broken": Trouble(at, "broken", 0),
                "piece": Piece(at, "content", "late", 1),
                "done": Done(at),
            }[after]
        )
    kind = draw(often("clean", "clean", "close", "reset", "never")) if whole else "clean"
    voice = draw(voices())
    # A body of a known length ends with its last byte, and what never ends brings nothing more.
    last = said[-1].at if said else head_at
    end_at = last if kind == "never" or (voice.framing, kind) == ("length", "clean") else later()
    return Reply(
        head_at,
        tuple(said),
        End(end_at, kind, torn=kind in ("close", "reset") and draw(st.booleans())),
        usage,
        prompt=draw(st.integers(0, 9000)),
        cached=draw(st.sampled_from([None, 0, 0, 10_000])),
        unseen=draw(often(0, 3)),
        absurd=draw(often(None, None, None, draw(st.sampled_from(ABSURD)))),
        voice=voice,
    )


def later_by(said: Said, ms: int) -> Said:
    return type(said)(**{**vars(said), "at": said.at + ms})

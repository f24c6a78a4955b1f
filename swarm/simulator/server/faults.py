"""Faults on demand: what breaks, in which requests, and how long; the same requests every time for the same seed.

    faults = parse([{"kind": "reset", "rate": 0.02, "seed": 1}])      ValueError where one makes no sense
    schedule = Schedule(faults)
    schedule.next() -> Fault | None                                   for each chat completion, in order of arrival

Whether request n is hit depends on the fault's seed and n alone. A request is hit by at most one fault: the first of
the list that is due.
"""

import difflib
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

FaultKind = Literal[
    "latency",
    "rate-limit",
    "server-error",
    "loading",
    "reset",
    "hang",
    "crash",
    "stall",
    "drip",
    "truncate",
    "malformed-sse",
    "malformed-json",
    "in-band-error",
    "no-finish",
    "no-usage",
    "lying-usage",
    "crlf",
    "multi-token",
    "tool-calls",
    "reasoning",
]
MEANING: dict[FaultKind, str] = {
    "latency": "the reply begins `duration` late",
    "rate-limit": "status 429, with `duration` as its Retry-After",
    "server-error": "status 500",
    "loading": "status 503, as while a model is loaded, with `duration` as its Retry-After",
    "reset": "the connection is reset: before the headers, or inside the stream after `tokens` tokens",
    "hang": "the request is taken and never answered",
    "crash": "the server dies with all its connections and its cache, and is back after `duration`",
    "stall": "silence of `duration` after `tokens` tokens",
    "drip": "at most one token per `duration`",
    "truncate": "the connection closes in the middle of an event, after `tokens` tokens",
    "malformed-sse": "an event torn over two lines, after `tokens` tokens",
    "malformed-json": "an event whose JSON breaks off, after `tokens` tokens",
    "in-band-error": "an error inside the stream of status 200, after `tokens` tokens",
    "no-finish": "the stream ends in good order, but without finish_reason, usage and [DONE]",
    "no-usage": "no token counts, whatever was asked for",
    "lying-usage": "token counts half as high again as they are",
    "crlf": "lines end with CRLF",
    "multi-token": "chunks of `tokens` tokens",
    "tool-calls": "a tool call and no text, where the request has tools",
    "reasoning": "the first half of the reply is reasoning",
}
_DURATIONS: dict[FaultKind, float] = {
    "latency": 1.0,
    "rate-limit": 1.0,
    "loading": 1.0,
    "crash": 2.0,
    "stall": 1.0,
    "drip": 0.1,
}
_TOKENS: dict[FaultKind, int | None] = {
    "reset": None,
    "stall": 3,
    "truncate": 3,
    "malformed-sse": 3,
    "malformed-json": 3,
    "in-band-error": 3,
    "multi-token": 4,
}
"""The default of `tokens` for the kinds that take it; `_DURATIONS` likewise."""
LIE = 1.5
MOST_FAULTS = 100


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. Which requests: those numbered in `at` (from 1), or else a share `rate` of all; at most `count`."""

    kind: FaultKind
    rate: float | None = None
    """None: 1, unless `at` says which."""
    at: tuple[int, ...] = ()
    count: int | None = None
    seed: int = 0
    duration: float | None = None
    """Seconds."""
    tokens: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in MEANING:
            close = difflib.get_close_matches(str(self.kind), MEANING, n=1, cutoff=0.4)
            hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(MEANING)}"
            raise ValueError(f"kind: {self.kind!r} is no fault; {hint}")
        if self.rate is not None and self.at:
            raise ValueError("rate: not together with `at`")
        self._check("rate", self.rate is None or (_is_number(self.rate) and 0 <= self.rate <= 1), "a share of 0 to 1")
        numbered = isinstance(self.at, tuple) and all(_is_count(number) for number in self.at)
        self._check("at", numbered, "numbers of requests, from 1")
        self._check("count", self.count is None or _is_count(self.count), "a whole number above 0")
        self._check("seed", isinstance(self.seed, int) and not isinstance(self.seed, bool), "a whole number")
        self._check("tokens", self.tokens is None or _is_count(self.tokens), "a whole number above 0")
        positive = _is_number(self.duration) and 0 < self.duration <= 86_400  # type: ignore[operator]
        self._check("duration", self.duration is None or positive, "seconds, above 0 and at most a day")
        for name, kinds in (("duration", _DURATIONS), ("tokens", _TOKENS)):
            if getattr(self, name) is not None and self.kind not in kinds:
                raise ValueError(f"{name}: {self.kind} takes none; those that do are {', '.join(kinds)}")

    def _check(self, name: str, right: bool, expected: str) -> None:
        if not right:
            raise ValueError(f"{name}: expected {expected}, not {getattr(self, name)!r}")

    @property
    def seconds(self) -> float:
        return self.duration if self.duration is not None else _DURATIONS[self.kind]

    @property
    def after_tokens(self) -> int | None:
        return self.tokens if self.tokens is not None else _TOKENS.get(self.kind)

    def hits(self, number: int) -> bool:
        """Whether request `number` (from 1) is one of its own, `count` aside."""
        if self.at:
            return number in self.at
        rate = 1.0 if self.rate is None else self.rate
        return rate > 0 and random.Random(f"{self.seed}:{self.kind}:{number}").random() < rate


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def parse(value: Any) -> tuple[Fault, ...]:
    """Faults from JSON: a list of objects with the fields of `Fault`. Raises ValueError, saying which is wrong."""
    if not isinstance(value, list) or len(value) > MOST_FAULTS:
        raise ValueError(
            f"faults: expected a list of at most {MOST_FAULTS}, such as [{{'kind': 'reset', 'rate': 0.1}}]"
        )
    return tuple(_parsed(f"faults[{index}]", entry) for index, entry in enumerate(value))


def _parsed(where: str, entry: Any) -> Fault:
    if not isinstance(entry, dict) or not isinstance(entry.get("kind"), str):
        raise ValueError(f"{where}: expected an object with a `kind`, one of {', '.join(MEANING)}, not {entry!r}")
    known = [field.name for field in fields(Fault)]
    for name in entry:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(known)}"
            raise ValueError(f"{where}.{name}: unknown key; {hint}")
    given = {name: item for name, item in entry.items() if item is not None}
    if isinstance(given.get("at"), list):
        given["at"] = tuple(given["at"])
    try:
        return Fault(**given)
    except ValueError as error:
        raise ValueError(f"{where}.{error}") from None


class Schedule:
    """Which fault, if any, the next chat completion meets."""

    def __init__(self, faults: Sequence[Fault] = ()) -> None:
        self.faults = tuple(faults)
        self.hits = [0] * len(self.faults)
        self.requests = 0

    def next(self) -> Fault | None:
        self.requests += 1
        for index, fault in enumerate(self.faults):
            if (fault.count is None or self.hits[index] < fault.count) and fault.hits(self.requests):
                self.hits[index] += 1
                return fault
        return None

    def summary(self) -> dict[str, Any]:
        """How many chat completions there were, and each fault with those that it hit."""
        return {"requests": self.requests, "faults": list(self._counted())}

    def _counted(self) -> Iterable[dict[str, Any]]:
        for fault, hits in zip(self.faults, self.hits, strict=True):
            yield {name: value for name, value in asdict(fault).items() if value not in (None, ())} | {"hits": hits}

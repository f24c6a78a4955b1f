"""A coding task: a small repository, an issue, and a script of turns that solves it."""

import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Expectation = Literal["ok", "fail"]


@dataclass(frozen=True, slots=True)
class ReplyLength:
    """A lognormal distribution of reply lengths in tokens, clipped to `min..max`.

    `median` is its median, `spread` its geometric standard deviation: about 68% of the lengths lie between
    median / spread and median * spread. A spread of 1 is a fixed length.
    """

    median: float
    spread: float
    min: int
    max: int

    def sample(self, rng: random.Random) -> int:
        """One length in tokens: round(median * spread ** z), z standard normal, clipped."""
        length = round(rng.lognormvariate(math.log(self.median), math.log(self.spread)))
        return max(self.min, min(length, self.max))


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A tool call of the script, its planned duration in seconds, and whether its result should be ok."""

    tool: str
    arguments: dict[str, Any]
    takes_s: float
    expect: Expectation


@dataclass(frozen=True, slots=True)
class ScriptTurn:
    """The assistant's text for the history, and the calls that go with it: none in a script's last turn."""

    say: str
    calls: tuple[PlannedCall, ...]
    reply_tokens: ReplyLength


@dataclass(frozen=True, slots=True)
class Task:
    """One variant of a kind of task. `turns` is the full script, `quick_turns` a short one of its own."""

    kind: str
    variant: str
    title: str
    issue: str
    repository: Path
    turns: tuple[ScriptTurn, ...]
    quick_turns: tuple[ScriptTurn, ...]

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.variant}"

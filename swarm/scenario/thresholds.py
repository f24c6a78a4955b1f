"""Thresholds as text, `TARGET.agents=N.KEY[.STAT] < NUMBER`: read and checked here, evaluated by `swarm.analysis`.

A number may have its unit, and a time may be named without its `_s`: `ttft.p95 < 2s` is `ttft_s.p95 < 2`.
"""

import difflib
import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from swarm.catalogue import METRICS, metric_of

COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_FORM = "a threshold reads TARGET.agents=N.KEY[.STAT] < NUMBER, such as moe.agents=4.ttft.p95 < 2s"
_SLO_FORM = "an SLO reads KEY[.STAT] < NUMBER, such as ttft.p95 < 2s"
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_RATES = ("tok/s", "req/s", "/s", "/h")
_NUMBER = r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"


@dataclass(frozen=True)
class Threshold:
    """A demand on one number of the results; `target` "*" stands for every target."""

    expression: str
    target: str
    agents: int
    key: str
    stat: str | None
    operator: str
    limit: float

    def holds(self, value: float) -> bool:
        return COMPARE[self.operator](value, self.limit)


@dataclass(frozen=True)
class Slo:
    """A service level objective: a demand on one number, at whatever level."""

    expression: str
    key: str
    stat: str | None
    operator: str
    limit: float

    def holds(self, value: float) -> bool:
        return COMPARE[self.operator](value, self.limit)


def parse_slo(text: str) -> Slo:
    """Reads `KEY[.STAT] < number`. Raises ValueError as `parse_threshold`."""
    scan = _Scanner(text, _SLO_FORM)
    return Slo(text, *_demand(scan))


def parse_threshold(text: str) -> Threshold:
    """Reads one threshold. Raises ValueError with the column (from 1) of a mistake and what would be right."""
    scan = _Scanner(text, _FORM)
    target = scan.take(r"\*|[a-z0-9_-]+", "a target's name or *")
    scan.take(r"\.", "a dot")
    agents = int(scan.take(r"agents=[1-9][0-9]{0,8}", "agents=N with N of 1 or more").partition("=")[2])
    scan.take(r"\.", "a dot")
    return Threshold(text, target, agents, *_demand(scan))


def _demand(scan: "_Scanner") -> tuple[str, str | None, str, float]:
    """Key, statistic, comparison and limit."""
    key, stat = _key(scan)
    comparison = scan.take(r"\s*(<=|>=|<|>)", "one of < <= > >=").strip()
    limit = float(scan.take(_NUMBER, "a number, such as 2 or 500ms"))
    if not scan.peek(r"\s*$"):
        limit *= _unit(scan, key, stat)
    scan.take(r"\s*$", "the end")
    return key, stat, comparison, limit


def _unit(scan: "_Scanner", key: str, stat: str | None) -> float:
    """The factor of the unit that stands behind the number. ValueError for one that the key is not measured in."""
    known: dict[str, float] = {}
    if key.endswith("_s") and not key.endswith("_per_s") and stat != "count":
        known = _SECONDS
    elif key.endswith(("_per_s", "_per_h", "_per_h_per_gpu")):
        known = {unit: 1.0 for unit in _RATES if unit.endswith("/h") == ("_per_h" in key)}
    elif stat != "count" and _is_share(key):
        known = {"%": 0.01}
    start = scan.at
    unit = scan.take(r"\s*[a-zA-Z/%]+", f"a unit of {key} ({', '.join(known) or 'it has none'}), or the end").strip()
    if unit not in known:
        scan.at = start
        raise scan.error(f"a unit of {key}: {', '.join(known)}" if known else f"the end: {key} is a plain number")
    return known[unit]


def _is_share(key: str) -> bool:
    metric = metric_of(key)
    return metric.unit == "%" or metric.most == 1.0


def _key(scan: "_Scanner") -> tuple[str, str | None]:
    start = scan.at
    name = scan.take(r"error_adjusted\.[a-z0-9_]+|[a-z0-9_]+", "a key of the results")
    known = [metric.key for metric in METRICS if metric.stats]
    if f"{name}_s" in known:
        name = f"{name}_s"
    if name not in known:
        scan.at = start
        raise scan.error(f"a key of the results ({_hint(name, known)})")
    stats = [stat for stat in metric_of(name).stats if stat]
    if not stats:
        if scan.peek(r"\."):
            raise scan.error(f"the end of the key: {name} is a single number")
        return name, None
    if not scan.peek(r"\."):
        raise scan.error(f"a statistic of {name}: one of {', '.join(stats)}")
    scan.take(r"\.", "a dot")
    start = scan.at
    stat = scan.take(r"[a-z0-9_]+", f"one of {', '.join(stats)}")
    if stat not in stats:
        scan.at = start
        raise scan.error(f"one of {', '.join(stats)}")
    return name, stat


def _hint(name: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(names)}"


class _Scanner:
    def __init__(self, text: str, form: str) -> None:
        self.text, self.at, self.form = text, 0, form

    def peek(self, pattern: str) -> bool:
        return re.compile(pattern).match(self.text, self.at) is not None

    def take(self, pattern: str, expected: str) -> str:
        match = re.compile(pattern, re.ASCII).match(self.text, self.at)
        if not match:
            raise self.error(expected)
        self.at = match.end()
        return match[0]

    def error(self, expected: str) -> ValueError:
        rest = self.text[self.at : self.at + 20].strip()
        found = repr(rest) if rest else "the end"
        return ValueError(f"{self.text!r}, column {self.at + 1}: expected {expected}, found {found}; {self.form}")

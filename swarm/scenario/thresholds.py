"""Thresholds as text, `TARGET.agents=N.KEY[.STAT] < number`: read and checked here, evaluated by `swarm.analysis`."""

import difflib
import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

LATENCIES = ("ttft_s", "itl_s", "tpot_s", "e2e_s", "effective_e2e_s", "start_delay_s", "tool_s", "job_s", "ttfat_s")
LATENCY_STATS = ("count", "mean", "p50", "p90", "p95", "p99", "max")
STATS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(LATENCIES, LATENCY_STATS),
    "error_adjusted.e2e_s": ("p50", "p95", "p99"),
    "decode_tokens_per_s": ("p10", "p50", "p90"),
    "agent_output_tokens_per_s": ("p10", "p50", "p90", "min", "max"),
    "ttft_inflation": ("p50", "p95"),
    "itl_inflation": ("p50", "p95"),
    "tokens": ("prompt", "cached_prompt", "completion"),
    "jobs": ("started", "finished", "censored"),
}
"""Keys of a stage's results that hold several numbers, and what these are called."""

SINGLE: tuple[str, ...] = (
    "in_flight_mean",
    "in_flight_max",
    "agents_alive_mean",
    "server_running_mean",
    "output_tokens_per_s",
    "requests_per_s",
    "jobs_per_h",
    "jobs_per_h_per_gpu",
    "fairness_jain",
    "retention",
    "contention",
    "decode_retention",
    "slowdown",
    "scaling_efficiency",
    "tokens_per_job",
    "errors",
    "cpu_share",
    "lag_p99_s",
    "chunks_per_s",
    "coalesced_chunks",
)
"""Keys of a stage's results that hold one number; `errors` is the number of failed requests of any kind."""

RELATIVE = (
    "retention",
    "contention",
    "decode_retention",
    "slowdown",
    "scaling_efficiency",
    "ttft_inflation",
    "itl_inflation",
)
"""Those that compare with one agent on the same target: none has a value where that was not measured."""

COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_FORM = "a threshold reads TARGET.agents=N.KEY[.STAT] < NUMBER, such as moe.agents=4.ttft_s.p95 < 2.0"
_SLO_FORM = "an SLO reads KEY[.STAT] < NUMBER, such as ttft_s.p95 < 2.0"


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
    limit = float(scan.take(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", "a number (units are not written)"))
    scan.take(r"\s*$", "the end")
    return key, stat, comparison, limit


def _key(scan: "_Scanner") -> tuple[str, str | None]:
    start = scan.at
    name = scan.take(r"error_adjusted\.[a-z0-9_]+|[a-z0-9_]+", "a key of the results")
    if name in SINGLE:
        if scan.peek(r"\."):
            raise scan.error(f"the end of the key: {name} is a single number")
        return name, None
    if name not in STATS:
        scan.at = start
        raise scan.error(f"a key of the results ({_hint(name, (*STATS, *SINGLE))})")
    if not scan.peek(r"\."):
        raise scan.error(f"a statistic of {name}: one of {', '.join(STATS[name])}")
    scan.take(r"\.", "a dot")
    start = scan.at
    stat = scan.take(r"[a-z0-9_]+", f"one of {', '.join(STATS[name])}")
    if stat not in STATS[name]:
        scan.at = start
        raise scan.error(f"one of {', '.join(STATS[name])}")
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

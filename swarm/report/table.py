"""The table of a run as text cells: one row a stage, in the units that people read. Terminal and Markdown draw it."""

import re
from dataclasses import dataclass
from typing import Any

Results = dict[str, Any]
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")
_TRIAL = re.compile(r"^trial \d+: ")


@dataclass(frozen=True)
class Column:
    """`head` and `unit` are the two lines of its header; a narrow terminal drops columns, the highest `rank` first."""

    head: str
    unit: str
    rank: int = 0

    @property
    def title(self) -> str:
        """On one line."""
        return f"{self.head} {self.unit}".strip()


COLUMNS = (
    Column("model", ""),
    Column("agents", ""),
    Column("in", "flight", 1),
    Column("tok/s each", "while served"),
    Column("of 1", "agent"),
    Column("tok/s", "in all", 2),
    Column("TTFT", "p50 s", 3),
    Column("TTFT", "p95 s"),
    Column("ITL", "p50 ms", 4),
    Column("ITL", "p99 ms", 2),
    Column("job", "p50 s", 1),
    Column("jobs", "per h", 6),
    Column("fairness", "(Jain)", 4),
    Column("cached", "prompt", 5),
    Column("errors", ""),
    Column("times", "± ms", 5),
)
SERVED = '"tok/s each while served": of the median agent, per second of its requests; tools and thinking are left out.'
"""Said under every table: an agent that waits on tools gets less than that by the clock."""


def rows(results: Results) -> list[list[str]]:
    """A row per stage and target, a cell per column; an invalid stage has a "!" behind its agents."""
    return [[target["name"], *_cells(stage)] for target in results["targets"] for stage in target["stages"]]


def notes(results: Results) -> list[str]:
    """What a reader should know that makes nothing invalid, each once, with the stages that it holds for."""
    found = [
        (note, f"{target['name']} at {stage['agents']}")
        for target in results["targets"]
        for stage in target["stages"]
        for note in stage["notes"]
    ]
    return [*results["notes"], *(f"{text} ({where})" for text, where in _alike(found))]


def reasons(results: Results) -> list[str]:
    """Why stages are invalid: each reason once, behind the stages that it holds for."""
    found = []
    for reason in results["invalid_reasons"]:
        where, _, text = reason.partition(": ")
        found.append((_TRIAL.sub("", text), where))
    return [f"{where}: {text}" for text, where in _alike(found)]


def _alike(found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Texts that say the same but for their numbers become one: the first, and all the places that it was found at."""
    places: dict[str, dict[str, None]] = {}
    texts: dict[str, list[str]] = {}
    for text, where in found:
        key = _NUMBER.sub("#", text)
        places.setdefault(key, {})[where] = None
        texts.setdefault(key, []).append(text)
    return [
        (texts[key][0] + ("" if len(set(texts[key])) == 1 else " [numbers: the first]"), ", ".join(places[key]))
        for key in texts
    ]


def _cells(stage: dict[str, Any]) -> list[str]:
    latency, throughput, tokens = stage["latency"], stage["throughput"], stage["tokens"]
    cached, prompt = tokens["cached_prompt"], tokens["prompt"]
    return [
        f"{stage['agents']}{'' if stage['valid'] else '!'}",
        number(stage["achieved"]["in_flight_mean"], 2),
        number(stage["agent_output_tokens_per_s"]["p50"], 1),
        percent(stage["retention"]),
        number(throughput["output_tokens_per_s"], 0),
        number(latency["ttft_s"]["p50"], 2),
        number(latency["ttft_s"]["p95"], 2),
        number(latency["itl_s"]["p50"], 1, 1000),
        number(latency["itl_s"]["p99"], 1, 1000),
        number(latency["job_s"]["p50"], 1),
        number(throughput["jobs_per_h"], 0),
        number(stage["fairness_jain"], 2),
        percent(cached / prompt if cached is not None and prompt else None),
        str(sum(stage["errors"].values())) if stage["status"] == "run" else "-",
        number(stage["client"]["timing_error_p99_s"], 2, 1000),
    ]


def number(value: float | str | None, digits: int, scale: float = 1.0) -> str:
    """1,234.5; "-" for what was not measured, "inf" as it is."""
    if value is None or isinstance(value, str):
        return value or "-"
    return f"{value * scale:,.{digits}f}"


def percent(share: float | None, digits: int = 0) -> str:
    return "-" if share is None else f"{share * 100:.{digits}f} %"

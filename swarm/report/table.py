"""The table of a run as text cells: one row a stage, in the units that people read. Terminal and Markdown draw it."""

from typing import Any

Results = dict[str, Any]

HEADER = (
    "model",
    "agents",
    "in flight",
    "tok/s per agent",
    "of 1 agent",
    "tok/s in all",
    "TTFT p50 s",
    "TTFT p95 s",
    "ITL p50 ms",
    "ITL p99 ms",
    "job p50 s",
    "jobs/h",
    "fairness",
    "cached",
    "errors",
)


def rows(results: Results) -> list[list[str]]:
    """A row per stage and target, in the order of `HEADER`; an invalid stage has a "!" behind its agents."""
    return [[target["name"], *_cells(stage)] for target in results["targets"] for stage in target["stages"]]


def _cells(stage: dict[str, Any]) -> list[str]:
    latency, throughput, tokens = stage["latency"], stage["throughput"], stage["tokens"]
    cached = (
        tokens["cached_prompt"] / tokens["prompt"] if tokens["cached_prompt"] is not None and tokens["prompt"] else None
    )
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
        percent(cached),
        str(sum(stage["errors"].values())),
    ]


def number(value: float | str | None, digits: int, scale: float = 1.0) -> str:
    """1,234.5; "-" for what was not measured, "inf" as it is."""
    if value is None or isinstance(value, str):
        return value or "-"
    return f"{value * scale:,.{digits}f}"


def percent(share: float | None) -> str:
    return "-" if share is None else f"{share * 100:.0f} %"

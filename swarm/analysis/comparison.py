"""Targets side by side, level by level: each MoE model against each dense one."""

from collections.abc import Iterator, Sequence
from typing import Any

from swarm.analysis.lookup import lookup

METRICS: tuple[tuple[str, str | None], ...] = (
    ("output_tokens_per_s", None),
    ("agent_output_tokens_per_s", "p50"),
    ("decode_tokens_per_s", "p50"),
    ("ttft_s", "p50"),
    ("ttft_s", "p95"),
    ("itl_s", "p95"),
    ("e2e_s", "p50"),
    ("job_s", "p50"),
    ("jobs_per_h", None),
    ("jobs_per_h_per_gpu", None),
    ("retention", None),
)
"""Rates beside job times: a model that writes more for the same job can win one and lose the other."""


def compare(targets: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The `comparison` of the results. A ratio is candidate / baseline, and None unless both stages are valid."""
    return [
        _row(level, key, stat, baseline, candidate)
        for baseline, candidate in _pairs(targets)
        for level in range(len(baseline["stages"]))
        for key, stat in METRICS
    ]


def _pairs(targets: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(baseline, candidate): dense and MoE; where there is only one kind, the first target and each other."""
    dense = [target for target in targets if target["architecture"] == "dense"]
    moe = [target for target in targets if target["architecture"] == "moe"]
    if not dense or not moe:
        dense, moe = list(targets[:1]), list(targets[1:])
    return ((baseline, candidate) for baseline in dense for candidate in moe)


def _row(level: int, key: str, stat: str | None, baseline: dict[str, Any], candidate: dict[str, Any]) -> dict[str, Any]:
    stages = baseline["stages"][level], candidate["stages"][level]
    below, above = (lookup(stage, key, stat) for stage in stages)
    valid = all(stage["valid"] for stage in stages)
    return {
        "agents": stages[0]["agents"],
        "metric": f"{key}.{stat}" if stat else key,
        "baseline": baseline["name"],
        "candidate": candidate["name"],
        "baseline_value": below,
        "candidate_value": above,
        "ratio": above / below if valid and above is not None and below else None,
        "ci95": None,
        "significant": None,
    }

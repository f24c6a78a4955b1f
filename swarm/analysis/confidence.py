"""How sure the numbers of a stage are: 95 % intervals over its trials."""

import math
from collections.abc import Sequence
from typing import Any

from swarm.analysis.lookup import lookup
from swarm.analysis.paired import t_interval

Key = tuple[str, str | None]
"""A number of a stage, as `lookup` takes it: ("ttft_s", "p95"), ("retention", None)."""

AMOUNTS: tuple[Key, ...] = (
    ("output_tokens_per_s", None),
    ("requests_per_s", None),
    ("jobs_per_h", None),
    ("agent_output_tokens_per_s", "p10"),
    ("agent_output_tokens_per_s", "p50"),
    ("decode_tokens_per_s", "p50"),
    ("ttft_s", "p50"),
    ("ttft_s", "p95"),
    ("itl_s", "p50"),
    ("itl_s", "p95"),
    ("tpot_s", "p50"),
    ("e2e_s", "p50"),
    ("e2e_s", "p95"),
    ("job_s", "p50"),
    ("tokens_per_job", None),
    ("fairness_jain", None),
)
RATIOS: tuple[Key, ...] = (
    ("retention", None),
    ("decode_retention", None),
    ("slowdown", None),
    ("scaling_efficiency", None),
    ("ttft_inflation", "p50"),
    ("ttft_inflation", "p95"),
    ("itl_inflation", "p50"),
    ("itl_inflation", "p95"),
)
"""Of these it is the logarithm that is averaged."""
CONTENTION: Key = ("contention", None)


def named(key: Key) -> str:
    return ".".join(part for part in key if part)


def intervals(trials: Sequence[dict[str, Any]]) -> dict[str, list[float] | None]:
    """The `ci95` of a stage, from its `trials_detail`: by name, None where fewer than two trials tell."""
    return {named(key): interval_of(trials, key) for key in (*AMOUNTS, *RATIOS, CONTENTION)}


def interval_of(trials: Sequence[dict[str, Any]], key: Key) -> list[float] | None:
    """A t interval of one number over the trials that ran; None where one of them lacks it."""
    if key == CONTENTION:
        kept = interval_of(trials, ("retention", None))
        return None if kept is None else [1 - kept[1], 1 - kept[0]]
    values = [lookup(trial, *key) for trial in trials if trial["status"] == "run"]
    if any(value is None or not math.isfinite(value) for value in values):
        return None
    known = [value for value in values if value is not None]
    if key not in RATIOS:
        found = t_interval(known)
        return None if found is None else [max(0.0, found[0]), min(1.0, found[1]) if "jain" in key[0] else found[1]]
    found = t_interval([math.log(value) for value in known]) if all(known) else None
    return None if found is None else [math.exp(found[0]), math.exp(found[1])]

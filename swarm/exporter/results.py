"""`results.json` as series, `swarm_result_*`: one value a run, for looking back over many nights."""

from collections.abc import Iterator, Mapping
from typing import Any

from swarm.exporter.text import Family, gauges, labels

_SINGLE = {
    "swarm_result_output_tokens_per_second": (("throughput", "output_tokens_per_s"), "Output tokens a second."),
    "swarm_result_jobs_per_hour": (("throughput", "jobs_per_h"), "Jobs finished an hour."),
    "swarm_result_requests_per_second": (("throughput", "requests_per_s"), "Complete requests a second."),
    "swarm_result_in_flight": (("achieved", "in_flight_mean"), "Mean number of requests in flight."),
    "swarm_result_fairness_jain": (("fairness_jain",), "Jain's index over the agents' output rates."),
    "swarm_result_retention_ratio": (("retention",), "Agents' output rate at this level / at 1 agent."),
    "swarm_result_contention_ratio": (("contention",), "1 - retention."),
    "swarm_result_slowdown_ratio": (("slowdown",), "Job time at this level / alone, geometric mean over templates."),
    "swarm_result_prompt_tokens": (("tokens", "prompt"), "Prompt tokens in the window."),
    "swarm_result_cached_prompt_tokens": (("tokens", "cached_prompt"), "Of these, from the prefix cache."),
    "swarm_result_completion_tokens": (("tokens", "completion"), "Completion tokens in the window."),
    "swarm_result_client_lag_p99_seconds": (("client", "lag_p99_s"), "Lateness of the load generator."),
}
_LATENCIES = ("ttft_s", "itl_s", "tpot_s", "e2e_s", "job_s", "tool_s")
_QUANTILES = {"p50": "0.5", "p90": "0.9", "p95": "0.95", "p99": "0.99"}


def result_families(run: str, results: Mapping[str, Any]) -> Iterator[Family]:
    """The families of a run's results; what was not measured is left out, never 0."""
    common = {"run": run, "scenario": results["name"]}
    stages = [
        (labels({**common, "target": t["name"], "architecture": t["architecture"], "agents": stage["agents"]}), stage)
        for t in results["targets"]
        for stage in t["stages"]
        if stage["status"] == "run"
    ]
    yield gauges(
        "swarm_result_valid", "1 where the stage is valid.", [(key, int(stage["valid"])) for key, stage in stages]
    )
    for name, (path, text) in _SINGLE.items():
        values = [(key, value) for key, stage in stages if (value := _at(stage, *path)) is not None]
        yield gauges(name, text, values)
    yield gauges(
        "swarm_result_latency_seconds",
        "Percentiles of latencies, from the HdrHistograms.",
        [
            (f'{key},metric="{metric.removesuffix("_s")}",q="{quantile}"', value)
            for key, stage in stages
            for metric in _LATENCIES
            for stat, quantile in _QUANTILES.items()
            if isinstance(value := _at(stage, "latency", metric, stat), int | float)
        ],
    )
    yield gauges(
        "swarm_result_agent_output_tokens_per_second",
        "Output rate of one agent while it is served.",
        [
            (f'{key},agent="{agent["agent"]}"', agent["output_tokens_per_s"])
            for key, stage in stages
            for agent in stage["per_agent"]
            if agent["output_tokens_per_s"] is not None
        ],
    )
    yield gauges(
        "swarm_result_attribution_ratio",
        "Share of the growth of job time that a cause accounts for.",
        [
            (f'{key},cause="{cause}"', share)
            for key, stage in stages
            for cause, share in (stage.get("attribution") or {}).items()
            if isinstance(share, int | float)
        ],
    )
    yield gauges(
        "swarm_result_errors",
        "Failed requests in the window.",
        [(key, sum(stage["errors"].values())) for key, stage in stages],
    )
    yield gauges(
        "swarm_result_threshold_passed",
        "1 where the scenario's threshold holds.",
        [
            (labels({**common, "threshold": threshold["expression"]}), int(threshold["passed"]))
            for threshold in results["thresholds"]
        ],
    )


def _at(stage: Mapping[str, Any], *path: str) -> Any:
    found: Any = stage
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found

"""Facts of a run as such for Prometheus: from its resolved scenario and its environment, as in its files."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from swarm.catalogue import latencies
from swarm.scenario.architecture import architecture_of
from swarm.scenario.thresholds import parse_threshold


@dataclass(frozen=True)
class RunInfo:
    """The labels of `swarm_run_info`, and of `swarm_target_info` by target."""

    run: str
    facts: Mapping[str, object]
    targets: Mapping[str, Mapping[str, object]]
    """By target: at least its `architecture`."""
    slos: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """By metric: what becomes a bucket edge, in seconds."""


def run_info(run: str, scenario: Mapping[str, Any], environment: Mapping[str, Any]) -> RunInfo:
    """Facts of the run named `run`; `scenario` and `environment` are the contents of its files of these names."""
    versions = environment.get("versions") or {}
    known = environment.get("targets") or {}
    return RunInfo(
        run=run,
        facts={
            "scenario": scenario["name"],
            "route": scenario.get("route", ""),
            "driver": scenario["agents"].get("driver", "script"),
            "workload": environment.get("workload") or "",
            "swarm_version": versions.get("swarm", ""),
            "git": environment.get("git") or "",
        },
        targets={
            target["name"]: {
                "architecture": target.get("architecture") or architecture_of(_model(target, known)) or "unknown",
                "model": _model(target, known),
                "server_version": (known.get(target["name"]) or {}).get("version") or "",
                "gpus": target["gpus"],
            }
            for target in scenario["targets"]
        },
        slos=_slos(scenario.get("thresholds") or ()),
    )


def _model(target: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    return (known.get(target["name"]) or {}).get("model") or target.get("model") or ""


def _slos(thresholds: Iterable[str]) -> dict[str, tuple[float, ...]]:
    """The demands on latencies, by metric: as bucket edges, the share of requests that keeps to them is exact."""
    found: dict[str, tuple[float, ...]] = {}
    observed = {metric.key: metric.observation for metric in latencies()}
    for threshold in map(parse_threshold, thresholds):
        if (metric := observed.get(threshold.key)) and threshold.stat != "count":
            found[metric] = (*found.get(metric, ()), threshold.limit)
    return found

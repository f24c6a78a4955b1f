"""The few numbers of a run that histories and gates go by, and what makes two runs comparable."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from swarm import __version__
from swarm.analysis.lookup import lookup
from swarm.errors import UsageError
from swarm.recording import rundir
from swarm.recording.history import Entry, StageEntry


@dataclass(frozen=True)
class Headline:
    """A number by its key and statistic; `tail`: of the few slowest, which vary more from run to run."""

    key: str
    stat: str | None
    text: str
    worse: Literal["up", "down"]
    tail: bool = False

    @property
    def name(self) -> str:
        return f"{self.key}.{self.stat}" if self.stat else self.key

    def of(self, stage: dict[str, Any]) -> float | None:
        """None where it was not measured, or is infinite."""
        value = lookup(stage, self.key, self.stat)
        return None if value is None or value == float("inf") else value


GATED = (
    Headline("output_tokens_per_s", None, "output tok/s", "down"),
    Headline("ttft_s", "p50", "TTFT p50", "up"),
    Headline("ttft_s", "p95", "TTFT p95", "up", tail=True),
    Headline("itl_s", "p50", "ITL p50", "up"),
    Headline("job_s", "p50", "job time p50", "up"),
)
KEPT = (
    *GATED,
    Headline("itl_s", "p99", "ITL p99", "up", tail=True),
    Headline("e2e_s", "p95", "E2E latency p95", "up", tail=True),
    Headline("jobs_per_h", None, "jobs/h", "down"),
    Headline("errors", None, "failed requests", "up"),
    Headline("contention", None, "contention", "up"),
    Headline("fairness_jain", None, "fairness (Jain)", "down"),
)
"""What the history keeps."""

_LOAD = ("route", "agents", "sampling", "tasks")
_OF_STAGE = ("warmup", "duration", "trials")
_OF_SOAK = ("pattern", "window", "base", "period")


def entry_of(directory: Path, results: dict[str, Any]) -> Entry:
    """The run as the history keeps it. Raises UsageError when `directory` is not a run directory."""
    scenario, environment = _files(directory)
    told = environment.get("targets") or {}
    kind = "soak" if results.get("soak") else "predict" if results["predicted"] else "run"
    started_at = results["started_at"] or ""
    return Entry(
        id=f"{started_at} {directory.resolve().name}",
        started_at=started_at,
        name=results["name"],
        kind=kind,
        verdict=results["verdict"],
        predicted=results["predicted"],
        directory=str(directory.resolve()),
        scenario=digest(scenario),
        hardware=_hardware(environment),
        swarm=__version__,
        stages=tuple(
            StageEntry(
                target=target["name"],
                model=target["model"],
                engine=(told.get(target["name"]) or {}).get("version"),
                agents=stage["agents"],
                valid=stage["valid"],
                numbers={each.name: value for each in KEPT if (value := each.of(stage)) is not None},
            )
            for target in results["targets"]
            for stage in target["stages"]
            if stage["status"] == "run"
        ),
    )


def load_of(scenario: Mapping[str, Any]) -> dict[str, Any]:
    """All in a resolved scenario that makes its load what it is, and not where the server is or what it must hold."""
    load = {key: scenario.get(key) for key in _LOAD}
    load["stage"] = {key: (scenario.get("stage") or {}).get(key) for key in _OF_STAGE}
    soak = scenario.get("soak")
    return load | {"soak": {key: soak.get(key) for key in _OF_SOAK} if soak else None}


def digest(scenario: Mapping[str, Any]) -> str:
    text = json.dumps(load_of(scenario), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def scenario_of(directory: Path) -> dict[str, Any]:
    """The resolved scenario of a run. Raises UsageError."""
    return _files(directory)[0]


def _files(directory: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        scenario = yaml.safe_load((directory / rundir.SCENARIO).read_text(encoding="utf-8"))
        path = directory / rundir.ENVIRONMENT
        environment = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"{directory}: not readable as a run directory: {error}") from None
    if not isinstance(scenario, dict) or not isinstance(environment, dict):
        raise UsageError(f"{directory}: not readable as a run directory")
    return scenario, environment


def _hardware(environment: Mapping[str, Any]) -> str:
    """Of the load generator, which is what is known; a server's own is in its target's name, if anywhere."""
    machine = environment.get("machine") or {}
    return f"{machine.get('cpu') or 'unknown CPU'} x {machine.get('cores') or '?'}"

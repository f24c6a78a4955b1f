"""The few numbers of a run that histories and gates go by, and what makes two runs comparable."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swarm import __version__
from swarm.analysis.lookup import value_of
from swarm.catalogue import Number, kept
from swarm.recording import rundir
from swarm.recording.history import Entry, StageEntry
from swarm.results import Measured, Results

_LOAD = ("route", "agents", "sampling", "tasks")
_OF_STAGE = ("warmup", "duration", "trials")
_OF_SOAK = ("pattern", "window", "base", "period")


def entry_of(directory: Path, results: Results) -> Entry:
    """The run as the history keeps it. Raises UsageError when `directory` is not a run directory."""
    scenario, environment = rundir.read_scenario(directory), rundir.read_environment(directory)
    told = environment.get("targets") or {}
    kind = "soak" if results.soak else "predict" if results.predicted else "run"
    started_at = results.started_at or ""
    return Entry(
        id=f"{started_at} {rundir.name_of(directory)}",
        started_at=started_at,
        name=results.name,
        kind=kind,
        verdict=results.verdict,
        predicted=results.predicted,
        directory=rundir.printable(directory.resolve()),
        scenario=digest(scenario),
        hardware=_hardware(environment),
        swarm=__version__,
        stages=tuple(
            StageEntry(
                target=target.name,
                model=target.model,
                engine=(told.get(target.name) or {}).get("version"),
                agents=stage.agents,
                valid=stage.valid,
                numbers={each.name: value for each in kept() if (value := finite(each, stage)) is not None},
            )
            for target in results.targets
            for stage in target.stages
            if stage.status == "run"
        ),
    )


def finite(number: Number, stage: Measured) -> float | None:
    """None where it was not measured, or is infinite."""
    value = value_of(stage, number)
    return None if value == float("inf") else value


def load_of(scenario: Mapping[str, Any]) -> dict[str, Any]:
    """All in a resolved scenario that makes its load what it is, and not where the server is or what it must hold."""
    load = {key: scenario.get(key) for key in _LOAD}
    load["stage"] = {key: (scenario.get("stage") or {}).get(key) for key in _OF_STAGE}
    soak = scenario.get("soak")
    return load | {"soak": {key: soak.get(key) for key in _OF_SOAK} if soak else None}


def digest(scenario: Mapping[str, Any]) -> str:
    in_json = json.loads(json.dumps(load_of(scenario), skipkeys=True, default=str))  # YAML's keys may be of any types
    return hashlib.sha256(json.dumps(in_json, sort_keys=True).encode()).hexdigest()[:16]


def _hardware(environment: Mapping[str, Any]) -> str:
    """Machine of the load generator, which is known; a server's own is in its target's name, if anywhere."""
    machine = environment.get("machine") or {}
    return f"{machine.get('cpu') or 'unknown CPU'} x {machine.get('cores') or '?'}"

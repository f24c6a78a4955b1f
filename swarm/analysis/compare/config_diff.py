"""In what the configurations of runs differ: said before any number is compared."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarm.recording import rundir

GROUPS = ("run", "model", "server", "GPUs", "versions", "scenario", "client", "machine")
"""In the order in which they are listed: what most likely explains a difference comes first."""

ABSENT = object()
_LABELS = ("started_at", "scenario.name")
"""They differ between any two runs."""
_TOLD_AGAIN = (".api_base", ".models", ".notes")
"""Left out, as a running target reports them: a simulated one has any free port, and the scenario says the rest."""

Settings = dict[str, Any]
"""Dotted path -> value, of all leaves."""


@dataclass(frozen=True)
class Difference:
    """One setting, with its value in each of the runs; `ABSENT` where a run has no such setting."""

    group: str
    key: str
    values: tuple[Any, ...]


def read_settings(directory: Path) -> Settings:
    """The settings of a run: its scenario, and what is known of its surroundings. Raises UsageError."""
    scenario, environment = rundir.read_scenario(directory), rundir.read_environment(directory)
    return {**dict(leaves(scenario, "scenario")), **dict(leaves(environment))}


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested JSON by dotted path. Items that have a name go by it; a list of plain values is one leaf."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(inner, Mapping | list) for inner in value):
        for place, inner in enumerate(value):
            name = inner.get("name", place) if isinstance(inner, Mapping) else place
            yield from leaves(inner, f"{path}.{name}")
    else:
        yield path, value


def differences(runs: Sequence[Settings], *, joined: bool) -> list[Difference]:
    """Settings that are not the same in all `runs`, the most telling first.

    `joined`: each run is of one target, whatever it is called, and these are compared with each other.
    """
    named = [{_key(path, joined): value for path, value in run.items() if path not in _LABELS} for run in runs]
    found: dict[tuple[str, str], Difference] = {}
    for key in {key: None for run in named for key in run}:
        values = tuple(run.get(key, ABSENT) for run in named)
        if any(value != values[0] for value in values) and not _follows(key, named):
            one = Difference(_group(key), key.removeprefix("scenario."), values)
            found.setdefault((one.group, repr(values)), one)  # a server tells again what the scenario says of it
    return sorted(found.values(), key=lambda one: GROUPS.index(one.group))


def _key(path: str, joined: bool) -> str:
    """Without the target's name where each run has one target."""
    parts = path.split(".")
    place = 1 if parts[0] == "scenario" else 0
    if joined and len(parts) > place + 2 and parts[place] == "targets":
        del parts[place + 1]
    return ".".join(parts)


def _follows(key: str, runs: Sequence[Settings]) -> bool:
    """Whether a difference says nothing of its own, such as the parameters of another profile, or of the profile that
    a prediction has and a measured run has not."""
    if key.startswith("scenario."):
        return False
    target, profile, _ = key.partition(".profile.")
    models = {str(run.get(f"{target}.model")) for run in runs}
    known = all(any(other.startswith(f"{target}.profile.") for other in run) for run in runs)
    return key.endswith(_TOLD_AGAIN) or bool(profile and (len(models) > 1 or not known))


def _group(key: str) -> str:
    section, _, rest = key.partition(".")
    if section in ("versions", "client", "machine"):
        return section
    if section in ("predicted", "workload") or key in ("scenario.label", "scenario.note"):
        return "run"
    if section == "scenario" and not rest.startswith("targets."):
        return "scenario"
    leaf = rest.rpartition(".")[2]
    if leaf in ("gpus", "gpu", "tp"):
        return "GPUs"
    return "model" if leaf in ("model", "architecture", "profile", "name") else "server"

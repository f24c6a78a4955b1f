"""From a scenario file to a `Scenario`, or to an error that says where it is wrong and what would be right."""

from pathlib import Path
from typing import Any

import yaml

from swarm.catalogue import metric_of
from swarm.errors import ScenarioError, UsageError
from swarm.recording.redaction import plain
from swarm.scenario.architecture import architecture_of
from swarm.scenario.document import (
    Document,
    KeyPath,
    did_you_mean,
    dotted,
    parse_document,
    read_document,
    validate,
)
from swarm.scenario.files import find_files
from swarm.scenario.schema import SHORT_FORMS, Fault, Faults, Scenario, Target
from swarm.scenario.thresholds import Threshold, parse_threshold
from swarm.text import listed


def load_scenario(path: Path, settings: list[str] | None = None) -> Scenario:
    """Reads, overrides (`settings`: "a.b=value", later ones win) and checks a scenario.

    Raises ScenarioError with file, line, key path, what was expected and the nearest valid name, one line a mistake.
    """
    return resolve(read_scenario(path), settings)


def read_scenario(path: Path) -> Document:
    """A scenario file as it is written. Raises ScenarioError where that is no set of keys and values."""
    document = read_document(path)
    if not isinstance(document.data, dict):
        raise ScenarioError(f"{path}:1: expected keys and values such as `targets:`; `swarm init` writes an example")
    document.data.setdefault("name", path.stem)
    return document


def resolve(document: Document, settings: list[str] | None = None) -> Scenario:
    """A document as `read_scenario` gives it, overridden and checked. Raises as `load_scenario`."""
    for setting in settings or []:
        _set(document, setting)
    missing = find_files(document)
    scenario = validate(document, Scenario)
    if missing:
        raise ScenarioError("\n".join(missing))
    if hopeless := [
        document.mistake(("thresholds", index), f"{text}: {why}")
        for index, text in enumerate(scenario.thresholds)
        if (why := _never_met(parse_threshold(text), scenario))
    ]:
        raise ScenarioError("\n".join(hopeless))
    for index, target in enumerate(scenario.targets):
        if target.simulate:
            _check_profile(document, ("targets", index), scenario, index)
    return scenario.model_copy(update={"targets": list(map(_with_architecture, scenario.targets))})


def _with_architecture(target: Target) -> Target:
    """The target with the architecture that its profile or model name tells, where the scenario leaves it out."""
    if target.architecture is not None:
        return target
    if not target.simulate:
        return target.model_copy(update={"architecture": architecture_of(target.model)})
    from swarm.simulator.profiles import profiles  # only where something is simulated

    return target.model_copy(update={"architecture": profiles.load(target.simulate.profile).architecture})


def load_faults(given: str) -> list[Fault]:
    """Faults as a scenario lists them: a list in YAML such as "[{kind: reset, rate: 2%}]", or the file that holds it.

    Raises ScenarioError as `load_scenario`.
    """
    inline = given.lstrip().startswith(("[", "{"))
    document = parse_document(given, Path("--faults")) if inline else read_document(Path(given))
    lines = {("faults", *path): line for path, line in document.lines.items()}
    return validate(Document(document.path, {"faults": document.data}, lines), Faults).faults


def dump_scenario(scenario: Scenario) -> str:
    """The resolved scenario as YAML that `load_scenario` reads back as the same scenario."""
    values = scenario.model_dump(mode="json")
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    return text if plain(text) == text else yaml.safe_dump(values, sort_keys=False)


def _set(document: Document, setting: str) -> None:
    """Applies one `--set a.b=value`; list items are named by index or by their `name`."""
    name, equals, text = setting.partition("=")
    steps = name.strip().split(".")
    option = f"--set {name if steps[0] == 'targets' else setting}"  # an address, a header: it may be a secret
    if not equals or not all(steps):
        raise UsageError(f"{option}: expected a.b=value, such as agents.levels=[1,4]")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise UsageError(f"{option}: not readable as YAML") from None
    put(document, name, value, option)


def put(document: Document, name: str, value: Any, option: str) -> None:
    """Sets the key at the dotted path `name`; mistakes in it are told of the `option` that it came from."""
    steps = name.strip().split(".")
    spot: Any = document.data
    path: KeyPath = ()
    for number, step in enumerate(steps):
        key = _index(spot, step, option) if isinstance(spot, list) else step
        path = (*path, key)
        if number == len(steps) - 1:
            spot[key] = value
            break
        if isinstance(spot, dict) and spot.get(key) is None:
            spot[key] = {}
        elif key in SHORT_FORMS and isinstance(spot[key], str):
            spot[key] = {SHORT_FORMS[key]: spot[key]}
        spot = spot[key]
        if not isinstance(spot, dict | list):
            raise UsageError(f"{option}: {dotted(path)} is a single value and has no {steps[number + 1]!r}")
    document.origins[path] = option


def _index(items: list[Any], step: str, option: str) -> int:
    if step.isdecimal() and int(step) < len(items):
        return int(step)
    names = [item.get("name") if isinstance(item, dict) else None for item in items]
    if step in names:
        return names.index(step)
    known = listed(name for name in names if name) or f"0 to {len(items) - 1}"
    raise UsageError(f"{option}: no item {step!r} in this list; it has {known}")


def _never_met(threshold: Threshold, scenario: Scenario) -> str | None:
    """Why no run of the scenario can have a value for a threshold; None: it may."""
    names, levels = [target.name for target in scenario.targets], scenario.agents.levels
    if threshold.target not in ("*", *names):
        return f"no target is called {threshold.target}{did_you_mean(threshold.target, names)}"
    if threshold.agents not in levels:
        return f"no stage has so many agents: agents.levels is [{listed(levels)}]"
    if metric_of(threshold.key).relative and 1 not in levels:
        return f"{threshold.key} compares with one agent, and agents.levels is [{listed(levels)}]"
    return None


def _check_profile(document: Document, path: KeyPath, scenario: Scenario, index: int) -> None:
    from swarm.simulator.profiles import profiles  # only where something is simulated

    target, context = scenario.targets[index], scenario.agents.context
    assert target.simulate
    try:
        profile = profiles.load(target.simulate.profile, **target.simulate.overrides())
    except ValueError as error:
        raise ScenarioError(document.mistake((*path, "simulate"), str(error))) from None
    if target.architecture not in (None, profile.architecture):
        message = f"{target.architecture}, but the profile {profile.name} is {profile.architecture}"
        raise ScenarioError(document.mistake((*path, "architecture"), message))
    if context > profile.max_context:
        message = f"{context} tokens, but {profile.name} serves at most {profile.max_context}; lower `context`"
        raise ScenarioError(document.mistake(("agents", "context"), message))

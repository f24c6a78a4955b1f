"""From a scenario file to a `Scenario`, or to an error that says where it is wrong and what would be right."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from swarm.errors import ScenarioError, UsageError
from swarm.scenario.schema import Scenario

MAX_BYTES = 1_000_000
MAX_NODES = 20_000  # with aliases written out: a small file cannot blow up

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class _Source:
    """A file's values, and the line of each by its path."""

    path: Path
    data: Any
    lines: dict[Path_, int] = field(default_factory=dict)
    origins: dict[Path_, str] = field(default_factory=dict)
    """Options of the command line, by the path that they set."""

    def where(self, path: Path_) -> str:
        for end in range(len(path), -1, -1):
            if path[:end] in self.origins:
                return self.origins[path[:end]]
            if path[:end] in self.lines:
                return f"{self.path}:{self.lines[path[:end]]}"
        return str(self.path)


def load_scenario(path: Path, settings: list[str] | None = None) -> Scenario:
    """Reads, overrides (`settings`: "a.b=value", later ones win) and checks a scenario.

    Raises ScenarioError with file, line, key path, what was expected and the nearest valid name, one line a mistake.
    """
    source = _read(path)
    for setting in settings or []:
        _set(source, setting)
    if isinstance(source.data, dict):
        source.data.setdefault("name", path.stem)
    try:
        scenario = Scenario.model_validate(source.data)
    except ValidationError as invalid:
        raise ScenarioError("\n".join(_explain(source, error) for error in invalid.errors())) from None
    for index, target in enumerate(scenario.targets):
        if target.simulate:
            _check_profile(source, ("targets", index), target.simulate.profile, scenario.agents.context)
    return scenario


def dump_scenario(scenario: Scenario) -> str:
    """The resolved scenario as YAML that `load_scenario` reads back as the same scenario."""
    return yaml.safe_dump(scenario.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True)


def _read(path: Path) -> _Source:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ScenarioError(f"{path}: cannot read the scenario: {reason}") from None
    if len(text) > MAX_BYTES:
        raise ScenarioError(f"{path}: a scenario of {len(text)} characters; the limit is {MAX_BYTES}")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ScenarioError(f"{path}:{line}: not readable as YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ScenarioError(f"{path}: not readable as YAML: {error}") from None
    if root is None or not isinstance(data, dict):
        raise ScenarioError(f"{path}:1: expected keys and values such as `targets:`; try `swarm init` for an example")
    lines: dict[Path_, int] = {}
    for key_path, line in _walk(root, (), frozenset()):
        if key_path in lines:
            raise ScenarioError(f"{path}:{line}: {_dotted(key_path)}: given twice (first on line {lines[key_path]})")
        lines[key_path] = line
        if len(lines) > MAX_NODES:
            raise ScenarioError(f"{path}: more than {MAX_NODES} values once its aliases are written out")
    return _Source(path, data, lines)


def _walk(node: yaml.Node, path: Path_, above: frozenset[int]) -> Iterator[tuple[Path_, int]]:
    """Every value's path and line, aliases written out; a node inside itself ends the walk at `MAX_NODES`."""
    yield path, node.start_mark.line + 1
    if id(node) in above:
        raise ScenarioError(f"line {node.start_mark.line + 1}: an alias that contains itself")
    inside = above | {id(node)}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else str(key.tag)
            if name != "<<":
                yield from _walk_key(key, value, (*path, name), inside)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _walk(value, (*path, index), inside)


def _walk_key(key: yaml.Node, value: yaml.Node, path: Path_, inside: frozenset[int]) -> Iterator[tuple[Path_, int]]:
    nested = _walk(value, path, inside)
    next(nested)
    yield path, key.start_mark.line + 1
    yield from nested


def _set(source: _Source, setting: str) -> None:
    """Applies one `--set a.b=value`; list items are named by index or by their `name`."""
    dotted, equals, text = setting.partition("=")
    if not equals or not dotted.strip():
        raise UsageError(f"--set {setting}: expected a.b=value, such as agents.levels=[1,4]")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UsageError(f"--set {setting}: {text!r} is not readable as YAML") from None
    steps = dotted.strip().split(".")
    spot: Any = source.data
    path: Path_ = ()
    for number, step in enumerate(steps):
        last = number == len(steps) - 1
        key = _index(spot, step, f"--set {setting}") if isinstance(spot, list) else step
        path = (*path, key)
        if last:
            spot[key] = value
        elif isinstance(spot, dict):
            spot = spot.setdefault(key, {})
            spot = {} if spot is None else spot
        else:
            spot = spot[key]
        if not last and not isinstance(spot, dict | list):
            raise UsageError(f"--set {setting}: {_dotted(path)} is a single value and has no {steps[number + 1]!r}")
    source.origins[path] = f"--set {setting}"


def _index(items: list[Any], step: str, option: str) -> int:
    if step.isdecimal() and int(step) < len(items):
        return int(step)
    names = [item.get("name") if isinstance(item, dict) else None for item in items]
    if step in names:
        return names.index(step)
    known = ", ".join(str(name) for name in names if name) or f"0 to {len(items) - 1}"
    raise UsageError(f"{option}: no item {step!r} in this list; it has {known}")


def _explain(source: _Source, error: ErrorDetails) -> str:
    path = tuple(step for step in error["loc"] if step not in ("tasks", "folder") or step == error["loc"][0])
    message = str(error["ctx"]["error"]) if error["type"] == "value_error" else error["msg"]
    if error["type"] == "extra_forbidden":
        message = f"unknown key {_nearest(str(path[-1]), _keys_at(path[:-1]))}"
    elif error["type"] == "literal_error":
        expected = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        message = (
            f"expected {_one_of(expected)}, not {error['input']!r} {_nearest('', expected, error['input'])}".rstrip()
        )
    elif error["type"] == "missing":
        message = "missing; this key has no default"
    elif error["type"].endswith("_type"):
        message = f"{message.replace('Input should be', 'expected')}, not {error['input']!r}"
    elif error["type"] == "string_pattern_mismatch":
        message = f"expected a name of the form {error['ctx']['pattern']}, not {error['input']!r}"
    return f"{source.where(path)}: {_dotted(path) or 'scenario'}: {message}"


def _keys_at(path: Path_) -> list[str]:
    """The keys that the schema knows below `path`."""
    schema = Scenario.model_json_schema()
    node = schema
    for step in path:
        below = _resolved(node, schema["$defs"])
        node = below.get("items", {}) if isinstance(step, int) else below.get("properties", {}).get(step, {})
    return list(_resolved(node, schema["$defs"]).get("properties", {}))


def _resolved(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The object or list behind references and alternatives; an empty one where there is none."""
    if "$ref" in node:
        return _resolved(definitions[node["$ref"].rpartition("/")[2]], definitions)
    options = [_resolved(option, definitions) for key in ("anyOf", "oneOf") for option in node.get(key, [])]
    return next((option for option in options if "properties" in option or "items" in option), node)


def _one_of(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"one of {', '.join(names)}"


def _nearest(shown: str, names: list[str], given: Any = None) -> str:
    close = difflib.get_close_matches(str(shown if given is None else given), names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else (f"expected one of {', '.join(names)}" if given is None else "")
    return f"{shown}; {hint}" if shown and hint else f"({hint})" if hint else shown


def _dotted(path: Path_) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def _check_profile(source: _Source, path: Path_, name: str, context: int) -> None:
    from swarm.simulator.profiles import load

    try:
        profile = load(name)
    except ValueError as error:
        raise ScenarioError(f"{source.where((*path, 'simulate'))}: {_dotted(path)}.simulate: {error}") from None
    if context > profile.max_model_len:
        raise ScenarioError(
            f"{source.where(('agents', 'context'))}: agents.context: {context} tokens, but {name} serves at most "
            f"{profile.max_model_len}; lower `context` or raise the target's `max_model_len`"
        )

"""YAML files that people write: their values with the line of each, and mistakes explained by file, line and key."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from swarm.errors import ScenarioError
from swarm.text import shortened

MAX_CHARACTERS = 1_000_000
MAX_NODES = 20_000  # with aliases written out: a small file cannot blow up
MAX_DEPTH = 100  # libyaml would overflow its stack
_SECRETIVE = frozenset({"api_base", "api_key_env", "headers", "metrics_url", "metrics_headers", "gpu_metrics_url"})
"""Keys whose value is shown in no message: a secret may stand there by mistake."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml reads the bundled tasks in a tenth of the time

Model = TypeVar("Model", bound=BaseModel)
KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """A file's values, and the line of each by its path."""

    path: Path
    data: Any
    lines: dict[KeyPath, int]
    origins: dict[KeyPath, str] = field(default_factory=dict)
    """Where values came from that are not in the file: options of the command line."""

    def where(self, path: KeyPath) -> str:
        """ "FILE:LINE" of a value, or of the nearest thing around it; or the option that set it."""
        if below := [option for key, option in self.origins.items() if key[: len(path)] == path]:
            return below[-1]
        for end in range(len(path), 0, -1):
            if path[:end] in self.origins:
                return self.origins[path[:end]]
            if path[:end] in self.lines:
                return f"{self.path}:{self.lines[path[:end]]}"
        return f"{self.path}:1"

    def mistake(self, path: KeyPath, message: str) -> str:
        return f"{self.where(path)}: {dotted(path) + ': ' if path else ''}{message}"


def read_document(path: Path) -> Document:
    """Reads a YAML file. Raises ScenarioError for what is not YAML, keys given twice, and files that blow up."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_CHARACTERS + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ScenarioError(f"{path}: cannot be read: {reason}") from None
    return parse_document(text, path)


def parse_document(text: str, path: Path) -> Document:
    """The same of a text; `path` is what mistakes in it are told of."""
    if len(text) > MAX_CHARACTERS:
        raise ScenarioError(f"{path}: more than {MAX_CHARACTERS} characters, the limit")
    try:
        _check_depth(text)
        loader = _LOADER(text)
        root = loader.get_single_node()
        lines = _lines(path, root) if root else {}
        data = loader.construct_document(root) if root else None
    except yaml.MarkedYAMLError as error:
        # Something missing at the end is noticed on the line behind it.
        line = min(error.problem_mark.line, text.count("\n")) + 1 if error.problem_mark else 1
        raise ScenarioError(f"{path}:{line}: not readable as YAML: {error.problem}") from None
    except RecursionError:
        raise ScenarioError(f"{path}: nested too deeply, or an alias inside itself") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ScenarioError(f"{path}: not readable as YAML: {error}") from None
    return Document(path, data, lines)


def validate(document: Document, model: type[Model]) -> Model:
    """The document as a `model`. Raises ScenarioError, one line a mistake."""
    try:
        return model.model_validate(document.data)
    except ValidationError as invalid:
        raise ScenarioError("\n".join(explain(document, model, invalid))) from None


def explain(document: Document, model: type[BaseModel], invalid: ValidationError, above: KeyPath = ()) -> Iterator[str]:
    """Each mistake as "FILE:LINE: KEY: what is wrong, what was expected, and the nearest valid name".

    `above` is the path of the value that was validated as a `model`.
    """
    for error in invalid.errors():
        path = tuple(
            step for index, step in enumerate(error["loc"]) if not _is_tag(document, above, error["loc"], index)
        )
        given, message = error["input"], error["msg"]
        if not _SECRETIVE.isdisjoint(path):
            given = _Hidden()
        shown = shortened(repr(given))
        if error["type"] == "value_error":
            message = str(error["ctx"]["error"])
        elif error["type"] == "extra_forbidden":
            known = _keys_at(model, path[:-1])
            message = "unknown key" + (did_you_mean(path[-1], known) or f"; expected one of {', '.join(known)}")
        elif error["type"] == "literal_error":
            expected = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
            message = f"expected {' or '.join(expected)}, not {shown}{did_you_mean(given, expected)}"
        elif error["type"] == "missing":
            message = "missing; this key has no default"
        elif error["type"] == "string_pattern_mismatch":
            message = f"expected a name of the form {error['ctx']['pattern']}, not {shown}"
        elif error["type"] in ("too_short", "too_long"):
            bound, count = ("least", "min_length") if error["type"] == "too_short" else ("most", "max_length")
            message = f"expected at {bound} {error['ctx'][count]} in the list, not {error['ctx']['actual_length']}"
        elif message.startswith("Input should "):
            message = f"expected {message.removeprefix('Input should ').removeprefix('be ')}, not {shown}"
        yield document.mistake((*above, *path), message)


class _Hidden:
    """In the place of a value that may be a secret."""

    def __repr__(self) -> str:
        return "the value that is there"


def dotted(path: KeyPath) -> str:
    """targets[0].name"""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def _check_depth(text: str) -> None:
    """Raises RecursionError for what is nested too deeply. Events come one by one, however deep they are."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise RecursionError
    except yaml.MarkedYAMLError as error:
        # libyaml reads ahead of its events, and may reach a limit of its own first.
        before = text[: error.problem_mark.index] if error.problem_mark else ""
        if sum(map(before.count, "[{")) - sum(map(before.count, "]}")) > MAX_DEPTH:
            raise RecursionError from None
        raise


def _lines(path: Path, root: yaml.Node) -> dict[KeyPath, int]:
    lines: dict[KeyPath, int] = {}
    for key_path, line in _walk(root, ()):
        if key_path in lines:
            raise ScenarioError(f"{path}:{line}: {dotted(key_path)}: given twice (first on line {lines[key_path]})")
        lines[key_path] = line
        if len(lines) > MAX_NODES:
            raise ScenarioError(f"{path}: more than {MAX_NODES} values once its aliases are written out")
    return lines


def _walk(node: yaml.Node, path: KeyPath) -> Iterator[tuple[KeyPath, int]]:
    """Every value's path and line, that of its key where it has one; an alias inside itself ends at `MAX_NODES`."""
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _walk(value, (*path, index))
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == "<<":
                continue  # a merge: its keys may be given again
            below = _walk(value, (*path, str(key.value)))
            yield next(below)[0], key.start_mark.line + 1
            yield from below


def _is_tag(document: Document, above: KeyPath, location: KeyPath, index: int) -> bool:
    """Whether a step of pydantic's location names an alternative of a union and not a key of the document."""
    if index == 0 or not isinstance(location[index], str):
        return False
    around = document.data
    for step in (*above, *(location[:index])):
        try:
            around = around[step]
        except (KeyError, IndexError, TypeError):
            return False
    return not isinstance(around, dict) or (location[index] not in around and index + 1 < len(location))


def _keys_at(model: type[BaseModel], path: KeyPath) -> list[str]:
    """The keys that the model knows below `path`."""
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    node = schema
    for step in path:
        inside = _inside(node, "items" if isinstance(step, int) else "properties", definitions)
        node = inside if isinstance(step, int) else inside.get(step, {})
    return list(_inside(node, "properties", definitions))


def _inside(node: dict[str, Any], part: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """A schema's `part` ("properties" or "items"), behind references and alternatives; empty where there is none."""
    if "$ref" in node:
        return _inside(definitions[node["$ref"].rpartition("/")[2]], part, definitions)
    if part in node:
        return dict(node[part])
    options = (option for key in ("anyOf", "oneOf") for option in node.get(key, []))
    return next((found for option in options if (found := _inside(option, part, definitions))), {})


def did_you_mean(given: Any, names: list[str]) -> str:
    """The nearest of `names` as the end of a message; empty where none is near."""
    close = difflib.get_close_matches(str(given), names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""

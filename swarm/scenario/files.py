"""The files that a scenario names: looked for beside the scenario first, then in the current folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from swarm.scenario.document import Document, KeyPath

_KEYS: tuple[KeyPath, ...] = (
    ("tasks", "path"),
    ("agents", "trace"),
    ("agents", "trace", "path"),
    ("agents", "trace", "workspace"),
    ("client", "ca_file"),
)


def find_files(document: Document) -> list[str]:
    """Lets the path of a file beside the scenario begin in the current folder, as that of an option does already.

    Returns a mistake for each file that is in neither place.
    """
    mistakes = []
    for path in _paths(document.data):
        section, key = _at(document.data, path[:-1]), path[-1]
        name, folders = section[key], [Path()]
        if not any(path[:end] in document.origins for end in range(1, len(path) + 1)):
            folders.insert(0, document.path.parent)
        if not any((found := folder / name).exists() for folder in folders):
            places = " nor ".join(dict.fromkeys(str(folder.absolute()) for folder in folders))
            mistakes.append(document.mistake(path, f"{name}: no such file in {places}"))
        elif found != Path(name):
            section[key] = str(found)
    return mistakes


def _paths(data: Any) -> Iterator[KeyPath]:
    """Paths of all keys whose value is a file's name."""
    yield from (path for path in _KEYS if isinstance(_at(data, path), str))
    targets = _at(data, ("targets",))
    for index in range(len(targets) if isinstance(targets, list) else 0):
        for path in (("targets", index, "simulate"), ("targets", index, "simulate", "profile")):
            name = _at(data, path)
            if isinstance(name, str) and name.endswith(".json"):  # else it is a bundled profile's
                yield path


def _at(data: Any, path: KeyPath) -> Any:
    """The value at `path`; None where there is none."""
    for step in path:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return None
    return data

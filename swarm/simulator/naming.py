"""Names as people type them: case, dashes, vendors and the like make no difference."""

import difflib
import re
from collections.abc import Iterable, Mapping

_SUGGESTIONS = 3


def key(name: str) -> str:
    """Letters and digits of a name, in small letters: `RTX 4090`, `rtx-4090` and `rtx4090` are one."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def index(names: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """From the key of each name and of what else it is called to the name. ValueError where two share a key."""
    found: dict[str, str] = {}
    for name, others in names.items():
        for one in (name, *others):
            if found.setdefault(key(one), name) != name:
                raise ValueError(f"{one!r} could be {found[key(one)]} or {name}")
    return found


def unknown(what: str, name: str, among: Mapping[str, str]) -> ValueError:
    """The error for a name that `among`, an `index`, does not have: with the nearest names it has."""
    near = difflib.get_close_matches(key(name), list(among), n=3 * _SUGGESTIONS, cutoff=0.5)
    close = list(dict.fromkeys(among[one] for one in near))[:_SUGGESTIONS]
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(sorted(set(among.values())))}"
    return ValueError(f"unknown {what} {name[:100]!r}: {hint}")

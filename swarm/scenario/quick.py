"""A scenario without a file: from a server's address and a few options to the document that a file would have been."""

import re
from collections.abc import Mapping
from itertools import accumulate, repeat, takewhile
from operator import mul
from pathlib import Path
from typing import Any, get_args

import yaml

from swarm.errors import UsageError
from swarm.scenario.document import Document
from swarm.scenario.schema import Agents
from swarm.sessions.presets import PRESETS

SCRIPT_CONTEXT, TRACE_CONTEXT = 9000, 32_000
"""Tokens that hold every bundled task; and, where the server does not tell its limit, for a recorded session."""
LEVELS = (1, 4, 8)
STAGE = {"warmup": "10s", "duration": "30s", "until": {"turns": 10, "max": "10m"}, "trials": 3}
SOAK_AGENTS, SOAK_DURATION = 4, "1h"
_LEVELS = re.compile(r"([1-9]\d{0,8})(?:\s*-\s*([1-9]\d{0,8})(?:\s*:\s*([1-9]\d{0,8}))?)?", re.ASCII)
_MOST_LEVELS = 64
_LONGEST_NAME = 24


def parse_levels(text: str) -> list[int]:
    """Numbers of agents: "1,4,8" as they stand, "1-16" doubled from the first to the last (1, 2, 4, 8, 16), "4-16:4" in
    steps of 4. Raises ValueError."""
    levels: list[int] = []
    for part in text.split(","):
        match = _LEVELS.fullmatch(part.strip())
        if not match:
            raise ValueError(f"expected numbers of agents such as 4, 1,4,8, 1-16 (doubling) or 4-16:4, not {text!r}")
        low, high, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 0)
        between = range(low, high + 1, step) if step else _doubled(low, high)
        if high < low or len(between) + len(levels) > _MOST_LEVELS:
            raise ValueError(f"{part.strip()}: expected 1 to {_MOST_LEVELS} numbers of agents, the smaller one first")
        levels += between
    return sorted(set(levels))


def _doubled(low: int, high: int) -> list[int]:
    return [*takewhile(lambda level: level < high, accumulate(repeat(2), mul, initial=low)), high]


def workload_settings(name: str) -> dict[str, Any]:
    """The keys of a scenario that one word stands for: a preset of sessions, a script's name, a trace's file, a run's
    directory, or a folder of tasks. Raises UsageError."""
    scripts, path = script_names(), Path(name)
    if name in PRESETS:
        return {"agents.script": "session", "agents.session": name}
    if name in scripts:
        return {"agents.script": name}
    if path.is_file() or (path / "events.jsonl").is_file():
        return {"agents.driver": "trace", "agents.trace": name}
    if path.is_dir():
        return {"tasks": {"path": name}}
    raise UsageError(
        f"--workload {name}: no such file or folder; expected {', '.join([*PRESETS, *scripts])}, a trace's file, a run "
        "directory or a folder of tasks"
    )


def script_names() -> tuple[str, ...]:
    return tuple(name for name in get_args(Agents.model_fields["script"].annotation) if name != "session")


def server_document(
    api_base: str, model: str, *, key_env: str | None, most_tokens: int | None, chosen: Mapping[str, Any]
) -> Document:
    """The scenario of a run on one server. `most_tokens`: the server's limit of prompt and reply; None: it tells none.
    `chosen`: the keys of the workload, as of `workload_settings`."""
    name = slug(model)
    data: dict[str, Any] = {
        "name": name,
        "targets": [{"name": name.replace(".", "-"), **server_keys(api_base, model, key_env)}],
        "agents": {"levels": list(LEVELS), **context_for(chosen, most_tokens)},
        "stage": STAGE | {"until": dict(STAGE["until"])},  # type: ignore[call-overload]
    }
    return Document(Path(api_base), data, {}, {(key,): "defaults for a server" for key in data})


def context_for(chosen: Mapping[str, Any], most_tokens: int | None) -> dict[str, int]:
    """`agents.context` for a workload, as far as the server takes it: sessions and replays have long ones."""
    if "agents.trace" in chosen:
        return {"context": most_tokens or TRACE_CONTEXT}
    preset = PRESETS.get(chosen.get("agents.session", ""))
    wanted = preset.context if preset else SCRIPT_CONTEXT
    return {"context": min(wanted, most_tokens or wanted)}


def server_keys(api_base: str, model: str, key_env: str | None) -> dict[str, str]:
    """The keys of a target that say where it is."""
    return {"api_base": api_base, "model": model} | ({"api_key_env": key_env} if key_env else {})


def as_soak(document: Document) -> None:
    """Makes it one for `swarm soak`: one level, no growing window."""
    document.data["agents"]["levels"] = [SOAK_AGENTS]
    document.data["stage"] = {"warmup": "10s", "duration": SOAK_DURATION}


def slug(model: str) -> str:
    """A name for a target and its run directory, made of a model's: "Qwen/Qwen2.5-32B" -> "qwen2.5-32b"."""
    text = re.sub(r"[^a-z0-9._-]+", "-", model.rpartition("/")[2].lower())[:_LONGEST_NAME].strip("-._")
    return text or "server"


def as_text(document: Document) -> str:
    """The document as a file that a person goes on with."""
    return (
        "# A scenario for one server. `swarm validate FILE` shows every key with its default.\n"
        "# agents.levels: concurrent agents, one stage each. stage: a window grows until each agent has done\n"
        "# `until.turns` turns on average; 3 or more trials before drawing conclusions.\n"
        + yaml.safe_dump(document.data, sort_keys=False, allow_unicode=True)
    )

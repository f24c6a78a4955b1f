"""Any file that tells what coding agents asked a model for, read as a trace."""

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Literal, get_args

from swarm.errors import UsageError
from swarm.recording import rundir
from swarm.trace.format import Trace, read_lines, read_trace
from swarm.trace.read_events import read_events
from swarm.trace.read_messages import CONVERSATION, read_messages
from swarm.trace.read_mooncake import read_mooncake

Format = Literal["swarm", "events", "messages", "mooncake"]

_READERS: dict[Format, Callable[[Path], Trace]] = {
    "swarm": read_trace,
    "events": read_events,
    "messages": read_messages,
    "mooncake": read_mooncake,
}


def load_trace(path: Path, form: Format | None = None) -> Trace:
    """Reads a trace, a run (its directory, or its `events.jsonl`), conversations, or arrivals with block hashes.

    `form`: None recognises it by its content. Raises UsageError for what is none of these, is damaged, or is empty.
    """
    if path.is_dir():
        path = path / rundir.EVENTS
    trace = _READERS[form or _recognised(path)](path)
    if not trace.turns:
        raise UsageError(f"{path}: there is no turn in it")
    return trace


def _recognised(path: Path) -> Format:
    first = next((line for _, line in islice(read_lines(path), 100) if line.strip()), b"")
    try:
        head = json.loads(first)
    except (ValueError, RecursionError):
        head = None
    if isinstance(head, dict):
        if head.get("type") == "trace":
            return "swarm"
        if "run" in head and "type" in head:
            return "events"
        if any(key in head for key in CONVERSATION):
            return "messages"
        if "hash_ids" in head or "input_length" in head:
            return "mooncake"
    raise UsageError(
        f"{path}: not recognised: its first line is none of a trace (`type: trace`), a run's record, a conversation "
        f"(`messages`) and an arrival (`timestamp`, `input_length`, `output_length`, `hash_ids`); if it is one all the "
        f"same, name the format: {', '.join(get_args(Format))}"
    )

"""A soak's checkpoints: every few minutes all of its files are brought down to the disk, and `checkpoint.json` says so.

`kill -9` costs the last second of records with or without them; a power failure costs what came since the last one.
"""

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from swarm.errors import UsageError
from swarm.recording import rundir
from swarm.recording.rotation import parts_of

_GROWING = (rundir.EVENTS, rundir.SERVER, rundir.HISTOGRAMS)


def take_checkpoint(directory: Path) -> None:
    """Brings the run's files down to the disk. Raises OSError or UsageError."""
    sizes = {}
    for part in (part for name in _GROWING for part in parts_of(directory / name)):
        descriptor = os.open(part, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            sizes[part.name] = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
    rundir.write_json(directory / rundir.CHECKPOINT, {"at": time.time(), "bytes": sizes})


async def keep_checkpoints(
    directory: Path,
    every_s: float,
    say: Callable[[str], None],
    take: Callable[[Path], None] = take_checkpoint,
) -> NoReturn:
    """Takes one at once and then every `every_s` seconds, until cancelled. One that fails is told of, once."""
    failed = False
    while True:
        try:
            await asyncio.to_thread(take, directory)
        except (OSError, UsageError) as error:
            if not failed:
                say(f"no checkpoint could be taken: {error}; what is measured is still being recorded")
            failed = True
        await asyncio.sleep(every_s)


def check_files(directory: Path) -> None:
    """Raises UsageError when a file is shorter than the last checkpoint saw it on the disk."""
    try:
        checkpoint: dict[str, Any] = json.loads((directory / rundir.CHECKPOINT).read_text(encoding="utf-8"))
        sizes = {str(name): int(size) for name, size in checkpoint["bytes"].items()}
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UsageError(f"{directory / rundir.CHECKPOINT}: cannot be read: {error}; delete it to go on") from None
    for name, size in sizes.items():
        found = (directory / name).stat().st_size if (directory / name).exists() else 0
        # The former `events.jsonl` may be one of its parts by now, whole.
        if found < size and not any(part.stat().st_size >= size for part in parts_of(directory / name)):
            raise UsageError(
                f"{directory / name}: {size - found} bytes are gone that the last checkpoint saw on the disk; "
                f"delete {rundir.CHECKPOINT} to go on with what is left"
            )

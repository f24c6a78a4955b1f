"""Temporary folders that no killed run leaves behind for good: the next one removes those of the dead."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from swarm.errors import UsageError

PREFIX = "swarm-run-"
"""No other folder has it: one that is not locked is dead."""


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder, locked while its process lives, and gone at the end. Raises UsageError."""
    try:
        _remove_dead(Path(tempfile.gettempdir()))
        folder, lock = _locked_folder()
    except OSError as error:
        raise UsageError(f"no temporary folder can be made: {error.strerror or error}; TMPDIR says where") from None
    try:
        with folder:
            yield Path(folder.name)
    finally:
        os.close(lock)


def _locked_folder() -> "tuple[tempfile.TemporaryDirectory[str], int]":
    while True:
        folder = tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True)
        lock = os.open(folder.name, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(folder.name):  # else another run has taken it for dead before it was locked
            return folder, lock
        os.close(lock)


def _remove_dead(base: Path) -> None:
    """Removes what nobody has locked any more: folders of this user, and no links to any."""
    for path in base.glob(f"{PREFIX}*"):
        with suppress(OSError):  # in use, another's, no folder, or gone by now
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(lock).st_uid == os.geteuid():
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)

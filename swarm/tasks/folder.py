"""Folders that are copied for every job: which files are left out of the copy, and which ones make a folder unfit."""

import os
import shutil
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from swarm.errors import ScenarioError

MAX_BYTES = 1 << 30
MAX_ENTRIES = 100_000
MAX_DEPTH = 64
"""Directories below a folder; a copy descends one call per level."""
_TOLD = 5
_left_out = shutil.ignore_patterns("__pycache__", "*.pyc", ".git")
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_folder(folder: Path, max_entries: int = MAX_ENTRIES) -> None:
    """Raises ScenarioError, which names the first files, if a copy of `folder` would hang, fail or fill the disk."""
    mistakes = list(islice(_mistakes(folder, max_entries), _TOLD + 1))
    if mistakes[_TOLD:]:
        mistakes[_TOLD:] = [f"{shown(folder)}: has more such files"]
    if mistakes:
        raise ScenarioError("\n".join(mistakes))


def not_copied(directory: str, names: list[str]) -> set[str]:
    """For `shutil.copytree`: caches, version control, and everything but files, directories and links."""
    return {*_left_out(directory, names), *(name for name in names if _kind(os.path.join(directory, name)))}


def shown(path: Path | str) -> str:
    """A path with the bytes escaped that are not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _mistakes(folder: Path, max_entries: int) -> Iterator[str]:
    size = 0
    for entries, (path, depth) in enumerate(_walk(str(folder)), 1):
        status = os.lstat(path)
        size += status.st_size if stat.S_ISREG(status.st_mode) else 0
        if kind := _kind(path):
            yield f"{shown(path)}: is {kind}; a task may hold files, directories and links only. Remove it"
        elif not _is_utf8(os.path.basename(path)):
            yield f"{shown(path)}: its name is not UTF-8 text. Rename it"
        elif not stat.S_ISLNK(status.st_mode) and not os.access(path, os.R_OK):
            yield f"{shown(path)}: cannot be read. Change its permissions"
        elif depth > MAX_DEPTH:
            yield f"{shown(path)[:80]}...: lies more than {MAX_DEPTH} directories deep"
        if entries > max_entries or size > MAX_BYTES:
            yield (
                f"{shown(folder)}: more than {max_entries} files or {MAX_BYTES >> 20} MiB, which every job would copy. "
                "Remove what the tasks do not need"
            )
            return


def _walk(folder: str) -> Iterator[tuple[str, int]]:
    """Everything below `folder` that would be copied, with its depth; links are not followed."""
    waiting = [(folder, 0)]
    while waiting:
        directory, depth = waiting.pop()
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue  # told of as unreadable
        left_out = _left_out(directory, names)
        for name in names:
            if name in left_out:
                continue
            path = os.path.join(directory, name)
            yield path, depth + 1
            if depth <= MAX_DEPTH and stat.S_ISDIR(os.lstat(path).st_mode):
                waiting.append((path, depth + 1))


def _kind(path: str) -> str | None:
    """The name of a file that is none of file, directory and link."""
    return _KINDS.get(stat.S_IFMT(os.lstat(path).st_mode))


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True

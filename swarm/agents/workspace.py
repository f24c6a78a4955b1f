"""A job's private copy of a repository, and the only way to its files.

A path from outside (a model, a script) is never handed to the system as it is. It is split into components, and each
is opened relative to the directory before it without following links, so that neither `..` nor a link, nor one that is
put there between a check and its use, leads out of the repository.
"""

import asyncio
import errno
import logging
import os
import secrets
import shutil
import stat
import subprocess
import threading
import unicodedata
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from swarm.tasks.folder import not_copied

T = TypeVar("T")
MAX_DEPTH = 32
_log = logging.getLogger(__name__)


class WorkspaceError(Exception):
    """A file operation that was refused or failed; the message is meant for the model."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or a link of the repository; `path` is relative to its root."""

    path: str
    size: int
    is_link: bool = False


MAX_WRITTEN_BYTES = 32 << 20
MAX_NEW_ENTRIES = 2_000
"""How many bytes and entries the calls of a job may add to its copy."""


@dataclass(slots=True)
class _Written:
    """Additions so far of a job's calls to its copy. Calls of sub-agents come from threads of their own."""

    size: int = 0
    entries: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, size: int, entries: int) -> None:
        """Before it is written. Raises WorkspaceError where that would be more than a job may add."""
        with self.lock:
            if size > 0 and self.size + size > MAX_WRITTEN_BYTES:
                raise WorkspaceError(
                    f"no file was written: it would take this job to {self.size + size} bytes of the "
                    f"{MAX_WRITTEN_BYTES} that it may add; make files smaller"
                )
            if self.entries + entries > MAX_NEW_ENTRIES:
                raise WorkspaceError(
                    f"no file was written: this job has made {self.entries} files and directories and may make "
                    f"{MAX_NEW_ENTRIES}; change those that there are"
                )
            self.size += size
            self.entries += entries


@dataclass(frozen=True, slots=True)
class Workspace:
    """`repository` is the copy; `scratch` is for temporary files of the processes that run in it."""

    repository: Path
    scratch: Path
    identity: tuple[int, int]
    """Device and inode of `repository`: a process that runs in it may put another directory in its place."""
    _written: _Written = field(default_factory=_Written, compare=False, repr=False)

    def read(self, path: str, limit: int) -> bytes:
        """The bytes of a regular file of at most `limit` bytes. Raises WorkspaceError."""
        parts = split(path)
        with _translated(path), self._directory(parts[:-1]) as directory:
            return _read_at(directory, parts, limit)

    def write(self, path: str, data: bytes, *, must_exist: bool = False) -> bool:
        """Puts `data` at `path` in one step, making directories on the way; True if the file is new.

        The file is written beside its place and renamed into it: a link put there meanwhile is replaced, not followed.
        Raises WorkspaceError.
        """
        parts = split(path)
        if not parts:
            raise WorkspaceError(f"{path}: is a directory, not a file")
        with _translated(path), self._directory(parts[:-1], make=not must_exist) as directory:
            before = _writable(directory, parts[-1], must_exist)
            self._written.add(len(data) - (before.st_size if before else 0), 0 if before else 1)
            temporary = f".{secrets.token_hex(8)}.tmp"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                with os.fdopen(os.open(temporary, flags, 0o600, dir_fd=directory), "wb") as file:
                    file.write(data)
                    os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode) & 0o777 if before else 0o644)
                os.replace(temporary, parts[-1], src_dir_fd=directory, dst_dir_fd=directory)
            except OSError:
                with _missing_is_fine():
                    os.unlink(temporary, dir_fd=directory)
                raise
            return before is None

    def check(self, path: str) -> str:
        """The path of an existing file or directory inside the repository, normalised; "." is its root."""
        parts = split(path)
        if not parts:
            return "."
        with _translated(path), self._directory(parts[:-1]) as directory:
            mode = os.stat(parts[-1], dir_fd=directory, follow_symlinks=False).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise WorkspaceError(f"{path}: is neither a file nor a directory")
        return "/".join(parts)

    def files(self, path: str, most: int) -> list[Entry]:
        """The first `most` files and links below a directory (or the one file that `path` is), sorted by path.

        Caches and hidden directories are left out. Raises WorkspaceError.
        """
        parts = split(path)
        with _translated(path):
            if parts:
                with self._directory(parts[:-1]) as directory:
                    status = os.stat(parts[-1], dir_fd=directory, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    return [Entry("/".join(parts), status.st_size)]
            with self._directory(parts) as directory, closing(_walk(directory, "/".join(parts), MAX_DEPTH)) as found:
                return list(islice(found, most))

    @contextmanager
    def _directory(self, parts: tuple[str, ...], *, make: bool = False) -> Iterator[int]:
        """A descriptor of a directory inside, reached one component at a time."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        current = os.open(self.repository, flags)
        try:
            if _identity(os.fstat(current)) != self.identity:
                raise WorkspaceError("the repository was replaced by another directory")
            for part in parts:
                if make:
                    _make_directory(current, part, self._written)
                below = os.open(part, flags, dir_fd=current)
                os.close(current)
                current = below
            yield current
        finally:
            os.close(current)


@asynccontextmanager
async def open_workspace(repository: Path, root: Path) -> AsyncIterator[Workspace]:
    """A private copy of `repository` in a new directory below `root`, removed at the end, cancelled or not."""
    base = root / f"job-{secrets.token_hex(8)}"
    try:
        yield await in_thread(_copy, repository, base)
    finally:
        await in_thread(_remove, base)


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Runs `function` in a thread, and when cancelled waits for it all the same.

    A thread cannot be stopped, and must not go on working in a directory that is given up.
    """
    work = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise


def split(path: str) -> tuple[str, ...]:
    """The components of a path relative to the root of the repository; `()` is the root itself.

    Raises WorkspaceError for what is no such path. Look-alikes of dots and slashes are judged as what they look like:
    some file systems take them for the same.
    """
    if not path:
        raise WorkspaceError("the path is empty")
    if not path.isprintable():
        raise WorkspaceError(f"{path!r}: the path holds characters that cannot be printed")
    plain = unicodedata.normalize("NFKC", path)
    for spelled in (path, plain):
        if spelled.startswith("/"):
            raise WorkspaceError(
                f"{path}: absolute paths are not allowed; give one relative to the root of the repository"
            )
        if ".." in spelled.replace("\\", "/").split("/"):
            raise WorkspaceError(f'{path}: ".." is not allowed; give a path relative to the root of the repository')
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    if len(parts) > MAX_DEPTH:
        raise WorkspaceError(f"{path[:80]}...: deeper than {MAX_DEPTH} directories")
    return parts


def _copy(repository: Path, base: Path) -> Workspace:
    copy, scratch = base / "repo", base / "tmp"
    shutil.copytree(repository, copy, symlinks=True, ignore=not_copied)
    scratch.mkdir(mode=0o700)
    return Workspace(copy, scratch, _identity(copy.stat()))


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _remove(base: Path) -> None:
    """Removes a workspace; directories that its processes made unreadable are opened first."""
    for _ in range(3):
        if base.is_symlink():
            base.unlink()  # put there by a process; what it points to is not ours
        with suppress(RecursionError):
            shutil.rmtree(base, ignore_errors=True)
        if not os.path.lexists(base):
            return
        with suppress(RecursionError, OSError):
            for directory, _, _ in os.walk(base):
                os.chmod(directory, 0o700)
        subprocess.run(["rm", "-rf", "--", base], stderr=subprocess.DEVNULL)  # directories of any depth
    _log.warning("could not remove %s; remove it by hand", base)


def _read_at(directory: int, parts: tuple[str, ...], limit: int) -> bytes:
    name, path = (parts[-1], "/".join(parts)) if parts else (".", ".")
    # Without O_NONBLOCK, opening a named pipe would wait for its writer.
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    try:
        status = os.fstat(descriptor)
        _refuse_irregular(status, path)
        if status.st_size > limit:
            raise WorkspaceError(f"{path}: {status.st_size} bytes, more than the {limit} that can be opened")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise WorkspaceError(f"{path}: more than the {limit} bytes that can be opened")
    return data


def _refuse_irregular(status: os.stat_result, path: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise WorkspaceError(f"{path}: is a directory, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise WorkspaceError(f"{path}: is not a regular file")
    if status.st_nlink > 1:
        # The copy holds none: it was made later, and its other name may be anywhere.
        raise WorkspaceError(f"{path}: has a hard link, and may be a file outside the repository")


def _writable(directory: int, name: str, must_exist: bool) -> os.stat_result | None:
    """The status of the file to replace, or None for a new one. Root is held to permissions as well."""
    if not os.fstat(directory).st_mode & stat.S_IWUSR:
        raise WorkspaceError(f"{name}: its directory is read-only")
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        if must_exist:
            raise
        return None
    if stat.S_ISLNK(status.st_mode):
        raise WorkspaceError(f"{name}: is a symbolic link, which is not followed")
    _refuse_irregular(status, name)
    if not status.st_mode & stat.S_IWUSR:
        raise WorkspaceError(f"{name}: is read-only")
    return status


def _make_directory(directory: int, name: str, written: _Written) -> None:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        if not os.fstat(directory).st_mode & stat.S_IWUSR:
            raise WorkspaceError(f"{name}: the directory that would hold it is read-only") from None
        written.add(0, 1)
        os.mkdir(name, 0o755, dir_fd=directory)


def _walk(directory: int, above: str, depth: int) -> Generator[Entry, None, None]:
    with os.scandir(directory) as scan:
        entries = sorted(scan, key=lambda entry: entry.name)
    for entry in entries:
        path = f"{above}/{entry.name}" if above else entry.name
        if entry.is_symlink():
            yield Entry(path, 0, is_link=True)
        elif entry.is_file(follow_symlinks=False):
            yield Entry(path, entry.stat(follow_symlinks=False).st_size)
        elif entry.is_dir(follow_symlinks=False) and depth > 0 and not _hidden(entry.name):
            try:
                below = os.open(
                    entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory
                )
            except OSError:
                continue  # unreadable, or no longer a directory
            try:
                yield from _walk(below, path, depth - 1)
            finally:
                os.close(below)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__pycache__"


@contextmanager
def _translated(path: str) -> Iterator[None]:
    """Errors of the system, in words for the model. ELOOP and ENOTDIR are what O_NOFOLLOW says of a link."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise WorkspaceError(f"{path}: is or leads through a symbolic link, which is not followed") from None
        if error.errno == errno.ENOENT:
            raise WorkspaceError(f"{path}: no such file or directory; list_files shows what there is") from None
        if error.errno == errno.ENOTDIR:
            raise WorkspaceError(f"{path}: a part of the path is not a directory, or is a symbolic link") from None
        raise WorkspaceError(f"{path}: {error.strerror}") from None


@contextmanager
def _missing_is_fine() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        return

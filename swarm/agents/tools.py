"""The tools of a coding agent, executed for real in a job's workspace.

Whatever the model wrote, the answer is a result that can be handed back to it: a call that cannot be carried out is a
result that is not ok, never an exception.
"""

import asyncio
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from swarm.agents.driver import Call
from swarm.agents.sandbox import match
from swarm.agents.sandbox.launch import Launcher, environment, low_priority
from swarm.agents.sandbox.match import Match, Text, find
from swarm.agents.sandbox.process import Finished, run_bounded
from swarm.agents.workspace import Workspace, WorkspaceError, in_thread, open_workspace
from swarm.recording.records import CallMistake
from swarm.tasks.calls import ARGUMENTS, Arguments, EditFile, ListFiles, ReadFile, RunTests, Search, WriteFile
from swarm.text import shortened

_NOTE_BYTES = 500
"""Bytes kept free in a test result for notes on how it ended and on the cut."""

_MATCHER = (sys.executable, "-I", "-S", "-W", "ignore", match.__file__)
"""A program of our own that matches a pattern; what Python has to say of the pattern is no part of its answer."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The `text` that goes back to the model, whether the call did its work, and if not why, in a few words."""

    ok: bool
    text: str
    error: str | None = None
    work_ns: int = 0
    """Nanoseconds that the call took, waiting for a test slot included."""
    mistake: CallMistake | None = None
    """The fault in the call itself, because of which it was not carried out at all; None: the call was well-formed."""
    waited_ns: int = 0
    """For a test slot."""


@dataclass(frozen=True, slots=True)
class ToolLimits:
    """Bounds of a single call. Bytes are of UTF-8 text."""

    output_bytes: int = 16_000
    """Length of a result; the rest is cut, and the result says so."""
    read_bytes: int = 1_000_000
    write_bytes: int = 256_000
    list_entries: int = 500
    search_matches: int = 100
    search_files: int = 2_000
    search_bytes: int = 8_000_000
    search_s: float = 10.0
    test_s: float = 60.0
    flood_bytes: int = 4_000_000
    """Output after which a test run is stopped."""


class ToolError(Exception):
    """A call that cannot be carried out; the message is meant for the model."""

    def __init__(self, message: str, mistake: CallMistake | None = None) -> None:
        super().__init__(message)
        self.mistake = mistake


class Toolbox:
    """The tools of all agents of a process, with `test_slots` test runs at a time (default: one a core).

    `root` is an existing directory for the workspaces. `launcher` is where a sandbox is put around test runs, `matcher`
    the program that searches for patterns.
    """

    def __init__(
        self,
        root: Path,
        *,
        limits: ToolLimits | None = None,
        test_slots: int | None = None,
        launcher: Launcher = low_priority,
        matcher: Sequence[str] = _MATCHER,
    ) -> None:
        self._root = root
        self._limits = limits or ToolLimits()
        self._slots = asyncio.Semaphore(test_slots or os.cpu_count() or 1)
        self._launcher = launcher
        self._matcher = matcher

    def open(self, repository: Path) -> AbstractAsyncContextManager[Workspace]:
        """A job's private copy of `repository`, removed when it is left."""
        return open_workspace(repository, self._root)

    async def execute(self, call: Call, workspace: Workspace) -> ToolResult:
        """Carries out a call; its `arguments` may be the text that a model wrote. Cancelling kills what it started."""
        started = time.perf_counter_ns()
        try:
            arguments = _parse(call)
            if isinstance(arguments, RunTests):
                result = await self._run_tests(arguments, workspace)
            elif isinstance(arguments, Search):
                result = ToolResult(True, await self._search(arguments, workspace))
            else:
                result = ToolResult(True, await in_thread(_file_work, arguments, workspace, self._limits))
        except (ToolError, WorkspaceError) as error:
            result = ToolResult(False, f"Error: {error}", str(error), mistake=getattr(error, "mistake", None))
        except OSError as error:  # such as a full disk: this machine's fault, not the call's
            result = ToolResult(False, f"Error: {call.name} failed here: {error.strerror}", str(error.strerror))
        return ToolResult(
            result.ok,
            _cut(result.text, self._limits.output_bytes),
            result.error and _cut(result.error, 300),
            time.perf_counter_ns() - started,
            result.mistake,
            result.waited_ns,
        )

    async def _search(self, arguments: Search, workspace: Workspace) -> str:
        most = self._limits.search_matches
        texts, note = await in_thread(_searchable, arguments, workspace, self._limits)
        if arguments.regex:
            found = await self._match(arguments.query, texts, workspace)
        else:
            found = await in_thread(find, lambda line: arguments.query in line, texts, most + 1)
        lines = [f"{path}:{number}: {line}" for path, number, line in found[:most]]
        if len(found) > most:
            lines.append(f"[cut: more than {most} matches; narrow the path or make the query longer]")
        shown = "\n".join(lines) or f"no match for {arguments.query!r} in {arguments.path}"
        return f"{shown}\n{note}" if note else shown

    async def _match(self, pattern: str, texts: list[Text], workspace: Workspace) -> list[Match]:
        with tempfile.TemporaryFile() as request:  # a file, so that nothing has to feed a pipe
            await in_thread(_write_request, request, pattern, texts, self._limits.search_matches + 1)
            try:
                finished = await run_bounded(
                    # No sandbox: a pattern is data, and the program that matches it is ours and has its limits.
                    [*low_priority(workspace), *self._matcher],
                    cwd=workspace.repository,
                    env=environment(workspace.scratch),
                    wall_s=self._limits.search_s,
                    keep_bytes=self._limits.flood_bytes,
                    flood_bytes=self._limits.flood_bytes,
                    stdin=request,
                    merge_stderr=False,
                )
            except OSError as error:
                raise ToolError(f"the search could not be started: {error.strerror}") from None
        if finished.stopped or finished.status:
            raise ToolError("query: the pattern takes too much time or memory; simplify it, or search for literal text")
        return _matches(finished.output)

    async def _run_tests(self, arguments: RunTests, workspace: Workspace) -> ToolResult:
        command = await in_thread(_pytest, arguments, workspace)
        limits = self._limits
        asked = time.perf_counter_ns()
        async with self._slots:
            waited = time.perf_counter_ns() - asked
            try:
                finished = await run_bounded(
                    [*await in_thread(self._launcher, workspace), *command],
                    cwd=workspace.repository,
                    env=environment(workspace.scratch),
                    wall_s=limits.test_s,
                    keep_bytes=limits.output_bytes - _NOTE_BYTES,
                    flood_bytes=limits.flood_bytes,
                )
            except OSError as error:
                raise ToolError(f"the tests could not be started: {error.strerror}") from None
        return replace(_test_result(finished, normalise(finished.output, workspace), limits), waited_ns=waited)


def _parse(call: Call) -> Arguments:
    model = ARGUMENTS.get(call.name)
    if model is None:
        raise ToolError(
            f"there is no tool {shortened(repr(call.name))}; the tools are {', '.join(ARGUMENTS)}",
            "unknown",
        )
    try:
        if isinstance(call.arguments, str):
            return model.model_validate_json(call.arguments or "{}")
        return model.model_validate(call.arguments)
    except ValidationError as invalid:
        mistakes = "; ".join(
            f"{'.'.join(map(str, error['loc'])) or 'arguments'}: {error['msg']}" for error in invalid.errors()
        )
        raise ToolError(f"{call.name}: the arguments do not fit its schema: {mistakes}", "malformed") from None


def _file_work(arguments: Arguments, workspace: Workspace, limits: ToolLimits) -> str:
    match arguments:
        case ListFiles():
            return _list_files(arguments, workspace, limits)
        case ReadFile():
            return _read_file(arguments, workspace, limits)
        case EditFile():
            return _edit_file(arguments, workspace, limits)
        case WriteFile():
            return _write_file(arguments, workspace, limits)
    raise AssertionError(f"no tool takes {arguments!r}")


def _list_files(arguments: ListFiles, workspace: Workspace, limits: ToolLimits) -> str:
    entries = workspace.files(arguments.path, limits.list_entries + 1)
    shown = entries[: limits.list_entries]
    lines = [f"{entry.path} -> (link)" if entry.is_link else f"{entry.path} ({entry.size} bytes)" for entry in shown]
    if len(entries) > len(shown):
        lines.append(f"[cut: more than {len(shown)} files; list a directory of it]")
    return "\n".join(lines) or "(no files)"


def _read_file(arguments: ReadFile, workspace: Workspace, limits: ToolLimits) -> str:
    lines = _text(workspace, arguments.path, limits).splitlines()
    first, last = arguments.start_line or 1, arguments.end_line or len(lines)
    if last < first and arguments.end_line:
        raise ToolError(f"{arguments.path}: end_line {last} is before start_line {first}")
    if not lines:
        return f"{arguments.path} is empty"
    if first > len(lines):
        raise ToolError(f"{arguments.path}: start_line {first} is beyond the last line, {len(lines)}")
    chosen = lines[first - 1 : last]
    numbered = "\n".join(f"{number}\t{line}" for number, line in enumerate(chosen, first))
    return f"{arguments.path}, lines {first}-{first + len(chosen) - 1} of {len(lines)}\n{numbered}"


def _searchable(arguments: Search, workspace: Workspace, limits: ToolLimits) -> tuple[list[Text], str]:
    """The texts below the path, and a note if there were more than a search looks at."""
    texts: list[Text] = []
    size = 0
    entries = workspace.files(arguments.path, limits.search_files + 1)
    for number, entry in enumerate(entries):
        size += entry.size
        if number == limits.search_files or size > limits.search_bytes:
            return texts, f"[cut: only the first {number} files were searched]"
        if entry.is_link or entry.size > limits.read_bytes:
            continue
        try:
            texts.append((entry.path, _text(workspace, entry.path, limits)))
        except (ToolError, WorkspaceError):
            continue  # not text, or gone: nothing to find in it
    return texts, ""


def _write_request(file: IO[bytes], pattern: str, texts: list[Text], most: int) -> None:
    """Writes the input of `match.py`."""
    file.write(json.dumps({"pattern": pattern, "texts": texts, "most": most}).encode())
    file.seek(0)


def _matches(answer: str) -> list[Match]:
    """The answer of `match.py`. Raises ToolError for a pattern that is none, and for what is no answer."""
    try:
        match json.loads(answer):
            case {"error": str(reason)}:
                raise ToolError(f"query: not a regular expression: {reason}")
            case {"found": list(found)}:
                return [(str(path), int(number), str(line)) for path, number, line in found]
    except (ValueError, TypeError, OverflowError, RecursionError):
        pass
    raise ToolError("the search gave no answer that can be read; try again, or search for literal text")


def _edit_file(arguments: EditFile, workspace: Workspace, limits: ToolLimits) -> str:
    text = _text(workspace, arguments.path, limits)
    if arguments.new_text == arguments.old_text:
        raise ToolError(f"{arguments.path}: old_text and new_text are the same")
    found = text.count(arguments.old_text)
    if found != 1:
        hint = (
            "read the file again and copy the text exactly" if not found else "add a line of context to make it unique"
        )
        raise ToolError(f"{arguments.path}: old_text was found {found} times, expected once; {hint}")
    line = text[: text.index(arguments.old_text)].count("\n") + 1
    _write(workspace, arguments.path, text.replace(arguments.old_text, arguments.new_text), limits, must_exist=True)
    before, after = (len(part.splitlines()) for part in (arguments.old_text, arguments.new_text))
    return f"{arguments.path}: replaced {before} lines by {after} at line {line}"


def _write_file(arguments: WriteFile, workspace: Workspace, limits: ToolLimits) -> str:
    new = _write(workspace, arguments.path, arguments.content, limits)
    size = len(arguments.content.encode())
    lines = len(arguments.content.splitlines())
    return f"{arguments.path}: {'created' if new else 'replaced'}, {lines} lines, {size} bytes"


def _write(workspace: Workspace, path: str, text: str, limits: ToolLimits, *, must_exist: bool = False) -> bool:
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise ToolError(f"{path}: the text is not valid Unicode, so nothing was written") from None
    if len(data) > limits.write_bytes:
        raise ToolError(f"{path}: {len(data)} bytes, more than the {limits.write_bytes} that can be written")
    return workspace.write(path, data, must_exist=must_exist)


def _text(workspace: Workspace, path: str, limits: ToolLimits) -> str:
    data = workspace.read(path, limits.read_bytes)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ToolError(f"{path}: is not UTF-8 text") from None
    if "\0" in text:
        raise ToolError(f"{path}: is a binary file")
    return text


def _pytest(arguments: RunTests, workspace: Workspace) -> list[str]:
    """pytest of the running interpreter, blind to settings and plug-ins from outside the repository."""
    for value in (arguments.path, arguments.keyword):
        if value and not value.isprintable():
            raise ToolError(f"{value!r} holds characters that cannot be printed")
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "--tb=short", "--color=no"]
    command += ["-p", "no:cacheprovider", "--rootdir=.", "-c", _settings(workspace)]
    if arguments.keyword:
        command.append(f"-k{arguments.keyword}")
    if arguments.path:
        file, colons, test = arguments.path.partition("::")
        if file.startswith(("-", "@")):
            raise ToolError(f"path: {file!r} is not a file or directory of the repository")
        command.append(workspace.check(file) + colons + test)
    return command


def _settings(workspace: Workspace) -> str:
    """The repository's file of settings for pytest, which would otherwise look for one in the directories above."""
    for name, section in (
        ("pytest.ini", b""),
        ("pyproject.toml", b"[tool.pytest"),
        ("tox.ini", b"[pytest]"),
        ("setup.cfg", b"[tool:pytest]"),
    ):
        try:
            if section in workspace.read(name, 1_000_000):
                return name
        except WorkspaceError:
            continue
    return os.devnull


def normalise(output: str, workspace: Workspace) -> str:
    """Test output without what differs from run to run: durations, addresses, and where things lie on this machine."""
    for place, name in (
        (f"{workspace.repository}{os.sep}", ""),
        (str(workspace.repository), "."),
        (str(workspace.scratch), "/tmp"),
        (sys.prefix, "/usr"),
        (sys.base_prefix, "/usr"),
    ):
        output = output.replace(place, name)
    output = re.sub(r"pytest-of-[^/\s]{1,64}/pytest-\d+", "pytest", output)
    output = re.sub(r"((?<=\bat )0x[0-9a-f]*|\b0x[0-9a-f]{8,})(\.\.\.)?", "0x...", output)
    output = re.sub(r"\.\.\.(0?x)?[0-9a-f]+>", "...>", output)  # an address whose beginning pytest cut off
    return re.sub(r" in \d+(\.\d+)?s( \(\d+:\d\d:\d\d\))?(?=\s|$)", "", output)


def _test_result(finished: Finished, output: str, limits: ToolLimits) -> ToolResult:
    if finished.stopped == "time":
        return ToolResult(False, f"{output}\n[stopped: the time limit of {limits.test_s:g} s]", "time limit")
    if finished.stopped == "output":
        return ToolResult(False, f"{output}\n[stopped: more than {limits.flood_bytes} bytes of output]", "output limit")
    if (ended_by := signal_of(finished.status)) is not None:
        return ToolResult(False, f"{output}\n[ended by signal {ended_by}]", f"signal {ended_by}")
    meaning = {0: None, 1: "tests failed", 5: "no tests found"}.get(
        finished.status, f"pytest ended with {finished.status}"
    )
    return ToolResult(finished.status == 0, output.strip() or "(no output)", meaning)


def signal_of(status: int) -> int | None:
    """The signal that ended a command; one inside a sandbox is told as 128 and its number, as by a shell."""
    number = -status if status < 0 else status - 128
    return number if number in set(signal.Signals) else None


def _cut(text: str, limit: int) -> str:
    """At most `limit` bytes of `text`, cut at a character, and a line that says so.

    Names of files may hold bytes that are no UTF-8; they are shown escaped, since the result goes into a JSON request.
    """
    data = text.encode(errors="backslashreplace")
    kept = data[:limit].decode(errors="ignore")
    note = f"\n[cut: {limit} of {len(data)} bytes shown; ask for a part of it]"
    return kept + note if len(data) > limit else kept

"""Files and folders of foreign logs, recognised by what is in them, as one trace."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, get_args

from swarm.errors import UsageError
from swarm.recording import rundir
from swarm.scenario.schema import TraceFormat as Format
from swarm.trace.documents import Lost, documents
from swarm.trace.edit import merge
from swarm.trace.format import Source, Trace, read_trace
from swarm.trace.importers import aiperf, claude_code, codex, conversations, opencode, openhands, otel, swe_agent, weka
from swarm.trace.importers.draft import Draft, replace
from swarm.trace.importers.values import fields, items, word
from swarm.trace.read_events import read_events
from swarm.trace.read_messages import CONVERSATION, read_messages
from swarm.trace.read_mooncake import read_mooncake
from swarm.trace.redact import Redactor

_UNCOUNTED: frozenset[Format] = frozenset({"messages", "swe-agent", "mlperf", "sharegpt"})
"""Formats that tell no tokens: only with their texts can a target's tokenizer count them."""
_AS_IT_IS = Redactor(())
_OWN: dict[Format, Callable[[Path], Trace]] = {
    "swarm": read_trace,
    "events": read_events,
    "messages": read_messages,
    "mooncake": read_mooncake,
}
_LOOKED_AT = 50
"""Documents at a file's beginning by which it is recognised: some logs begin with lines that tell little."""
_MOST_FILES = 100_000
_CODEX = frozenset({"session_meta", "response_item", "turn_context", "event_msg", "compacted"})
_SHAPE = "documents of another shape are left out"


def _is_claude(document: dict[str, Any]) -> bool:
    return (
        document.get("type") in ("user", "assistant", "system")
        and isinstance(document.get("sessionId"), str)
        and ("message" in document or "subtype" in document)
    )


def _is_export(document: dict[str, Any]) -> bool:
    said = items(document.get("messages"))
    return isinstance(document.get("info"), dict) and bool(said) and "parts" in fields(said[0])


_RECOGNISED: tuple[tuple[Format, Callable[[dict[str, Any]], bool]], ...] = (
    ("swarm", lambda document: document.get("type") == "trace" and "source" in document),
    ("codex", lambda document: word(document.get("type")) in _CODEX and isinstance(document.get("payload"), dict)),
    ("claude-code", _is_claude),
    ("events", lambda document: "run" in document and "type" in document),
    ("weka", lambda document: "block_size" in document and isinstance(document.get("requests"), list)),
    ("otel", otel.is_otlp),
    ("swe-agent", lambda document: swe_agent.is_trajectory(document) or swe_agent.is_mini(document)),
    ("mlperf", conversations.is_mlperf),
    ("sharegpt", conversations.is_sharegpt),
    ("opencode", _is_export),
    ("openhands", openhands.is_event),
    ("aiperf", aiperf.is_delta),
    ("messages", lambda document: any(key in document for key in CONVERSATION)),
    ("mooncake", lambda document: "hash_ids" in document or "input_length" in document),
)


def load_trace(path: Path, form: Format | None = None) -> Trace:
    """Reads a trace, a run (its directory, or its `events.jsonl`), or anything else that `read_any` knows.

    Texts are kept where only they tell how long prompts are. Raises UsageError as `read_any` does.
    """
    return read_any([path], form, lambda known: _AS_IT_IS if known in _UNCOUNTED else None)


def read_any(paths: Sequence[Path], form: Format | None, contents: Callable[[Format], Redactor | None]) -> Trace:
    """All that files and folders hold, each format read as its own and the traces merged.

    `form`: None recognises each file by its contents; in a folder, files that are none of these are passed over.
    `contents`: what takes secrets out of a format's texts, which are kept then; None: they are not. Raises UsageError
    for what cannot be read, or holds no turn.
    """
    found: dict[Format, list[Path]] = {}
    passed = 0
    for path in paths:
        for file in _files(path, form):
            known = form if form and file == path else recognised(file)
            if known is None and file == path:
                raise UsageError(_unknown(path))
            if known is None or form not in (None, known):
                passed += 1
            else:
                found.setdefault(known, []).append(file)
    traces = [trace for known, files in found.items() if (trace := _read(known, files, contents(known))).turns]
    if not traces:
        raise UsageError(f"{', '.join(map(str, paths))}: there is no turn in it")
    trace = traces[0] if len(traces) == 1 else merge(traces)
    if passed:
        notes = (*trace.header.notes, f"{passed} files of the folder are of none of the known formats; passed over")
        trace = Trace(replace(trace.header, notes=notes), trace.turns)
    return trace


def recognised(path: Path) -> Format | None:
    """The format of a file, or of a folder that is one; None: none that is known. Raises UsageError if unreadable."""
    if path.is_dir():
        if opencode.is_storage(path):
            return "opencode"
        return "events" if (path / rundir.EVENTS).is_file() else None
    if _is_database(path):
        return "opencode"
    head = [fields(document) for _, document in islice(documents(path, Lost()), _LOOKED_AT)]
    return next((form for form, fits in _RECOGNISED if any(fits(document) for document in head)), None)


def _is_database(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(16) == b"SQLite format 3\0"
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None


def _files(path: Path, form: Format | None) -> Iterator[Path]:
    """The file, the folder where it is one thing, or the files in it, links left out."""
    if not path.is_dir() or recognised(path) or form == "events":
        yield path
        return
    number = 0
    for folder, folders, names in os.walk(path):
        folders.sort()
        if opencode.is_storage(Path(folder)):
            folders.clear()
            yield Path(folder)
            continue
        for name in sorted(names):
            file = Path(folder, name)
            if file.is_symlink() or not file.is_file():
                continue
            number += 1
            if number > _MOST_FILES:
                raise UsageError(f"{path}: more than {_MOST_FILES:,} files; name a folder inside it")
            yield file


def _unknown(path: Path) -> str:
    return (
        f"{path}: not recognised: its beginning is none of a trace (`type: trace`), a run's record, a conversation "
        "(`messages`), an arrival (`timestamp`, `input_length`, `output_length`, `hash_ids`), and a log of a known "
        f"agent; if it is one all the same, name the format: {', '.join(get_args(Format))}"
    )


def _read(form: Format, files: list[Path], contents: Redactor | None) -> Trace:
    if form in _OWN:
        own = _OWN[form]
        return _bare(
            merge([own(_inside(file)) for file in files]) if len(files) > 1 else own(_inside(files[0])), contents
        )
    source: Source = form  # type: ignore[assignment]  # those of _OWN are dealt with
    draft, lost = Draft(source, contents, contents.names if contents and contents is not _AS_IT_IS else ()), Lost()
    _READERS[form](draft, files, lost)
    if lost.lines:
        draft.left_out["damaged lines are left out"] += lost.lines
    for name in lost.cut_off:
        draft.left_out[f"file was read to where it is damaged: {name}"] += 1
    return draft.trace()


def _inside(path: Path) -> Path:
    return path / rundir.EVENTS if path.is_dir() else path


def _bare(trace: Trace, contents: Redactor | None) -> Trace:
    """A trace of ours as it is; contents of others go unless they are wanted, and then without secrets."""
    if trace.header.source != "messages" or contents is _AS_IT_IS:
        return trace
    turns = []
    for turn in trace.turns:
        added = tuple(replace(said, content=_redacted(said.content, contents)) for said in turn.added)
        tools = turn.tools and replace(turn.tools, content=_redacted(turn.tools.content, contents))
        reply = turn.reply
        if reply:
            calls = tuple(replace(call, arguments=_redacted(call.arguments, contents)) for call in reply.calls)
            reply = replace(reply, content=_redacted(reply.content, contents), calls=calls)
        turns.append(replace(turn, added=added, tools=tools, reply=reply))
    redacted = contents.names if contents else ()
    return Trace(replace(trace.header, content=contents is not None, redacted=redacted), tuple(turns))


def _redacted(value: Any, contents: Redactor | None) -> Any:
    return None if contents is None or value is None else contents.value(value)


def _claude(draft: Draft, files: list[Path], lost: Lost) -> None:
    reader = claude_code.ClaudeCode(draft)
    for file in files:
        _all(draft, file, lost, reader.add)
    reader.end()


def _codex(draft: Draft, files: list[Path], lost: Lost) -> None:
    reader = codex.Codex(draft)
    for file in files:
        _all(draft, file, lost, reader.add)
        reader.end_file()
    reader.end()


def _opencode(draft: Draft, files: list[Path], lost: Lost) -> None:
    reader = opencode.OpenCode(draft, lost)
    for file in files:
        if file.is_dir():
            reader.add_folder(file)
        elif _is_database(file):
            reader.add_database(file)
        else:
            _all(draft, file, lost, reader.add)
    reader.end()


def _openhands(draft: Draft, files: list[Path], lost: Lost) -> None:
    """Events of the SDK are a file each, those of a folder one conversation; others are all in one file."""
    folders: dict[Path, list[Path]] = {}
    for file in files:
        first = next((fields(document) for _, document in documents(file, Lost())), {})
        single = openhands.is_sdk_event(first) and len(list(islice(documents(file, Lost()), 2))) == 1
        folders.setdefault(file.parent if single else file, []).append(file)
    for place, events in folders.items():
        state = next(
            (each for each in (place / "base_state.json", place.parent / "base_state.json") if each.is_file()), None
        )
        known = next((document for _, document in documents(state, lost)), None) if state else None
        name = place.parent.name if place.name == "events" else place.stem
        reader = openhands.OpenHands(draft, name, known)
        for file in events:
            _all(draft, file, lost, reader.add)
        reader.end()


def _swe_agent(draft: Draft, files: list[Path], lost: Lost) -> None:
    for file in files:
        for number, document in documents(file, lost):
            name = file.name.split(".", 1)[0] if number == 1 else f"{file.name.split('.', 1)[0]}-{number}"
            said = fields(document)
            add = swe_agent.add_trajectory if swe_agent.is_trajectory(said) else swe_agent.add_mini
            _each(draft, partial(add, draft, name), said)


def _sharegpt(draft: Draft, files: list[Path], lost: Lost) -> None:
    for file in files:
        for number, document in documents(file, lost):
            _each(draft, partial(conversations.add_sharegpt, draft, f"{file.stem}-{number}"), fields(document))


def _lines(make: Callable[[Draft], Any]) -> Callable[[Draft, list[Path], Lost], None]:
    """A reader that takes the documents of all files alike."""

    def read(draft: Draft, files: list[Path], lost: Lost) -> None:
        reader = make(draft)
        for file in files:
            _all(draft, file, lost, reader.add)
        if hasattr(reader, "end"):
            _each(draft, lambda _: reader.end(), None)

    return read


def _all(draft: Draft, file: Path, lost: Lost, add: Callable[[Any], None]) -> None:
    for _, document in documents(file, lost):
        _each(draft, add, document)


def _each(draft: Draft, add: Callable[[Any], None], document: Any) -> None:
    try:
        add(document)
    except (ValueError, RecursionError):
        draft.left_out[_SHAPE] += 1


_READERS: dict[Format, Callable[[Draft, list[Path], Lost], None]] = {
    "claude-code": _claude,
    "codex": _codex,
    "opencode": _opencode,
    "openhands": _openhands,
    "swe-agent": _swe_agent,
    "weka": _lines(weka.Weka),
    "aiperf": _lines(aiperf.AIPerf),
    "mlperf": _lines(conversations.MLPerf),
    "otel": _lines(otel.OTel),
    "sharegpt": _sharegpt,
}

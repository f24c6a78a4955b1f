"""The logs of opencode: messages and their parts, under `storage/`, in `opencode.db`, or as `export` gives them.

A message of the assistant has one step, or several that `step-finish` parts divide (older versions); a step is a
request. Tools run while a reply still streams, so it ends with its last text, thought or call. Described by
sst/opencode, packages/opencode/src/session/message-v2.ts.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from swarm.errors import UsageError
from swarm.trace.documents import Lost, documents
from swarm.trace.format import Parent
from swarm.trace.importers.draft import Draft, Session, Times, Usage
from swarm.trace.importers.values import assistant, called, count_of, fields, items, kind_of, result, scaled_ns, word

NOTES = ("calls for titles are not in the log",)
_MS = 1e6
_Part = dict[str, Any]


def is_storage(folder: Path) -> bool:
    """Whether it is opencode's `storage`, or holds it."""
    return any((place / "message").is_dir() and (place / "part").is_dir() for place in (folder, folder / "storage"))


class OpenCode:
    def __init__(self, draft: Draft, lost: Lost) -> None:
        self._draft = draft
        self._lost = lost
        draft.dated = True
        draft.notes += NOTES
        self._started: dict[str, tuple[str, int]] = {}
        """Sub-agent -> the session and the turn that called for it."""
        self._parents: dict[str, str] = {}

    def add(self, document: Any) -> None:
        """A session as `opencode export` writes it."""
        document = fields(document)
        info = fields(document.get("info"))
        self._meta(info)
        said = (
            (fields(message.get("info")), message.get("parts"))
            for message in map(fields, items(document.get("messages")))
        )
        self._session(word(info.get("id")), said)

    def add_folder(self, folder: Path) -> None:
        """All sessions under `storage`."""
        storage = folder / "storage" if (folder / "storage" / "message").is_dir() else folder
        for path in sorted((storage / "session").glob("*/*.json")):
            self._meta(self._read(path))
        for messages in sorted(path for path in (storage / "message").iterdir() if path.is_dir()):
            infos = sorted((self._read(path) for path in messages.glob("*.json")), key=_created)
            self._session(messages.name, ((info, self._parts(storage, info)) for info in infos))

    def add_database(self, path: Path) -> None:
        """All sessions of a database. Raises UsageError for one of another shape."""
        try:
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as base:
                for identity, parent in base.execute("SELECT id, parent_id FROM session ORDER BY id"):
                    self._meta({"id": identity, "parentID": parent})
                for (identity,) in base.execute(
                    "SELECT DISTINCT session_id FROM message ORDER BY session_id"
                ).fetchall():
                    self._session(str(identity), self._rows(base, identity))
        except sqlite3.Error as error:
            raise UsageError(f"{path}: no database of opencode that can be read: {error}") from None

    def _rows(self, base: sqlite3.Connection, session: Any) -> Iterator[tuple[dict[str, Any], list[Any]]]:
        rows = base.execute("SELECT id, data FROM message WHERE session_id = ? ORDER BY time_created, id", (session,))
        for identity, data in rows.fetchall():
            parts = base.execute("SELECT data FROM part WHERE message_id = ? ORDER BY id", (identity,))
            yield self._loaded(data), [self._loaded(part) for (part,) in parts]

    def _loaded(self, text: Any) -> dict[str, Any]:
        try:
            return fields(json.loads(text))
        except (TypeError, ValueError, RecursionError):
            self._lost.lines += 1
            return {}

    def _read(self, path: Path) -> dict[str, Any]:
        return next((fields(document) for _, document in documents(path, self._lost)), {})

    def _parts(self, storage: Path, info: dict[str, Any]) -> list[Any]:
        name = word(info.get("id"))
        if not name or "/" in name or name.startswith("."):
            return []
        return [self._read(path) for path in sorted((storage / "part" / name).glob("*.json"))]

    def _meta(self, info: dict[str, Any]) -> None:
        if parent := word(info.get("parentID")):
            self._parents[word(info.get("id"))] = parent

    def _session(self, name: str, messages: Iterable[tuple[dict[str, Any], Any]]) -> None:
        session = self._draft.new_session(name)
        begun = False
        for info, parts in messages:
            if not begun:
                agent = "sub-agent" if name in self._parents else word(info.get("agent")) or word(info.get("mode"))
                session.prompt.append(self._draft.unseen(f"opencode {agent}"))
                begun = True
            if info.get("role") == "assistant":
                self._replied(session, info, [fields(part) for part in items(parts)])
            elif text := "\n".join(word(part.get("text")) for part in map(fields, items(parts)) if part.get("text")):
                session.say({"role": "user", "content": text})

    def _replied(self, session: Session, info: dict[str, Any], parts: list[_Part]) -> None:
        sent = _at(info, "created")
        steps = list(_steps(parts))
        for number, step in enumerate(steps):
            last = number == len(steps) - 1
            sent = self._step(
                session, info, step, sent, alone=len(steps) == 1, error=info.get("error") if last else None
            )
        if not steps and info.get("error"):
            self._step(session, info, [], sent, alone=True, error=info["error"])
        if info.get("summary") is True and session.turns:
            summary = session.prompt.pop()
            del session.prompt[1:]
            session.say({"role": "user", "content": ""})
            session.prompt.append(summary)

    def _step(
        self, session: Session, info: dict[str, Any], parts: list[_Part], sent: int | None, alone: bool, error: Any
    ) -> int | None:
        """One request; returns when the tools of its reply had ended."""
        for part in parts:
            if part.get("type") == "retry":
                failed = _at(part, "created")
                status = fields(fields(part.get("error")).get("data")).get("statusCode")
                session.turn(None, times=Times(sent, None, failed), status=status, error=kind_of(status))
                sent = failed or sent
        tools = [part for part in parts if part.get("type") == "tool"]
        spoken = [part for part in parts if part.get("type") in ("text", "reasoning")]
        text = "".join(word(part.get("text")) for part in spoken if part.get("type") == "text")
        thought = "".join(word(part.get("text")) for part in spoken if part.get("type") == "reasoning")
        states = [fields(part.get("state")) for part in tools]
        ends = [_at(part, "end") for part in spoken] + [_at(state, "start") for state in states]
        end = max((each for each in ends if each is not None), default=_at(info, "completed") if alone else None)
        begins = [each for part in spoken if (each := _at(part, "start")) is not None]
        broken = error and not (text or tools)
        status = fields(fields(error).get("data")).get("statusCode")
        calls = [
            called(part.get("callID"), part.get("tool"), state.get("input"))
            for part, state in zip(tools, states, strict=True)
        ]
        session.turn(
            None if broken else assistant(text, calls),
            _usage(
                next((part for part in reversed(parts) if part.get("type") == "step-finish"), info if alone else {})
            ),
            Times(sent, min(begins, default=None), end),
            reasoning=thought,
            finish=next(
                (part.get("reason") for part in parts if part.get("type") == "step-finish"), info.get("finish")
            ),
            model=info.get("modelID"),
            status=status,
            error=_kind(error, status) if broken else None,
        )
        for part, state in zip(tools, states, strict=True):
            child = word(fields(state.get("metadata")).get("sessionId"))
            if child:
                self._started[child] = session.name, len(session.turns)
            session.say(
                result(part.get("callID"), state.get("output") or state.get("error") or ""), [child] if child else []
            )
        return max((each for state in states if (each := _at(state, "end")) is not None), default=end)

    def end(self) -> None:
        """Sub-agents get their parents."""
        for name in self._draft.sessions:
            if name in self._started:
                session, turn = self._started[name]
                self._draft.sessions[name].parent = Parent(session=session, turn=turn)
            elif name in self._parents:
                self._draft.left_out["sub-agents are sessions of their own, as no call of the log names them"] += 1


def _steps(parts: list[_Part]) -> Iterator[list[_Part]]:
    step: list[_Part] = []
    for part in parts:
        step.append(part)
        if part.get("type") == "step-finish":
            yield step
            step = []
    if any(part.get("type") in ("text", "tool", "reasoning", "retry") for part in step):
        yield step


def _usage(told: dict[str, Any]) -> Usage:
    """`output` holds the reasoning, but for versions that tell the `total` too. A count of 0 is one that never came."""
    tokens = fields(told.get("tokens"))
    cache = fields(tokens.get("cache"))
    parts = [count_of(each) for each in (tokens.get("input"), cache.get("read"), cache.get("write"))]
    prompt = sum(part or 0 for part in parts)
    written = (count_of(tokens.get("output")) or 0) + (
        (count_of(tokens.get("reasoning")) or 0) if count_of(tokens.get("total")) else 0
    )
    return Usage(prompt or None, parts[1] if prompt else None, written or None)


def _kind(error: Any, status: Any) -> str:
    return "cancelled" if fields(error).get("name") == "MessageAbortedError" else kind_of(status)


def _at(told: dict[str, Any], what: str) -> int | None:
    return scaled_ns(fields(told.get("time")).get(what), _MS)


def _created(info: dict[str, Any]) -> tuple[int, str]:
    return _at(info, "created") or 0, word(info.get("id"))

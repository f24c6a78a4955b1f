"""The text of requests and replies: the fields of the records that `record.content` asks for."""

import hashlib
import json
from typing import Any

from swarm.client.base import ChatRequest, Observation
from swarm.recording.redaction import Redaction

Messages = list[dict[str, Any]]


class Contents:
    """Contents of one stage in one process: tool schemas are written once, and only new messages of a conversation."""

    def __init__(self, redact: Redaction) -> None:
        self._redact = redact
        self._told: list[tuple[list[dict[str, Any]], str]] = []

    def fields(self, before: Messages, request: ChatRequest, seen: Observation) -> dict[str, Any]:
        """The fields of a `Content` record; `before`: the messages of the job's last request."""
        kept = _alike(before, request.messages)
        tools, schemas = self._tools(request.tools)
        calls = [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in seen.tool_calls]
        said = {
            "messages": request.messages[kept:],
            "schemas": schemas,
            "content": seen.content,
            "reasoning": seen.reasoning,
            "tool_calls": calls,
        }
        return {"kept": kept, "tools": tools} | {name: self._redact.value(value) for name, value in said.items()}

    def _tools(self, schemas: list[dict[str, Any]]) -> tuple[str, list[dict[str, Any]] | None]:
        """Their digest, and they themselves where they were not told before."""
        for told, digest in self._told:
            if told is schemas or told == schemas:
                return digest, None
        digest = hashlib.sha256(json.dumps(schemas, sort_keys=True).encode()).hexdigest()[:16]
        self._told.append((schemas, digest))
        return digest, schemas


def _alike(before: Messages, now: Messages) -> int:
    """How many messages two requests share at their beginning."""
    same = 0
    for old, new in zip(before, now, strict=False):
        if old is not new and old != new:
            break
        same += 1
    return same

"""Values of foreign documents, which may be of any kind, and messages made of them in the form of chat completions."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

Message = dict[str, Any]
"""In the form of OpenAI's chat completions."""


def iso_ns(value: Any) -> int | None:
    """Nanoseconds since 1970 of a time in ISO 8601, UTC where it names no zone; None: it is none."""
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return max(0, round(aware.timestamp() * 1e6) * 1000)


def scaled_ns(value: Any, unit_ns: float) -> int | None:
    """Nanoseconds of a number in another unit; None: it is no number, or one beyond all clocks."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value * unit_ns < 1 << 62:
        return None
    return round(value * unit_ns)


def count_of(value: Any) -> int | None:
    """A count of tokens; None: it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40 else None


def texts(content: Any) -> str:
    """The text of a content in parts of any form, or of a plain one."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(texts(part) if isinstance(part, str | list) else _part(part) for part in content)
    return _part(content)


def _part(part: Any) -> str:
    if isinstance(part, dict):
        said = next((part[key] for key in ("text", "content") if isinstance(part.get(key), str | list)), "")
        return texts(said)
    return ""


def called(identity: Any, name: Any, arguments: Any) -> dict[str, Any]:
    """A call in OpenAI's form."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
    return {"id": str(identity), "type": "function", "function": {"name": str(name), "arguments": text}}


def assistant(text: str, calls: Sequence[dict[str, Any]] = ()) -> Message:
    """A reply as the message that it becomes."""
    return {"role": "assistant", "content": text} | ({"tool_calls": list(calls)} if calls else {})


def result(identity: Any, content: Any) -> Message:
    """The result of a call as a message."""
    return {"role": "tool", "tool_call_id": str(identity), "content": texts(content)}


def fields(value: Any) -> dict[str, Any]:
    """An object of a foreign document; an empty one where it is none."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """An array of a foreign document; an empty one where it is none."""
    return value if isinstance(value, list) else []


def word(value: Any) -> str:
    """A text of a foreign document; "" where it is none."""
    return value if isinstance(value, str) else ""


def kind_of(status: Any) -> str:
    """The kind of a failure with this HTTP status, in the words of a run's errors; `in_band` where it has none."""
    if not isinstance(status, int) or isinstance(status, bool):
        return "in_band"
    known = {401: "unauthorized", 403: "unauthorized", 404: "not_found", 429: "rate_limited", 529: "rate_limited"}
    return known.get(status, "server_error" if status >= 500 else "refused")

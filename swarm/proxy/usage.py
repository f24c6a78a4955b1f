"""Token counts that the client did not ask for: asked for all the same, and taken out again on their way back.

Servers count a streamed reply's tokens only where `stream_options.include_usage` is set, and most agents do not set it.
A client that sends `stream_options` of its own gets exactly what it asked for.
"""

import msgspec

from swarm.client.failures import JSON_ERRORS
from swarm.client.reply.chunks import Chunk
from swarm.client.reply.events import MAX_EVENT_BYTES

_BLANK_LINES = (b"\n\n", b"\r\n\r\n")
_USAGE = msgspec.Raw(b'{"include_usage":true}')


class _Asked(msgspec.Struct):
    stream: bool | None = None


_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_asked = msgspec.json.Decoder(_Asked).decode


def rewritten(body: bytes, model: str | None, usage: bool) -> tuple[bytes, bool]:
    """The request with another model, if there is one to put in, and with a wish for usage where it may have one.

    All other values keep their bytes. The second result: whether the wish is ours. A body that cannot be read is for
    the upstream to refuse.
    """
    try:
        fields, asked = _fields(body), _asked(body)
    except JSON_ERRORS:
        return body, False
    ours = usage and asked.stream is True and "stream_options" not in fields
    if model is not None:
        fields["model"] = msgspec.Raw(msgspec.json.encode(model))
    if ours:
        fields["stream_options"] = _USAGE
    return (msgspec.json.encode(fields) if ours or model is not None else body), ours


class UsageFilter:
    """Takes the event of usage out of a stream; all other bytes pass as they are, whole events at once."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """The complete events so far; a begun one waits for its end, as it has to in its reader anyway."""
        if not self._held and data.endswith(b"\n\n") and b'"usage"' not in data:
            return data  # nearly always: a read brings whole events
        data = self._held + data
        end = max((at + len(mark) for mark in _BLANK_LINES if (at := data.rfind(mark)) >= 0), default=0)
        whole, self._held = data[:end], data[end:]
        if len(self._held) > MAX_EVENT_BYTES:
            whole, self._held = whole + self._held, b""
        return _without_usage(whole) if b'"usage"' in whole else whole

    def rest(self) -> bytes:
        """The text that the end of the stream left without its blank line."""
        rest, self._held = self._held, b""
        return rest


def _without_usage(events: bytes) -> bytes:
    mark = next(mark for mark in reversed(_BLANK_LINES) if mark in events)
    *whole, rest = events.split(mark)
    return b"".join(event + mark for event in whole if not _is_usage(event)) + rest


def _is_usage(event: bytes) -> bool:
    """Whether an event holds usage and nothing else."""
    field, _, data = event.strip().partition(b":")
    try:
        chunk = msgspec.json.decode(data, type=Chunk) if field == b"data" else None
    except JSON_ERRORS:
        return False
    return chunk is not None and chunk.usage is not None and chunk.choices == []

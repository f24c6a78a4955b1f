"""Bytes split anywhere, turned into the data of server-sent events (WHATWG HTML 9.2)."""

MAX_EVENT_BYTES = 4 << 20
"""The largest event taken: a thousand times a usual chunk, and little enough that a broken server costs no memory."""

_BOM = b"\xef\xbb\xbf"
_DONE = b"[DONE]"
_HEARTBEATS = frozenset({b"heartbeat", b"ping", b"keepalive", b"keep-alive", b"keep_alive"})
"""Types of events that only keep a connection open, whatever they hold."""


class TooLongError(ValueError):
    """An event exceeded `MAX_EVENT_BYTES`."""


class ErrorEvent(bytes):
    """The data of an event of the type "error": in whatever form, it says what went wrong."""


class EventStream:
    """Splits bytes into the data of events. Line ends are LF, CRLF or CR; comments and other fields are skipped, and so
    are events that say nothing: without data, with white space alone, or heartbeats by their type."""

    __slots__ = ("_data", "_first", "_limit", "_rest", "_size", "_skip_lf", "_type")

    def __init__(self, limit: int = MAX_EVENT_BYTES) -> None:
        self._limit = limit
        self._rest = bytearray()  # the line that has not ended yet
        self._data: list[bytes] = []  # the data lines of the event that has not ended yet
        self._type = b""  # of the same event
        self._size = 0  # of _data
        self._skip_lf = False  # the last byte was a CR: an LF now belongs to it
        self._first = True

    def feed(self, data: bytes) -> list[bytes]:
        """The data of every event that ends in `data`; raises `TooLongError`."""
        if self._is_one_event(data):
            self._first = False
            return [data[6:-2]]
        if self._skip_lf or b"\r" in data:
            data = self._plain_line_ends(data)
        lines = data.split(b"\n")
        self._rest += lines[0]
        if len(lines) > 1:
            lines[0] = bytes(self._rest).removeprefix(_BOM) if self._first else bytes(self._rest)
            self._first = False
            self._rest = bytearray(lines[-1])
        if len(self._rest) > self._limit:
            raise TooLongError
        events: list[bytes] = []
        for line in lines[:-1]:
            if line:
                self._line(line)
            elif (event := self._take()) is not None:
                events.append(event)
        return events

    def _is_one_event(self, data: bytes) -> bool:
        """The common case by far: one read brings one whole event of one line, a JSON object."""
        return (
            data.startswith(b"data: {")
            and data.find(b"\n") == len(data) - 2
            and data.endswith(b"\n")
            and not (self.inside or b"\r" in data)
        )

    @property
    def inside(self) -> bool:
        """An event has begun and not ended."""
        return bool(self._rest or self._data or self._skip_lf or self._type)

    def end(self) -> list[bytes]:
        """The event that the end of the bytes left without its blank line, if its lines are whole."""
        if bytes(self._rest).strip() in (b"data: " + _DONE, b"data:" + _DONE):
            self._line(bytes(self._rest).strip())
        self._rest.clear()
        event = self._take()
        return [] if event is None else [event]

    def _line(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value)
            if self._size > self._limit:
                raise TooLongError
        elif name == b"event":
            self._type = value.strip().lower()
        elif name == b"error":  # llama.cpp's until 2025: a field of its own
            self._type = name
            self._data.append(value)

    def _take(self) -> bytes | None:
        """The event that a blank line ends; None: it says nothing."""
        if not self._data:
            self._type = b""
            return None
        event = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        kind, self._type, self._size = self._type, b"", 0
        self._data.clear()
        if kind == b"error":
            return ErrorEvent(event)
        return None if kind in _HEARTBEATS or not event.strip() else event

    def _plain_line_ends(self, data: bytes) -> bytes:
        if self._skip_lf and data.startswith(b"\n"):
            data = data[1:]
            self._skip_lf = False
        if data:
            self._skip_lf = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

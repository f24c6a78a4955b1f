"""How a server says it: a reply as the bytes of an HTTP answer, and when each of them arrives."""

import json
from itertools import accumulate, pairwise
from typing import Any

from truth.generate import MS, Counts, Done, End, Finish, Noise, Piece, Refusal, Reply, Said, Trouble, Voice
from truth.network import CLOSE, RESET, Arrival

SOON = 1_000
"""Milliseconds: what is cut off the front of an event comes before its end; in a longer pause, at its beginning."""
ERRORS: tuple[Any, ...] = (
    {"error": {"message": "CUDA out of memory", "type": "server_error", "code": 500}},
    {"error": "CUDA out of memory"},
    {"object": "error", "message": "CUDA out of memory", "code": 500},
    {"error": {"message": "CUDA out of memory"}, "choices": []},
    {"error_message": "CUDA out of memory"},
    {"type": "error", "message": "CUDA out of memory"},
)
BROKEN = (b'{"choices": [{"delta": {"con', b"{]", b'{"choices": 7}', b"nonsense")


def arrivals(reply: Reply | Refusal) -> list[Arrival]:
    """What arrives when, in nanoseconds after the request."""
    if isinstance(reply, Refusal):
        return _refusal(reply)
    events, body = _body(reply)
    head = _head(reply, len(body))
    stream, place_of = _framed(reply.voice, events, body)
    ends = accumulate((len(data) for _, data, _ in events), initial=len(body[:3]) if reply.voice.bom else 0)
    musts = [(len(head), len(head), reply.head_at)]
    for begin, (at, data, needed) in zip(ends, events, strict=False):
        known = behind = len(head) + place_of[begin + needed - 1] + 1
        if reply.voice.whole:
            behind = len(head) + place_of[begin + len(data) - 1] + 1 + 2 * (reply.voice.framing == "by events")
        musts.append((known, behind, at))
    whole = head + stream
    if reply.voice.framing in ("chunked", "by events") and reply.end.kind == "clean":
        whole += b"0\r\n\r\n"
    musts.append((len(whole), len(whole), reply.end.at))
    came = list(_timed(whole, musts, reply.voice.cuts))
    return came + _ending(reply.end, reply.voice)


def _body(reply: Reply) -> tuple[list[tuple[int, bytes, int]], bytes]:
    """Its events: when each comes, its bytes, and how many of them it takes to know it; and all bytes of the body."""
    events = [(one.at, *_event(reply, place)) for place, one in enumerate(reply.said)]
    body = (b"\xef\xbb\xbf" if reply.voice.bom else b"") + b"".join(data for _, data, _ in events)
    return events, body + (b'data: {"choices": [{"delta": {"content": "to' if reply.end.torn else b"")


def length(reply: Reply) -> int:
    """Bytes of its body."""
    return len(_body(reply)[1])


def _ending(end: End, voice: Voice) -> list[Arrival]:
    if end.kind == "clean" and voice.framing != "until close":
        return []
    what = {"clean": CLOSE, "close": CLOSE, "reset": RESET}.get(end.kind)
    return [(end.at * MS, what)] if what else []


def _timed(whole: bytes, musts: list[tuple[int, int, int]], cuts: Any) -> Any:
    """Cuts the bytes into reads.

    `musts`: the byte before the first place arrives at a time, not earlier, and so do those up to the second place.
    """
    if cuts == "everywhere":
        places = set(range(len(whole)))
    elif cuts == "at line ends":
        places = {place for place in range(1, len(whole)) if set(whole[place - 1 : place + 1]) & set(b"\r\n")}
    else:
        places = {cut % len(whole) for cut in cuts}
    done, since = 0, 0
    for known, behind, at in musts:
        if behind > done:
            early = [cut for cut in sorted(places) if done < cut < known]
            pause = (at - since) * MS if at - since < SOON else 0
            for number, (begin, end) in enumerate(pairwise([done, *early])):
                yield since * MS + pause * number // len(early), whole[begin:end]
            for begin, end in pairwise(
                [max([done, *early]), *(cut for cut in sorted(places) if known <= cut < behind), behind]
            ):
                yield at * MS, whole[begin:end]
        done, since = max(done, behind), at


def _framed(voice: Voice, events: list[Any], body: bytes) -> tuple[bytes, list[int]]:
    """The body as it goes over the wire, and where each of its bytes is there."""
    if voice.framing not in ("chunked", "by events"):
        return body, list(range(len(body)))
    ends = {cut % len(body) for cut in voice.frames} if body and voice.framing == "chunked" else set()
    if voice.framing == "by events":
        ends = set(accumulate((len(data) for _, data, _ in events), initial=3 if voice.bom else 0))
    stream, where = b"", []
    for begin, behind in pairwise(sorted({0, *ends, len(body)})):
        stream += b"%x\r\n" % (behind - begin)
        where += range(len(stream), len(stream) + behind - begin)
        stream += body[begin:behind] + b"\r\n"
    return stream, where


def _head(reply: Reply, length: int) -> bytes:
    lines = ["HTTP/1.1 200 OK", "Content-Type: text/event-stream; charset=utf-8"]
    match reply.voice.framing:
        case "length":
            # A body that is broken off, or never ends, was to be longer.
            lines.append(f"Content-Length: {length + (0 if reply.end.kind == 'clean' else 500)}")
        case "until close":
            lines.append("Connection: close")
        case _:
            lines.append("Transfer-Encoding: chunked")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _refusal(refusal: Refusal) -> list[Arrival]:
    body = refusal.body if isinstance(refusal.body, bytes) else json.dumps(refusal.body).encode()
    headers = {"Content-Type": refusal.content_type, "Content-Length": str(len(body)), **dict(refusal.headers)}
    lines = [f"HTTP/1.1 {refusal.status} X", *(f"{name}: {value}" for name, value in headers.items())]
    return [(refusal.at * MS, ("\r\n".join(lines) + "\r\n\r\n").encode() + body)]


def _event(reply: Reply, place: int) -> tuple[bytes, int]:
    """The bytes of an event, and how many of them it takes to know it."""
    said, voice = reply.said[place], reply.voice
    end = voice.line_end
    field = "data: " if voice.space else "data:"
    match said:
        case Noise(kind="comment"):
            text = f": keep-alive{end}{end}"
        case Noise(kind="blank"):
            text = end
        case Noise(kind="no data"):
            text = f"{field.strip()}{end}{end}"
        case Noise(kind="white data"):
            text = f"{field} {end}{field}{end}{end}"
        case Noise(kind="ping"):
            text = f'event: ping{end}{field}{{"type": "ping"}}{end}{end}'
        case Noise(kind="retry"):
            text = f"retry: 3000{end}{end}"
        case Done(form=form):
            text = f"{field}[DONE]" + {"whole": end + end, "no blank line": end, "no line end": ""}[form]
            if form != "whole":
                return text.encode(), len(text)
        case Trouble(kind="broken", form=form):
            text = f"{field}{BROKEN[form % len(BROKEN)].decode()}{end}{end}"
        case Trouble(form=form) if form >= len(ERRORS):
            words = "CUDA out of memory" if form % 2 else json.dumps(ERRORS[0])
            text = f"event: error{end}{field}{words}{end}{end}"
        case _:
            text = _data(_json(reply, place), voice)
    data = text.encode(errors="surrogatepass")
    # With CRLF the blank line is known from its CR.
    return data, len(data) - (end == "\r\n")


def _data(value: Any, voice: Voice) -> str:
    text = json.dumps(value, ensure_ascii=voice.ascii, indent=1 if voice.over_lines else None)
    if not voice.ascii and not text.isprintable() and any("\ud800" <= char <= "\udfff" for char in text):
        text = json.dumps(value, indent=1 if voice.over_lines else None)  # half a character has no bytes
    field, end = "data: " if voice.space else "data:", voice.line_end
    lines = [field + line + end for line in text.split("\n")]
    return (f"id: 7{end}" if voice.fields else "") + "".join(lines) + end


def _json(reply: Reply, place: int) -> Any:
    said = reply.said[place]
    match said:
        case Trouble(form=form):
            return ERRORS[form]
        case Counts() | Noise(kind="no choices"):
            choices: list[Any] = []
        case Finish(reason=reason):
            choices = [{"index": 0, "delta": {}, "finish_reason": reason}]
        case Noise(kind="no delta"):
            choices = [{"index": 0, "finish_reason": None}]
        case Noise(kind="empty"):
            choices = [{"index": 0, "delta": {"content": "", "tool_calls": []}, "finish_reason": None}]
        case Noise():
            choices = [{"index": 0, "delta": {"role": "assistant", "content": None}, "finish_reason": None}]
        case Piece(kind="call"):
            choices = [{"index": 0, "delta": {"tool_calls": [_fragment(reply, place)]}, "finish_reason": None}]
        case Piece(kind="reasoning_details", text=text):
            parts = [{"type": "reasoning.text", "text": text, "index": 0}]
            choices = [{"index": 0, "delta": {"content": "", "reasoning_details": parts}, "finish_reason": None}]
        case Piece(kind=kind, text=text):
            choices = [{"index": 0, "delta": {kind: text}, "finish_reason": None}]
    chunk: dict[str, Any] = {"choices": choices}
    if not reply.voice.bare:
        chunk = {"id": "c1", "object": "chat.completion.chunk", "created": 1760000000, "model": "m"} | chunk
    if (usage := _usage(reply, place)) is not None or reply.voice.null_usage:
        chunk["usage"] = usage
    return chunk


def _fragment(reply: Reply, place: int) -> dict[str, Any]:
    """Of a tool call: its first piece carries id and name too."""
    piece = reply.said[place]
    assert isinstance(piece, Piece)
    function: dict[str, Any] = {"arguments": piece.text}
    fragment: dict[str, Any] = {"index": piece.call, "function": function}
    how = reply.voice.calls
    before = [one for one in reply.said[:place] if isinstance(one, Piece) and one.kind == "call"]
    if how == "all 0":
        fragment["index"] = 0
    elif how == "no number":
        del fragment["index"]
    first = all(one.call != piece.call for one in before)
    if first or how in ("named", "id alone"):
        fragment |= {"id": f"call-{piece.call}", "type": "function"}
    if first or how == "named":
        function["name"] = reply.names[piece.call]
    return fragment


def _usage(reply: Reply, place: int) -> dict[str, Any] | None:
    said: Said = reply.said[place]
    at_end = isinstance(said, Counts)
    carries = {
        "none": False,
        "end": at_end,
        "finish": isinstance(said, Finish),
        "always": at_end or isinstance(said, Piece | Finish | Noise),
    }[reply.usage]
    if not carries:
        return None
    tokens = sum(one.tokens for one in reply.said[: place + 1] if isinstance(one, Piece))
    tokens += reply.unseen if isinstance(said, Counts | Finish) else 0
    details = None if reply.cached is None else {"cached_tokens": reply.cached}
    told = tokens if reply.absurd is None or not isinstance(said, Counts | Finish) else reply.absurd
    return {"prompt_tokens": reply.prompt, "completion_tokens": told, "prompt_tokens_details": details}

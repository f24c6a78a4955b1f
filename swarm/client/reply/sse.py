"""The bytes of a streamed chat completion, turned into an `Observation`.

`events` finds the events, `chunks` reads what each says, `calls` puts tool calls together, and `ChatStream` is the
whole reply. Whatever a server sends becomes data or a `Failure`, never an exception.
"""

from collections.abc import Sequence
from typing import Any

from swarm.client import loose_json
from swarm.client.base import Failure, Observation
from swarm.client.failures import JSON_ERRORS, error_in, error_text
from swarm.client.reply import chunks
from swarm.client.reply.calls import Calls
from swarm.client.reply.chunks import MOST_TOKENS, Chunk, Delta, Usage
from swarm.client.reply.events import MAX_EVENT_BYTES, ErrorEvent, EventStream, TooLongError
from swarm.client.reply.finish import finish_of, shown
from swarm.recording.records import TOOL_ENDS, ErrorKind

_DONE = b"[DONE]"


class ChatStream:
    """One reply as its bytes arrive, written into `seen`.

    A token-bearing chunk is one with non-empty content, reasoning or tool-call fragment; the empty role delta is none.
    The reply is complete with a normal finish reason, a token and the terminal event; without one of them it failed.
    """

    __slots__ = (
        "_calls",
        "_content",
        "_events",
        "_most_completion",
        "_most_prompt",
        "_other_names",
        "_per_chunk",
        "_reasoning",
        "_seen",
        "grown_ns",
        "over",
    )

    def __init__(self, seen: Observation, most_prompt: int = MOST_TOKENS, most_completion: int = MOST_TOKENS) -> None:
        """`most_prompt`, `most_completion`: counts of tokens above these cannot be."""
        self._seen = seen
        self._most_prompt = most_prompt
        self._most_completion = most_completion
        self._events = EventStream()
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._calls = Calls()
        self._per_chunk = True
        self._other_names = False
        self.over = False
        """The terminal event has come, or the stream has failed: what follows does not matter."""
        self.grown_ns = 0
        """When the last chunk came that brought something: a token, another count of them, or the finish reason."""

    def feed(self, data: bytes, stamp_ns: int) -> None:
        """Takes bytes that arrived at `stamp_ns`."""
        if self.over:
            return
        try:
            for event in self._events.feed(data):
                if not self.over:
                    self._event(event, stamp_ns)
        except TooLongError:
            self.fail("malformed", f"the server sent one event of more than {MAX_EVENT_BYTES} bytes")
        if self.over:
            self._seen.end_ns = stamp_ns  # also of a failed one, whatever follows it

    def feed_all(self, reads: Sequence[tuple[bytes, int, int]]) -> None:
        """Takes the bytes of several reads, and when they arrived; quicker than one by one where each is one event."""
        if len(reads) > 1 and not (self.over or self._events.inside) and (several := _chunks(reads)):
            for chunk, (_, stamp_ns, _) in zip(several, reads, strict=True):
                self.take(chunk, stamp_ns)
        else:
            for data, stamp_ns, _ in reads:
                self.feed(data, stamp_ns)

    def end(self, stamp_ns: int) -> None:
        """The server has ended the stream in good order."""
        for event in self._events.end():
            if not self.over:
                self._event(event, stamp_ns)
        if not self.over:
            missing = "its terminal event [DONE]" if self._seen.finish_reason else "a finish_reason"
            self.fail("cut", f"the server ended the stream without {missing}")

    def done(self, stamp_ns: int) -> None:
        """The terminal event has come."""
        self._seen.end_ns = stamp_ns
        reason = self._seen.finish_reason
        if reason is None:
            self.fail("cut", "the server ended the stream without a finish_reason")
        elif not self._seen.stamps and (self._seen.completion_tokens == 0 or reason not in TOOL_ENDS):
            counted = f", though it counted {tokens}" if (tokens := self._seen.completion_tokens) else ""
            self.fail(
                "empty", f"the reply was empty: the server ended it without a token{counted} (finish_reason {reason})"
            )
        self.over = True

    def fail(self, kind: ErrorKind, message: str) -> None:
        """The first failure stands."""
        self.over = True
        self._fail(kind, message)

    def _fail(self, kind: ErrorKind, message: str) -> None:
        if self._seen.failure is None:
            self._seen.failure = Failure(kind, message)

    def close(self) -> None:
        """Puts the text and tool calls together, as far as they came, and leaves out the counts that cannot be."""
        seen = self._seen
        seen.content = loose_json.text(self._content)
        seen.reasoning = loose_json.text(self._reasoning)
        seen.tool_calls = self._calls.made()
        self._settle()

    def _event(self, event: bytes, stamp_ns: int) -> None:
        try:
            chunk = chunks.decode(event)
        except JSON_ERRORS:
            chunk = None
        if chunk is not None and chunk.usual and type(event) is bytes:
            self.take(chunk, stamp_ns)
        else:
            self._odd_event(event, stamp_ns)

    def _odd_event(self, event: bytes, stamp_ns: int) -> None:
        """The end, an error, or a chunk that is not in the usual form."""
        if event.strip() == _DONE:
            self.done(stamp_ns)
            return
        words = (error_text(event) or "it did not say which") if isinstance(event, ErrorEvent) else error_in(event)
        if words is not None:
            self.fail("in_band", f"the server broke the stream off with an error: {words}")
            return
        try:
            self.take_document(loose_json.loads(event), stamp_ns)
        except JSON_ERRORS as error:
            self.fail("malformed", f"the server sent a chunk that is not a chat completion's ({error})")

    def take(self, chunk: Chunk, stamp_ns: int) -> None:
        """A chunk that arrived at `stamp_ns`."""
        grows = bears_token = False
        for choice in chunk.choices or ():
            if choice.delta is not None and self._delta(choice.delta):
                bears_token = True
            if choice.finish_reason:
                grows = self.finish(choice.finish_reason) or grows
        if chunk.usage is not None:
            grows = self._usage(chunk.usage) or grows
        if bears_token:
            self._token(stamp_ns, chunk.usage)
        if grows or bears_token:
            self.grown_ns = stamp_ns

    def take_document(self, document: Any, stamp_ns: int) -> None:
        """The same, as decoded JSON in any form; raises msgspec.DecodeError for what is no chunk."""
        chunk, doubts = chunks.converted(document)
        self.take(chunk, stamp_ns)
        self._doubt(doubts)

    def add(self, delta: dict[str, Any], stamp_ns: int) -> None:
        """A chunk's delta, as which a reply in the words of another API is read."""
        self.take_document({"choices": [{"delta": delta}]}, stamp_ns)

    def count(self, prompt: Any, completion: Any, cached: Any) -> None:
        """Counts of tokens as another API told them."""
        details = {"cached_tokens": cached}
        usage = {"prompt_tokens": prompt, "completion_tokens": completion, "prompt_tokens_details": details}
        self.take_document({"usage": usage}, 0)

    def finish(self, word: str) -> bool:
        """Why the reply ends, in the server's word; what is no normal end is a failure, and what follows is read on.

        Returns whether that is news.
        """
        before = self._seen.finish_reason
        meaning, normal = finish_of(word)
        if meaning is not None:
            self._seen.finish_reason = meaning
        elif not normal:
            self._seen.finish_reason = word = shown(word)
            self._fail("in_band", f"the reply was aborted by the server (finish_reason {word})")
        return self._seen.finish_reason != before

    def _token(self, stamp_ns: int, usage: Usage | None) -> None:
        seen = self._seen
        if seen.stamps and seen.stamps[-1] == stamp_ns:
            seen.coalesced += 1
        seen.stamps.append(stamp_ns)
        if self._per_chunk:
            if usage is not None and usage.completion_tokens is not None:
                seen.tokens.append(usage.completion_tokens)
            else:
                self._uncount_chunks()

    def _uncount_chunks(self) -> None:
        self._per_chunk = False
        del self._seen.tokens[:]

    def _delta(self, delta: Delta) -> bool:
        content, reasoning = delta.content, delta.reasoning or delta.reasoning_content
        if content:
            self._content.append(content)
        if reasoning:
            self._reasoning.append(reasoning)
        bears_token = bool(content or reasoning)
        for place, part in enumerate(delta.tool_calls or ()):
            function = part.function or _NO_FUNCTION
            if self._calls.add(place, part.index, part.id, function.name, function.arguments):
                bears_token = True
        if self._other_names or not bears_token or not self._seen.stamps:
            return self._other_delta(delta, reasoning or "") or bears_token
        return bears_token

    def _other_delta(self, delta: Delta, known: str) -> bool:
        """Takes fields of rarer names: looked for in a first chunk, in one that brings nothing else, and once found.

        `known`: the reasoning that came under a usual name, which a rarer one repeats.
        """
        reasoning = "" if known else chunks.reasoning(delta)
        called = delta.function_call or _NO_FUNCTION
        found = bool(reasoning or delta.refusal)
        self._reasoning.append(reasoning)
        self._content.append(delta.refusal or "")
        found = self._calls.add(0, 0, None, called.name, called.arguments) or found
        self._other_names = self._other_names or found
        return found

    def _usage(self, usage: Usage) -> bool:
        """Whether it counts other tokens of the reply than before."""
        seen, before = self._seen, self._seen.completion_tokens
        if usage.prompt_tokens is not None:
            seen.prompt_tokens = usage.prompt_tokens
        if usage.completion_tokens is not None:
            seen.completion_tokens = usage.completion_tokens
        if usage.prompt_tokens_details is not None and usage.prompt_tokens_details.cached_tokens is not None:
            seen.cached_tokens = usage.prompt_tokens_details.cached_tokens
        return seen.completion_tokens != before

    def _doubt(self, doubts: dict[str, str]) -> None:
        """Counts that cannot be, as the server wrote them, are unknown."""
        for name, value in doubts.items():
            setattr(self._seen, name, None)
            self._seen.doubts.setdefault(name, value)

    def _settle(self) -> None:
        """Holds the counts against each other and against what was asked for."""
        seen = self._seen
        prompt, completion, cached = seen.prompt_tokens or 0, seen.completion_tokens, seen.cached_tokens or 0
        if seen.prompt_tokens == 0 or prompt > self._most_prompt:
            self._doubt({"prompt_tokens": str(prompt)})
        if cached > prompt:
            self._doubt({"cached_tokens": f"{cached} of {prompt} prompt tokens"})
        if completion == 0 and seen.stamps:
            self._doubt({"completion_tokens": "0 of a reply with text"})
        if (completion or 0) > max(self._most_completion, self._length()):
            self._doubt({"completion_tokens": str(completion)})
        if seen.tokens and (seen.completion_tokens is None or list(seen.tokens) != sorted(seen.tokens)):
            self._uncount_chunks()

    def _length(self) -> int:
        seen = self._seen
        return len(seen.content) + len(seen.reasoning) + sum(len(call.arguments) for call in seen.tool_calls)


_NO_FUNCTION = chunks.Function()


def _chunks(reads: Sequence[tuple[bytes, int, int]]) -> list[Chunk] | None:
    """The chunk of each read; None where one of them is not just one chunk of a reply that goes on."""
    events = [data[6:-2] for data, _, _ in reads if data.startswith(b"data: ") and data.endswith(b"\n\n")]
    joined = b",".join(events)
    if len(events) < len(reads) or b"\n" in joined or b"\r" in joined:
        return None
    try:
        several = chunks.decode_all(b"[%b]" % joined)
    except JSON_ERRORS:
        return None
    if len(several) == len(reads) and all(chunk.usual for chunk in several):
        return several
    return None

"""The logs of OpenHands: the events of a conversation.

Of the older ones (`action`, `observation`; OpenHands/OpenHands) each action holds the `model_response` that it came
from; of the SDK's (`kind`; OpenHands/software-agent-sdk) `llm_response_id` does, and the usage is in `base_state.json`
beside the events. Both are asked for without streaming.
"""

from dataclasses import dataclass, field
from typing import Any

from swarm.trace.importers.draft import Draft, Session, Times, Usage
from swarm.trace.importers.values import (
    assistant,
    called,
    count_of,
    fields,
    iso_ns,
    items,
    result,
    scaled_ns,
    texts,
    word,
)

NOTES = (
    "it says when actions were written down: a request is taken to be sent when its last message was there",
    "its replies were not streamed",
)


def is_event(document: dict[str, Any]) -> bool:
    """Whether a document is one of either kind."""
    return is_sdk_event(document) or (
        "id" in document and "source" in document and ("action" in document or "observation" in document)
    )


def is_sdk_event(document: dict[str, Any]) -> bool:
    return word(document.get("kind")).endswith(("Event", "Observation", "Condensation")) and "source" in document


@dataclass
class _Reply:
    id: str
    text: str = ""
    reasoning: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    model: Any = None
    end_ns: int | None = None
    events: list[str] = field(default_factory=list)


class OpenHands:
    """Reads the events of one conversation, in their order."""

    def __init__(self, draft: Draft, name: str, state: Any = None) -> None:
        """`state`: what `base_state.json` says."""
        draft.dated = True
        draft.notes += (note for note in NOTES if note not in draft.notes)
        self._draft = draft
        self._session: Session = draft.new_session(name)
        self._usages: dict[str, Usage] = {}
        self._took: dict[str, int | None] = {}
        for metrics in fields(fields(fields(state).get("stats")).get("usage_to_metrics")).values():
            self._measured(fields(metrics))
        self._open: _Reply | None = None
        self._last_ns: int | None = None
        self._begun = False
        self._waiting: list[tuple[dict[str, Any], int | None, str]] = []
        """Results that came while more actions of the same reply may follow: what, when, and their events."""
        self._places: dict[str, int] = {}
        """Event -> its message's place in the history."""

    def _measured(self, metrics: dict[str, Any]) -> None:
        for usage in map(fields, items(metrics.get("token_usages"))):
            counts = (count_of(usage.get(key)) for key in ("prompt_tokens", "cache_read_tokens", "completion_tokens"))
            self._usages[word(usage.get("response_id"))] = Usage(*counts)
        for latency in map(fields, items(metrics.get("response_latencies"))):
            self._took[word(latency.get("response_id"))] = scaled_ns(latency.get("latency"), 1e9)

    def add(self, event: Any) -> None:
        event = fields(event)
        time = iso_ns(event.get("timestamp"))
        if "kind" in event:
            self._sdk(event, word(event.get("kind")), time)
        elif "observation" in event:
            self._observed(event, time)
        elif "action" in event:
            self._acted(event, time)

    def end(self) -> None:
        self._close()

    def _say(self, message: dict[str, Any], time: int | None, event: Any = None) -> None:
        self._waiting.append((message, time, str(event)))
        if self._open is None:
            self._take_waiting()

    def _take_waiting(self) -> None:
        for message, time, event in self._waiting:
            if not self._begun and message["role"] != "system":
                self._session.prompt.append(self._draft.unseen("openhands"))
            self._begun = True
            self._session.say(message)
            self._places[event] = len(self._session.prompt) - 1
            self._last_ns = time or self._last_ns
        self._waiting.clear()

    def _sdk(self, event: dict[str, Any], kind: str, time: int | None) -> None:
        match kind:
            case "SystemPromptEvent":
                self._session.offer(event.get("tools"))
                self._say({"role": "system", "content": texts(event.get("system_prompt"))}, time)
            case "MessageEvent":
                message = fields(event.get("llm_message"))
                if event.get("source") == "agent":
                    reply = self._reply(
                        word(event.get("llm_response_id")) or word(event.get("id")), time, event.get("id")
                    )
                    reply.text += texts(message.get("content"))
                    self._close()
                else:
                    self._say({"role": "user", "content": texts(message.get("content"))}, time, event.get("id"))
            case "ActionEvent":
                reply = self._reply(word(event.get("llm_response_id")) or word(event.get("id")), time, event.get("id"))
                call = fields(event.get("tool_call"))
                function = fields(call.get("function")) or call
                arguments = function.get("arguments", event.get("action"))
                reply.text += texts(event.get("thought"))
                reply.reasoning += word(event.get("reasoning_content"))
                reply.calls.append(called(event.get("tool_call_id"), event.get("tool_name"), arguments))
            case "ObservationEvent" | "AgentErrorEvent" | "UserRejectObservation":
                seen = fields(event.get("observation"))
                said = texts(seen.get("content")) or texts(seen.get("output")) or word(event.get("error"))
                self._say(result(event.get("tool_call_id"), said), time, event.get("id"))
            case "Condensation":
                self._condensed(event)

    def _condensed(self, event: dict[str, Any]) -> None:
        """Messages that are forgotten, and the summary that stands for them; its own request is not told."""
        self._close()
        gone = {
            self._places[str(name)] for name in items(event.get("forgotten_event_ids")) if str(name) in self._places
        }
        if not gone:
            return
        first = min(gone)
        after = [message for at, message in enumerate(self._session.prompt) if at > max(gone)]
        del self._session.prompt[first:]
        self._session.say({"role": "user", "content": word(event.get("summary"))})
        self._session.prompt += after
        self._places.clear()
        self._draft.left_out["compactions: the history is replaced, and the request for the summary is not told"] += 1

    def _acted(self, event: dict[str, Any], time: int | None) -> None:
        arguments, told = fields(event.get("args")), fields(event.get("tool_call_metadata"))
        if event.get("action") == "system":
            self._session.offer(arguments.get("tools"))
            self._say({"role": "system", "content": word(arguments.get("content"))}, time)
        elif event.get("source") == "user" and event.get("action") == "message":
            self._say({"role": "user", "content": word(arguments.get("content"))}, time)
        elif event.get("source") == "agent":
            response = fields(told.get("model_response"))
            reply = self._reply(word(response.get("id")) or str(event.get("id")), time, event.get("id"))
            self._responded(reply, response)
            if told:
                if not reply.calls:
                    reply.text = texts(_message(response).get("content"))
                name, call = told.get("function_name"), told.get("tool_call_id")
                given = [
                    fields(each)
                    for each in items(_message(response).get("tool_calls"))
                    if fields(each).get("id") == call
                ]
                function = fields(given[0].get("function")) if given else {}
                reply.calls.append(called(call, name, function.get("arguments", arguments)))
            else:
                reply.text += word(arguments.get("content")) or word(arguments.get("thought"))

    def _responded(self, reply: _Reply, response: dict[str, Any]) -> None:
        usage = fields(response.get("usage"))
        if not usage:
            return
        cached = count_of(usage.get("cache_read_input_tokens"))
        if cached is None:
            cached = count_of(fields(usage.get("prompt_tokens_details")).get("cached_tokens"))
        reply.usage = Usage(count_of(usage.get("prompt_tokens")), cached, count_of(usage.get("completion_tokens")))
        reply.model = response.get("model")

    def _observed(self, event: dict[str, Any], time: int | None) -> None:
        call = fields(event.get("tool_call_metadata")).get("tool_call_id")
        if call is not None:
            self._say(result(call, word(event.get("content"))), time)
        elif event.get("observation") in ("run", "read", "edit", "error", "recall") and word(event.get("content")):
            self._say({"role": "user", "content": word(event.get("content"))}, time)

    def _reply(self, identity: str, time: int | None, event: Any) -> _Reply:
        if self._open is None or self._open.id != identity:
            self._close()
            self._open = _Reply(identity, usage=self._usages.get(identity, Usage()))
        self._open.end_ns = self._open.end_ns or time
        self._open.events.append(str(event))
        return self._open

    def _close(self) -> None:
        reply, self._open = self._open, None
        if reply is None:
            self._take_waiting()
            return
        sent, took = self._last_ns, self._took.get(reply.id)
        if took is not None and reply.end_ns is not None:
            sent = max(0, reply.end_ns - took)
        self._session.turn(
            assistant(reply.text, reply.calls),
            reply.usage,
            Times(sent, None, reply.end_ns),
            reasoning=reply.reasoning,
            model=reply.model,
            streamed=False,
        )
        self._places |= dict.fromkeys(reply.events, len(self._session.prompt) - 1)
        self._last_ns = reply.end_ns or self._last_ns
        self._take_waiting()


def _message(response: dict[str, Any]) -> dict[str, Any]:
    choices = items(response.get("choices"))
    return fields(fields(choices[0]).get("message")) if choices else {}

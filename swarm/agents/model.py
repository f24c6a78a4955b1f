"""Driver `model`: the model decides what comes next, as in a real coding agent, and its tool calls are carried out.

A call that no tool takes is answered with an error, like any other result. Levels and targets are then not compared on
equal work: each job is as long as the model makes it.
"""

import json
from dataclasses import dataclass
from typing import Any, Literal

from swarm.agents.driver import Call, Conversation, Job, SubAgent
from swarm.agents.prompt import opening
from swarm.client.base import ChatRequest, Observation, ToolCall
from swarm.recording.records import TOOL_ENDS
from swarm.scenario.units import BYTES_PER_TOKEN

Compaction = Literal["none", "drop-results"]

COMPACT_TO = 0.5
"""Share of the context to compact to: dropping a little every turn would cost the cached prefix every turn."""
MAX_NAME = 64
"""Characters of a tool's name, OpenAI's limit; what is longer names none of ours."""
LOST = "Your tool call did not arrive. Make it again."
"""In the place of a result, where a reply ended for tool calls and held none: a real agent would not take it for done.
"""
DROPPED = "[dropped to save context; call the tool again if you need this]"


@dataclass(frozen=True)
class ModelDriver:
    """Picklable; `system` is the stage's system message, `context` the most tokens of prompt and reply together."""

    system: str
    tools: list[dict[str, Any]]
    context: int
    max_reply_tokens: int = 1024
    keep_reasoning: bool = False
    """Whether the model's reasoning goes into the history, as `reasoning`, and as `reasoning_content`, its older name:
    vLLM 0.32 reads the first alone, older ones and others the second."""
    compaction: Compaction = "none"
    """Whether a full context ends the job, or drops the oldest tool results."""
    tool_choice: Literal["auto", "required"] = "auto"
    temperature: float = 0.7
    sampling_seed: int | None = None
    extra_body: dict[str, Any] | None = None

    def begin(self, job: Job, before: Conversation | None = None) -> "ModelConversation":
        return ModelConversation(self, job)

    def entering(self, job: Job) -> ChatRequest | None:
        return None


class ModelConversation:
    answered = False
    think_ns: int | None = None
    awaits: tuple[str, ...] = ()
    beside: tuple[SubAgent, ...] = ()

    def __init__(self, driver: ModelDriver, job: Job) -> None:
        self._driver = driver
        self._messages: list[dict[str, Any]] = []
        self._calls = 0
        self._lost = self._called = False
        """Whether a reply was to hold calls with a name and held none, and whether one held some."""
        self._bytes_per_token = BYTES_PER_TOKEN
        self._bytes = sum(len(json.dumps(tool)) for tool in driver.tools)
        self._tokens = self._bytes / BYTES_PER_TOKEN
        """Tokens of the next prompt: the server's count of the last one and its reply, and an estimate of the rest."""
        self._append({"role": "system", "content": driver.system})
        self._append({"role": "user", "content": opening(job.task, job.ticket)})

    def request(self) -> ChatRequest | None:
        driver = self._driver
        if driver.compaction == "drop-results" and not self._fits():
            self._compact()
        if not self._fits():
            return None
        return ChatRequest(
            messages=list(self._messages),
            tools=driver.tools,
            max_tokens=driver.max_reply_tokens,
            pinned=False,
            temperature=driver.temperature,
            seed=driver.sampling_seed,
            tool_choice=driver.tool_choice,
            extra_body=driver.extra_body or {},
        )

    def accept(self, reply: Observation) -> tuple[Call, ...]:
        calls = tuple(self._numbered(call) for call in reply.tool_calls)
        message: dict[str, Any] = {"role": "assistant", "content": reply.content}
        if self._driver.keep_reasoning and reply.reasoning:
            message["reasoning"] = message["reasoning_content"] = reply.reasoning
        if calls:
            message["tool_calls"] = [_in_history(call) for call in calls]
        if reply.prompt_tokens:
            self._bytes_per_token = self._bytes / reply.prompt_tokens
        self._append(message)
        if reply.prompt_tokens:
            # Dropped reasoning is in it for this once; the next `usage` corrects it.
            self._tokens = reply.prompt_tokens + (reply.completion_tokens or 0)
        ended_for_tools, called = reply.finish_reason in TOOL_ENDS, any(call.name for call in calls)
        self._called, self._lost = self._called or called, self._lost or (ended_for_tools and not called)
        if ended_for_tools and not calls:
            self._append({"role": "user", "content": LOST})
        self.answered = not calls and not ended_for_tools
        return calls

    @property
    def stuck(self) -> bool:
        return self._lost and not self._called

    def add_result(self, call: Call, text: str) -> None:
        self._append({"role": "tool", "tool_call_id": call.id, "content": text})

    def _numbered(self, call: ToolCall) -> Call:
        """With an id of ours: some servers give none, or the same one again; and a name that can be shown."""
        self._calls += 1
        name = "".join(char if char.isprintable() else "?" for char in call.name[:MAX_NAME])
        return Call(f"call_{self._calls}", name, call.arguments)

    def _fits(self) -> bool:
        return self._tokens + self._driver.max_reply_tokens <= self._driver.context

    def _compact(self) -> None:
        """Drops the oldest tool results until half of the context is free; those of the last turn stay."""
        answered = max((at for at, message in enumerate(self._messages) if message["role"] == "assistant"), default=0)
        for at, message in enumerate(self._messages[:answered]):
            if self._tokens <= COMPACT_TO * self._driver.context:
                break
            if message["role"] == "tool" and len(message["content"]) > len(DROPPED):
                # A new message: earlier requests hold the old one.
                self._messages[at] = {**message, "content": DROPPED}
                self._grow(_size(self._messages[at]) - _size(message))

    def _append(self, message: dict[str, Any]) -> None:
        self._messages.append(message)
        self._grow(_size(message))

    def _grow(self, size: int) -> None:
        self._bytes += size
        self._tokens += size / self._bytes_per_token


def _size(message: dict[str, Any]) -> int:
    """Bytes of the text of it that a chat template shows."""
    functions = [call["function"] for call in message.get("tool_calls", ())]
    texts = [message["content"], message.get("reasoning", "")]
    texts += [text for function in functions for text in (function["name"], function["arguments"])]
    return sum(len(text.encode(errors="replace")) for text in texts)


def _in_history(call: Call) -> dict[str, Any]:
    """vLLM parses the arguments in a history and refuses a request where one is no JSON object; so none is sent."""
    arguments = call.arguments if isinstance(call.arguments, str) and _is_object(call.arguments) else "{}"
    return {"id": call.id, "type": "function", "function": {"name": call.name or "unnamed", "arguments": arguments}}


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False

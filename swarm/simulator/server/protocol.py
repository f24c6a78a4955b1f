"""The OpenAI chat API as vLLM speaks it: what a request may say, how one is refused, and the bytes of a reply."""

import json
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Literal

import msgspec

from swarm.simulator.server.replies import Reply


class ApiError(Exception):
    """A request that is refused, in vLLM's form."""

    def __init__(
        self,
        status: int,
        message: str,
        kind: str = "BadRequestError",
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param
        self.headers = headers

    def body(self) -> bytes:
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.status}
        return json.dumps({"error": error}).encode()


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False


class Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(msgspec.Struct):
    function: Function
    type: Literal["function"] = "function"


class NamedFunction(msgspec.Struct):
    name: str


class NamedTool(msgspec.Struct):
    function: NamedFunction
    type: Literal["function"] = "function"


class ChatRequest(msgspec.Struct):
    """The fields that are honoured or checked; others are ignored, as vLLM does. Sampling changes nothing here."""

    messages: list[dict[str, Any]]
    model: str | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    stop: str | list[str] | None = None
    seed: int | None = None
    n: int | None = 1
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    logprobs: bool | None = False
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None

    @property
    def limit(self) -> int | None:
        """The most tokens that the reply may have, as the request says; None: it does not say."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


class TokenizeRequest(msgspec.Struct):
    """A text (`prompt`), or a chat as the model would see it."""

    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    tools: list[Tool] | None = None
    add_generation_prompt: bool = True
    model: str | None = None


_decode = msgspec.json.Decoder(ChatRequest).decode
_decode_tokenize = msgspec.json.Decoder(TokenizeRequest).decode


def parse(body: bytes) -> ChatRequest:
    """A checked request. Raises ApiError (400)."""
    try:
        request = _decode(body)
    except msgspec.MsgspecError as error:
        raise ApiError(400, str(error), "Bad Request") from None
    except UnicodeDecodeError:
        raise ApiError(400, "the request is not UTF-8", "Bad Request") from None
    _check_messages(request.messages)
    _check_sampling(request)
    _check_tools(request)
    if request.stream_options is not None and not request.stream:
        raise ApiError(400, "Stream options can only be defined when `stream=True`.", param="stream_options")
    return request


def parse_tokenize(body: bytes) -> TokenizeRequest:
    """A checked request. Raises ApiError (400)."""
    try:
        request = _decode_tokenize(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ApiError(400, str(error), "Bad Request") from None
    if (request.prompt is None) == (request.messages is None):
        raise ApiError(400, "exactly one of `prompt` and `messages` must be given")
    if request.messages is not None:
        _check_messages(request.messages)
    return request


def _check_messages(messages: list[dict[str, Any]]) -> None:
    if not messages:
        raise ApiError(400, "messages must not be empty", param="messages")
    for at, message in enumerate(messages):
        where = f"messages[{at}]"
        if not isinstance(message.get("role"), str):
            raise ApiError(400, f"{where}.role must be a string", param=where)
        content = message.get("content")
        if isinstance(content, list):
            if not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in content):
                raise ApiError(400, f"{where}.content: only text parts are simulated", param=where)
        elif not isinstance(content, str | None):
            raise ApiError(400, f"{where}.content must be a string, a list of parts or null", param=where)
        calls = message.get("tool_calls")
        if calls is not None and not (isinstance(calls, list) and all(_is_call(call) for call in calls)):
            raise ApiError(400, f"{where}.tool_calls: each needs function.name and function.arguments", param=where)


def _is_call(call: Any) -> bool:
    function = call.get("function") if isinstance(call, dict) else None
    return (
        isinstance(function, dict)
        and isinstance(function.get("name"), str)
        and isinstance(function.get("arguments"), str)
    )


def _check_sampling(r: ChatRequest) -> None:
    limit = r.limit
    if limit is not None and limit < 1:
        raise ApiError(400, f"max_tokens must be at least 1, got {limit}.", param="max_tokens")
    if r.min_tokens < 0:
        raise ApiError(400, f"min_tokens must be greater than or equal to 0, got {r.min_tokens}.", param="min_tokens")
    if limit is not None and r.min_tokens > limit:
        raise ApiError(
            400, f"min_tokens must be less than or equal to max_tokens={limit}, got {r.min_tokens}.", param="min_tokens"
        )
    if r.n not in (None, 1):
        raise ApiError(400, f"n must be 1: the simulator gives one choice, not {r.n}.", param="n")
    if r.logprobs:
        raise ApiError(400, "logprobs are not simulated.", param="logprobs")
    if r.temperature is not None and r.temperature < 0:
        raise ApiError(400, f"temperature must be non-negative, got {r.temperature}.", param="temperature")
    if r.top_p is not None and not 0 < r.top_p <= 1:
        raise ApiError(400, f"top_p must be in (0, 1], got {r.top_p}.", param="top_p")
    if r.top_k is not None and r.top_k < -1:
        raise ApiError(400, f"top_k must be 0 (disable), or at least 1, got {r.top_k}.", param="top_k")
    if r.min_p is not None and not 0 <= r.min_p <= 1:
        raise ApiError(400, f"min_p must be in [0, 1], got {r.min_p}.", param="min_p")
    for name in ("presence_penalty", "frequency_penalty"):
        value = getattr(r, name)
        if value is not None and not -2 <= value <= 2:
            raise ApiError(400, f"{name} must be in [-2, 2], got {value}.", param=name)
    if r.repetition_penalty is not None and r.repetition_penalty <= 0:
        raise ApiError(
            400,
            f"repetition_penalty must be greater than zero, got {r.repetition_penalty}.",
            param="repetition_penalty",
        )
    stop = [r.stop] if isinstance(r.stop, str) else r.stop or []
    if "" in stop:
        raise ApiError(400, "stop cannot contain an empty string.", param="stop")


def _check_tools(request: ChatRequest) -> None:
    choice, tools = request.tool_choice, request.tools or []
    if choice in (None, "none"):
        return
    if not tools:
        raise ApiError(400, "When using `tool_choice`, `tools` must be set.", param="tool_choice")
    if isinstance(choice, NamedTool) and all(tool.function.name != choice.function.name for tool in tools):
        raise ApiError(
            400,
            "The tool specified in `tool_choice` does not match any of the specified `tools`",
            param="tool_choice",
        )


def output_limit(request: ChatRequest, prompt_tokens: int, max_context: int) -> int:
    """The most tokens that the reply can have. ApiError (400) in vLLM's words where prompt and reply do not fit."""
    asked = request.limit or 0
    if prompt_tokens + max(1, asked) > max_context:
        raise ApiError(
            400,
            f"This model's maximum context length is {max_context} tokens. However, you requested {asked} output "
            f"tokens and your prompt contains at least {prompt_tokens} input tokens, for a total of at least "
            f"{prompt_tokens + asked} tokens. Please reduce the length of the input prompt or the number of requested "
            f"output tokens. (parameter=input_tokens, value={prompt_tokens})",
            param="input_tokens",
        )
    return asked or max_context - prompt_tokens


def usage(prompt_tokens: int, completion_tokens: int, cached_tokens: int | None = None) -> dict[str, Any]:
    counts: dict[str, Any] = {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "completion_tokens": completion_tokens,
    }
    if cached_tokens is not None:
        counts["prompt_tokens_details"] = {"cached_tokens": cached_tokens}
    return counts


def completion(
    completion_id: str, created: int, model: str, reply: Reply, prompt_tokens: int, cached_tokens: int
) -> bytes:
    """The body of an unstreamed reply."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.content or (None if reply.call else "")}
    call = reply.call
    message["tool_calls"] = (
        [{"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}]
        if call
        else []
    )
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": reply.finish,
        "stop_reason": reply.stop_reason,
    }
    body = {
        "id": completion_id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice],
        "usage": usage(prompt_tokens, len(reply.pieces), cached_tokens),
    }
    return json.dumps(body).encode()


@dataclass(frozen=True, slots=True)
class ChunkWriter:
    """Makes the server-sent events of one streamed reply, one chunk a token. All of it is ASCII."""

    prefix: str
    """The beginning of every chunk: `data: {"id":..., "choices":[`."""
    reply: Reply
    prompt_tokens: int
    include_usage: bool
    continuous_usage: bool
    reasoning_tokens: int = 0
    """The first so many tokens of the text are reasoning."""
    overcount: float = 1.0
    """Factor of the token counts; other than 1 only where a fault asks for it."""
    ends: bool = True
    """With finish reason, usage and terminal event; False only where a fault asks for it."""

    @classmethod
    def of(
        cls,
        completion_id: str,
        created: int,
        model: str,
        reply: Reply,
        prompt_tokens: int,
        options: StreamOptions | None,
    ) -> "ChunkWriter":
        head = f'data: {{"id":{quoted(completion_id)},"object":"chat.completion.chunk","created":{created},'
        prefix = f'{head}"model":{quoted(model)},"choices":['
        include = bool(options and options.include_usage)
        return cls(prefix, reply, prompt_tokens, include, include and bool(options and options.continuous_usage_stats))

    def role(self) -> str:
        """The chunk before the first token: it brings no token."""
        choice = '{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}'
        return f"{self.prefix}{choice}{self._close(0)}"

    def token(self, at: int) -> str:
        """The chunk of token `at`; empty where the token shows nothing. The last one has the finish reason."""
        reply = self.reply
        last = self.ends and at == len(reply.pieces) - 1
        piece = reply.pieces[at]
        if reply.call is None or reply.call_at is None or at < reply.call_at:
            if not piece and not last:
                return ""
            delta = f'"{"reasoning" if at < self.reasoning_tokens else "content"}":{quoted(piece)}'
        elif at == reply.call_at:
            head = f'"function":{{"name":{quoted(reply.call.name)},"arguments":""}}'
            delta = f'"tool_calls":[{{"id":"{reply.call.id}","type":"function","index":0,{head}}}]'
        else:
            delta = f'"tool_calls":[{{"index":0,"function":{{"arguments":{quoted(piece)}}}}}]'
        end = f'"{reply.finish}","stop_reason":{json.dumps(reply.stop_reason)}' if last else "null"
        choice = f'{{"index":0,"delta":{{{delta}}},"logprobs":null,"finish_reason":{end},"token_ids":null}}'
        return f"{self.prefix}{choice}{self._close(at + 1)}"

    def end(self, cached_tokens: int) -> str:
        """The usage, where it was asked for, and the terminal event."""
        if not self.ends:
            return ""
        if not self.include_usage:
            return "data: [DONE]\n\n"
        prompt, completion = self._told(self.prompt_tokens), self._told(len(self.reply.pieces))
        counts = json.dumps(usage(prompt, completion, cached_tokens), separators=(",", ":"))
        return f'{self.prefix}],"usage":{counts}}}\n\ndata: [DONE]\n\n'

    def _close(self, completion_tokens: int) -> str:
        """The end of a chunk, with the usage so far where it was asked for."""
        if not self.continuous_usage:
            return "]}\n\n"
        prompt, completion = self._told(self.prompt_tokens), self._told(completion_tokens)
        total = prompt + completion
        counts = f'"prompt_tokens":{prompt},"total_tokens":{total},"completion_tokens":{completion}'
        return f'],"usage":{{{counts}}}}}\n\n'

    def _told(self, tokens: int) -> int:
        return tokens if self.overcount == 1 else round(tokens * self.overcount)

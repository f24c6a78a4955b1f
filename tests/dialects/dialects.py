"""Other servers of OpenAI's protocol as they speak it: each a function from a request to what goes over the wire.

What each promises less than vLLM, and writes otherwise, is taken from its sources and its issues, named beside it.
"""

import json
from typing import Any

from scripted_server import DONE, END, Received, Step, answer, event, piece, stream_head

NATURAL = 6
"""The tokens of a reply whose length is left to the model."""
PROMPT = 120

NOT_FOUND = answer("404 Not Found", {"detail": "Not Found"})


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]} | more


def without_choices(**more: Any) -> dict[str, Any]:
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []} | more


def usage(completion: int, **more: Any) -> dict[str, Any]:
    counts = {"prompt_tokens": PROMPT, "completion_tokens": completion, "total_tokens": PROMPT + completion}
    return counts | more


def stream(*chunks: dict[str, Any], done: bool = True) -> list[Step]:
    return [stream_head(), *(piece(event(each)) for each in chunks), *([piece(DONE)] if done else []), END]


def wants_usage(body: dict[str, Any]) -> bool:
    return bool((body.get("stream_options") or {}).get("include_usage"))


def length(body: dict[str, Any], *, pins: bool) -> tuple[int, str]:
    """Tokens and finish reason; `pins`: whether `ignore_eos` is kept to."""
    limit = int(body["max_tokens"])
    return (limit, "length") if (pins and body.get("ignore_eos")) or limit <= NATURAL else (NATURAL, "stop")


def llama_cpp(request: Received) -> list[Step]:
    """llama.cpp's server.

    tools/server/README.md: `/props` with n_ctx and build_info, `meta` in `/v1/models`, the metrics' names, `ignore_eos`
    but no `min_tokens`, usage with cached_tokens and a `timings` object. tools/server/server-task.cpp
    (to_json_oaicompat_chat_stream): the role comes with `content: null`, the finish reason with an empty delta, usage
    in a chunk without choices (pull request 15444).
    """
    match request.path:
        case "/v1/models":
            model = {"id": "qwen.gguf", "object": "model", "owned_by": "llamacpp", "meta": {"n_ctx_train": 131072}}
            return answer("200 OK", {"object": "list", "data": [model]})
        case "/props":
            return answer("200 OK", {"default_generation_settings": {"n_ctx": 16384}, "build_info": "b6100-abcdef12"})
        case "/metrics":
            page = (
                b"# TYPE llamacpp:prompt_tokens_total counter\nllamacpp:prompt_tokens_total 7\n"
                b"llamacpp:tokens_predicted_total 9\nllamacpp:requests_processing 0\nllamacpp:requests_deferred 0\n"
            )
            return answer("200 OK", page, content_type="text/plain; version=0.0.4")
        case "/v1/chat/completions":
            return _llama_cpp_chat(request.body)
    return answer("404 Not Found", {"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}})


def _llama_cpp_chat(body: dict[str, Any]) -> list[Step]:
    if sum(len(str(message["content"])) for message in body["messages"]) > 60_000:
        message = (
            "the request exceeds the available context size. try increasing the context size or enable context shift"
        )
        error = {"code": 400, "message": message, "type": "exceed_context_size_error", "n_prompt_tokens": 17000}
        return answer("400 Bad Request", {"error": error | {"n_ctx": 16384}})
    tokens, finish = length(body, pins=True)
    deltas: list[dict[str, Any]] = [{"content": "yes "}] * tokens
    if body.get("tool_choice") == "required":
        head = {"index": 0, "id": "k7", "type": "function", "function": {"name": "answer", "arguments": "{"}}
        rest = ['"word"', ":", '"yes"', "}"]
        deltas = [
            {"tool_calls": [head]},
            *({"tool_calls": [{"index": 0, "function": {"arguments": part}}]} for part in rest),
        ]
        tokens, finish = len(deltas), "tool_calls"
    last = usage(tokens, prompt_tokens_details={"cached_tokens": 64})
    return stream(
        chunk({"role": "assistant", "content": None}),
        *(chunk(delta) for delta in deltas),
        chunk({}, finish),
        without_choices(usage=last, timings={"cache_n": 64, "prompt_n": 56, "predicted_n": tokens}),
    )


def llama_cpp_breaks(request: Received) -> list[Step]:
    """A llama.cpp of before the autumn of 2025 whose slot fails: server.cpp's server_sent_event(sink, "error", ...)."""
    if request.path != "/v1/chat/completions" or request.body["max_tokens"] < 30:
        return llama_cpp(request)
    error = {"code": 500, "message": "Context size has been exceeded.", "type": "server_error"}
    said = b"error: " + json.dumps(error).encode() + b"\n\n"
    return [stream_head(), piece(event(chunk({"content": "yes "}))), piece(said), END]


def sglang(request: Received) -> list[Step]:
    """SGLang without --enable-cache-report, its gauges on (--enable-metrics).

    srt/entrypoints/openai/serving_chat.py (_generate_chat_stream): a role chunk with explicit nulls, usage with every
    chunk where `continuous_usage_stats` asks for it, the finish reason in a chunk of its own, then usage without
    choices; `reasoning_content`. serving_base.py: errors without an `error` around them, but with one in a stream.
    """
    match request.path:
        case "/v1/models":
            model = {"id": "qwen", "object": "model", "owned_by": "sglang", "root": "qwen", "max_model_len": 32768}
            return answer("200 OK", {"object": "list", "data": [model]})
        case "/get_server_info":
            return answer("200 OK", {"version": "0.5.9", "enable_metrics": True, "tp_size": 1})
        case "/metrics":
            labels = b'{engine_type="unified",model_name="qwen",pp_rank="0",tp_rank="0"}'
            lines = [b"sglang:num_running_reqs%s 0.0", b"sglang:num_queue_reqs%s 0.0", b"sglang:token_usage%s 0.25"]
            lines += [b"sglang:prompt_tokens_total%s 12.0", b"sglang:generation_tokens_total%s 9.0"]
            return answer("200 OK", b"\n".join(line % labels for line in lines) + b"\n", content_type="text/plain")
        case "/v1/chat/completions":
            return _sglang_chat(request.body)
    return NOT_FOUND


def _sglang_chat(body: dict[str, Any]) -> list[Step]:
    nulls = {"role": None, "content": None, "reasoning_content": None, "tool_calls": None}
    if body["model"] != "qwen":
        error = {"object": "error", "message": "no such model", "type": "BadRequestError", "param": None, "code": 400}
        return answer("400 Bad Request", error)
    tokens, finish = length(body, pins=True)
    names = ["reasoning_content"] * (tokens // 2) + ["content"] * (tokens - tokens // 2)
    deltas: list[dict[str, Any]] = [nulls | {name: "yes "} for name in names]
    if body.get("tool_choice") == "required":
        calls = [{"id": "call_1", "index": 0, "type": "function", "function": {"name": "answer", "arguments": ""}}]
        calls.append({"id": None, "index": 0, "type": "function", "function": {"name": None, "arguments": "{}"}})
        deltas, tokens, finish = [nulls | {"tool_calls": [call]} for call in calls], 2, "tool_calls"
    continuous = (body.get("stream_options") or {}).get("continuous_usage_stats")
    counted = [usage(number, prompt_tokens_details=None) if continuous else None for number in range(1, tokens + 1)]
    return stream(
        chunk(nulls | {"role": "assistant", "content": ""}, usage=None),
        *(chunk(delta, usage=count) for delta, count in zip(deltas, counted, strict=True)),
        chunk(nulls, finish, usage=None, matched_stop=None),
        *([without_choices(usage=usage(tokens, prompt_tokens_details=None))] if wants_usage(body) else []),
    )


def ollama(request: Received) -> list[Step]:
    """Ollama.

    openai/openai.go: unknown fields are ignored, so no lengths, no tool_choice, no counts per chunk; every delta has a
    role; thinking is `reasoning`; a tool call comes whole. middleware/openai.go (ChatWriter): usage at the end, only if
    asked for. It cuts prompts beyond its num_ctx without a word.
    """
    match request.path:
        case "/v1/models":
            models = [
                {"id": name, "object": "model", "owned_by": "library"} for name in ("qwen3:8b", "llama3.2:latest")
            ]
            return answer("200 OK", {"object": "list", "data": models})
        case "/api/version":
            return answer("200 OK", {"version": "0.12.3"})
        case "/v1/chat/completions":
            return _ollama_chat(request.body)
    return answer("404 Not Found", b"404 page not found", content_type="text/plain")


def _ollama_chat(body: dict[str, Any]) -> list[Step]:
    tokens, finish = length(body, pins=False)
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "content": "", "reasoning": "hm "},
        *([{"role": "assistant", "content": "yes "}] * (tokens - 1)),
    ]
    fingerprint = {"system_fingerprint": "fp_ollama"}
    if body.get("tools"):
        function = {"name": "answer", "arguments": '{"word":"yes"}'}
        call = {"id": "call_x", "index": 0, "type": "function", "function": function}
        deltas, finish = [{"role": "assistant", "content": "", "tool_calls": [call]}], "tool_calls"
    return stream(
        *(chunk(delta, **fingerprint) for delta in deltas),
        chunk({"role": "assistant", "content": ""}, finish, **fingerprint),
        *([without_choices(usage=usage(tokens), **fingerprint)] if wants_usage(body) else []),
    )


def ollama_breaks(request: Received) -> list[Step]:
    """An Ollama whose runner dies: what it writes of the error holds nothing, and no terminal event follows."""
    if request.path != "/v1/chat/completions" or request.body["max_tokens"] < 30:
        return ollama(request)
    return stream(chunk({"role": "assistant", "content": "yes "}), chunk({"role": "", "content": ""}), done=False)


def lm_studio(request: Received) -> list[Step]:
    """LM Studio.

    Issues of lmstudio-ai: what it does not know it answers with 200 and an error (lmstudio-bug-tracker 618, 1323);
    usage in a stream only if asked for (lmstudio-js 320, with a sample of its chunks); all models on the disk are
    listed; a model that is not loaded is 404 (lms 107).
    """
    match request.path:
        case "/v1/models":
            names = ("qwen2.5-coder-14b", "text-embedding-nomic-embed-text-v1.5")
            return answer("200 OK", {"object": "list", "data": [{"id": name, "object": "model"} for name in names]})
        case "/v1/chat/completions":
            return _lm_studio_chat(request.body)
    return answer("200 OK", {"error": f"Unexpected endpoint or method. (GET {request.path})"})


def _lm_studio_chat(body: dict[str, Any]) -> list[Step]:
    if body["model"].startswith("text-embedding"):
        return answer("404 Not Found", {"error": {"message": "No models loaded.", "type": "invalid_request_error"}})
    tokens, finish = length(body, pins=False)
    fingerprint = {"system_fingerprint": body["model"]}
    return stream(
        *(chunk({"role": "assistant", "content": "yes "}, **fingerprint) for _ in range(tokens)),
        chunk({}, finish, **fingerprint),
        *([without_choices(usage=usage(tokens), **fingerprint)] if wants_usage(body) else []),
    )

"""Records what a real vLLM answers, byte for byte, as test data for tests that have no vLLM.

    .venv/bin/python tests/vllm/record.py      (after `tests/vllm/run.sh` has installed vLLM and made the models)

Each file of `recorded/` is one answer: its status, its content type, an empty line, and its body, with the chunks of
HTTP put together. The cases below are the requests that they answer, to the MoE model of `models.py`.
"""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from server import HOME, Server, serve

FOLDER = Path(__file__).parent / "recorded"

_ASK = [{"role": "user", "content": "Which file has the bug?"}]
_FUNCTION = "def area(width, height):\n    return width * height\n\n"
_LONG = [{"role": "user", "content": _FUNCTION * 20}]
_NEARLY_TOO_LONG = [{"role": "user", "content": _FUNCTION * 545}]
_TOO_LONG = [{"role": "user", "content": _FUNCTION * 2000}]
_USAGE = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}


def _tools(**more: Any) -> list[dict[str, Any]]:
    return [
        _tool("read_file", "path", ["cache.py", "tests/test_cache.py"], more),
        _tool("run_tests", "keyword", ["cache", "eviction"], more),
    ]


def _tool(name: str, parameter: str, values: list[str], more: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": {parameter: {"type": "string", "enum": values}}, "required": [parameter]}
    return {"type": "function", "function": {"name": name, "parameters": schema, **more}}


_STRICT = _tools(strict=True)


def _pinned(tokens: int) -> dict[str, Any]:
    return {"max_tokens": tokens, "min_tokens": tokens, "ignore_eos": True}


CASES: dict[str, dict[str, Any]] = {
    "text": {"messages": _ASK, **_pinned(24), **_USAGE},
    "prefix-cold": {"messages": _LONG, **_pinned(2), **_USAGE},
    "prefix-cached": {"messages": _LONG, **_pinned(2), **_USAGE},
    "usage-at-the-end": {"messages": _ASK, **_pinned(4), "stream_options": {"include_usage": True}},
    "no-usage": {"messages": _ASK, **_pinned(4)},
    # A reply that does not fit behind its prompt: vLLM lowers max_tokens to what does, and then min_tokens is above it.
    "cut-by-context": {
        "messages": _NEARLY_TOO_LONG, "max_tokens": 100, "ignore_eos": True, **_USAGE, "seed": None
    },
    "error-pinned-beyond-context": {"messages": _NEARLY_TOO_LONG, **_pinned(100), **_USAGE},
    "tools-required": {"messages": _ASK, "tools": _STRICT, "tool_choice": "required", "max_tokens": 100, **_USAGE},
    "tools-required-cut": {"messages": _ASK, "tools": _STRICT, "tool_choice": "required", "max_tokens": 32, **_USAGE},
    "tools-required-pinned": {"messages": _ASK, "tools": _STRICT, "tool_choice": "required", **_pinned(60), **_USAGE},
    "tools-named": {
        "messages": _ASK, "tools": _STRICT, "max_tokens": 100, **_USAGE,
        "tool_choice": {"type": "function", "function": {"name": "run_tests"}},
    },
    # Random weights would never call a tool by themselves: a grammar makes them, and vLLM's hermes parser reads it.
    # (Not with strict tools: for those vLLM puts a grammar of its own in the place of ours.)
    "tools-auto": {
        "messages": _ASK, "tools": _tools(), "tool_choice": "auto", "max_tokens": 200, **_USAGE,
        "structured_outputs": {
            "regex": r'I look at it\.\n<tool_call>\n\{"name": "read_file", "arguments": \{"path": "cache\.py"\}\}\n'
            r'</tool_call>\n<tool_call>\n\{"name": "run_tests", "arguments": \{"keyword": "cache"\}\}\n</tool_call>'
        },
    },
    "error-wrong-model": {"model": "gpt-4o", "messages": _ASK, "max_tokens": 4},
    "error-prompt-too-long": {"messages": _TOO_LONG, "max_tokens": 4},
    "error-reply-too-long": {"messages": _ASK, "max_tokens": 9000},
    "error-lengths": {"messages": _ASK, "max_tokens": 4, "min_tokens": 9},
    "error-no-tools": {"messages": _ASK, "max_tokens": 4, "tool_choice": "required"},
    "error-no-messages": {"messages": [], "max_tokens": 4},
    "error-type": {"messages": _ASK, "max_tokens": "four"},
}  # fmt: skip
_READ_FILE = {"type": "function", "name": "read_file", "parameters": {"type": "object", "properties": {}}}
_PATCH = {"type": "custom", "name": "apply_patch", "description": "Changes files."}
_SAID = [
    {"role": "user", "content": "Which file has the bug?"},
    {"type": "function_call", "call_id": "c1", "name": "read_file", "arguments": '{"path": "cache.py"}'},
    {"type": "function_call_output", "call_id": "c1", "output": "def evict(): ..."},
]
RESPONSES: dict[str, dict[str, Any]] = {
    "responses-text": {"instructions": "Be brief.", "input": "Which file has the bug?", "max_output_tokens": 12},
    "responses-cached": {"input": _FUNCTION * 20, "max_output_tokens": 2},
    "responses-tools": {
        "input": _SAID, "tools": [_READ_FILE, _PATCH], "max_output_tokens": 200,
        "structured_outputs": {
            "regex": r'I look at it\.\n<tool_call>\n\{"name": "read_file", "arguments": \{"path": "a\.py"\}\}\n'
            r'</tool_call>\n<tool_call>\n\{"name": "apply_patch", '
            r'"arguments": \{"input": "\+ é\\n- b"\}\}\n</tool_call>'
        },
    },
    "responses-whole": {"stream": False, "input": _SAID, "max_output_tokens": 5},
    "responses-error-state": {"previous_response_id": "resp_1", "input": "And now?"},
}  # fmt: skip
PAGES = {"models": "/v1/models", "version": "/version", "metrics": "/metrics"}
FATAL = {
    # With a seed, a prompt of more than one step kills vLLM 0.32 on the CPU ("CPU Generator does not use offset").
    "engine-dies": {"messages": _NEARLY_TOO_LONG, "max_tokens": 100, **_USAGE},
    "error-engine-dead": {"messages": _ASK, "max_tokens": 4},
}


def record(server: Server) -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, case in CASES.items():
        _keep(name, _answer(server, case))
    for name, case in RESPONSES.items():
        _keep(name, _post(server, "/v1/responses", case))
    for name, path in PAGES.items():
        _keep(name, _read(urllib.request.Request(server.url + path)))
    for name, case in FATAL.items():
        _keep(name, _answer(server, case))


def _keep(name: str, answer: bytes) -> None:
    FOLDER.joinpath(f"{name}.http").write_bytes(answer)


def _answer(server: Server, case: dict[str, Any]) -> bytes:
    unlike = {"logit_bias": dict.fromkeys(_white_space(), -100)}
    return _post(
        server, "/v1/chat/completions", case | (unlike if "tools" in case and "structured_outputs" not in case else {})
    )


def _post(server: Server, path: str, case: dict[str, Any]) -> bytes:
    body = {"model": server.model, "stream": True, "temperature": 0.7, "seed": 1} | case
    headers = {"Content-Type": "application/json"}
    return _read(urllib.request.Request(f"{server.url}{path}", json.dumps(body).encode(), headers))


def _white_space() -> list[str]:
    """The ids of all tokens that are nothing else: inside JSON, random weights would write little but these."""
    vocabulary = json.loads((HOME / "models" / "moe" / "tokenizer.json").read_text())["model"]["vocab"]
    return [str(number) for text, number in vocabulary.items() if not text.strip("ĠĊĉč")]


def _read(request: urllib.request.Request) -> bytes:
    try:
        response = urllib.request.urlopen(request, timeout=120)
    except urllib.error.HTTPError as refusal:
        response = refusal
    with response:
        return f"{response.status} {response.headers['Content-Type']}\n\n".encode() + response.read()


if __name__ == "__main__":
    with serve("moe") as moe:
        record(moe)

"""Why a reply ended: the words of all servers, as the five of OpenAI's API.

Whatever is not in this table (abort, error, cancelled, insufficient_system_resource, a word that nobody knows) is no
normal end, so the attempt has failed.
"""

from typing import Literal

Finish = Literal["stop", "length", "tool_calls", "function_call", "content_filter"]

FINISHES: dict[str, Finish | None] = {
    # The model had said what it had to say, or a stop sequence came up.
    "stop": "stop",
    "stop_sequence": "stop",  # Anthropic, TGI, Cohere
    "end_turn": "stop",  # Anthropic, Bedrock
    "pause_turn": "stop",  # Anthropic, where the next request goes on
    "eos": "stop",  # llama.cpp
    "eos_token": "stop",  # TGI
    "complete": "stop",  # Cohere
    "completed": "stop",
    # A limit was reached: the request's own, or the context's.
    "length": "length",
    "max_tokens": "length",  # Anthropic, Gemini, Cohere
    "max_output_tokens": "length",  # OpenAI's Responses
    "limit": "length",  # llama.cpp
    "model_length": "length",  # Mistral
    "model_context_window_exceeded": "length",  # Anthropic
    # The model calls tools.
    "tool_calls": "tool_calls",
    "tool_call": "tool_calls",  # Cohere
    "tool_use": "tool_calls",  # Anthropic
    "function_call": "function_call",
    # A filter, or the model itself, held the rest back: an end that the API provides for, and that a note counts.
    "content_filter": "content_filter",
    "content_filtered": "content_filter",  # Bedrock
    "guardrail_intervened": "content_filter",  # Bedrock
    "refusal": "content_filter",  # Anthropic
    "safety": "content_filter",  # Gemini
    "sensitive": "content_filter",  # Zhipu
    # The reply goes on: what some write in the place of null.
    "null": None,
    "none": None,
}
_LONGEST = 80


def finish_of(word: str) -> tuple[Finish | None, bool]:
    """A word's meaning (None: the reply goes on), and whether it is a normal end; case and hyphens do not matter."""
    key = word.strip().lower().replace("-", "_")
    return FINISHES.get(key), key in FINISHES or not key


def shown(word: str) -> str:
    """The server's own word, as a message or a record may hold it."""
    return " ".join(word.encode("utf-8", "replace").decode().split())[:_LONGEST]

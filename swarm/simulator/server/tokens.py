"""From a chat to tokens: a token is a 4-byte piece of the rendered chat.

Rendering is append-only, as with a real chat template: the tokens of a conversation are a prefix of the tokens of the
same conversation with more messages, and what the model wrote has the same tokens when it comes back as history. So
each part is filled up to whole tokens. The head of a tool call (its name) is one token, whatever its length.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

TOKEN_BYTES = 4

_encode = msgspec.json.Encoder(order="sorted").encode


def text_tokens(text: str) -> bytes:
    """The tokens of a text, filled up with line ends."""
    data = text.encode("utf-8", "surrogatepass")
    return data + b"\n" * (-len(data) % TOKEN_BYTES)


def call_head(name: str) -> bytes:
    """The one token that opens a call of the tool `name`."""
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=TOKEN_BYTES).digest()


def render(messages: Sequence[dict[str, Any]], tools: Sequence[Any] = (), speak: bool = True) -> bytes:
    """The tokens of a prompt: tools, messages, and, to `speak`, the mark of the assistant's turn. 4 bytes a token."""
    parts = [text_tokens("<tools>\n"), text_tokens(_encode(tools).decode()), _END] if tools else []
    for message in messages:
        role = message["role"]
        parts.append(_OPEN.get(role) or text_tokens(f"<|{role}|>\n"))
        if role == "tool":
            parts.append(text_tokens(str(message.get("tool_call_id", ""))))
        parts.append(text_tokens(content_text(message.get("content"))))
        for call in message.get("tool_calls") or ():
            function = call["function"]
            parts.append(call_head(function["name"]))
            parts.append(text_tokens(function["arguments"]))
        parts.append(_END)
    if speak:
        parts.append(_OPEN["assistant"])
    return b"".join(parts)


_OPEN = {role: text_tokens(f"<|{role}|>\n") for role in ("system", "user", "assistant", "tool")}
_END = text_tokens("<|end|>\n")


def content_text(content: Any) -> str:
    """The text of a message's content: a text, a list of text parts, or nothing."""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""


def block_hashes(tokens: bytes, block_size: int) -> list[int]:
    """The hash of each full block, chained: equal hashes mean equal tokens from the very beginning.

    They are Python's own hashes, of 64 bits: the same within a process only, where they are compared.
    """
    size = block_size * TOKEN_BYTES
    hashes = []
    chain = 0
    for end in range(size, len(tokens) + 1, size):
        chain = hash((chain, tokens[end - size : end]))
        hashes.append(chain)
    return hashes

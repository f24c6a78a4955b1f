import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from swarm.simulator.server import replies, tokens
from swarm.simulator.server.protocol import ApiError, ChatRequest, ChunkWriter, StreamOptions, parse

KEYWORDS = (
    "role content tool_calls tool_call_id function name arguments type text parameters model messages tools "
    "tool_choice stream stream_options include_usage max_tokens min_tokens n stop seed temperature logprobs"
)
KEYS = KEYWORDS.split()
WORDS = ["user", "assistant", "tool", "system", "text", "function", "auto", "required", "none", ""]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=15,
)
message = st.fixed_dictionaries(
    {"role": st.sampled_from(WORDS)}, optional={"content": anything, "tool_calls": anything}
)
request = st.fixed_dictionaries(
    {"messages": st.lists(message, max_size=3) | anything},
    optional={key: anything for key in KEYS if key not in ("messages", "role", "content")},
)


def parsed(data: bytes) -> ChatRequest | ApiError:
    try:
        return parse(data)
    except ApiError as error:
        return error


@settings(max_examples=400, deadline=None)
@given(request)
@example({"messages": [{"role": "user", "content": "\ud800"}], "tools": [{"function": {"name": "\udfff"}}]})
def test_a_request_is_either_refused_or_answered(body):
    chat = parsed(json.dumps(body).encode())
    if isinstance(chat, ApiError):
        assert (chat.status, json.loads(chat.body())["error"]["code"]) == (400, 400)
        return
    tools = [
        {"function": {"name": tool.function.name, "parameters": tool.function.parameters}} for tool in chat.tools or []
    ]
    prompt = tokens.render(chat.messages, tools)
    choice = chat.tool_choice if isinstance(chat.tool_choice, str) else "auto"
    reply = replies.answer(prompt, chat.messages, tools, choice, limit=min(chat.limit or 50, 50))
    assert 1 <= len(reply.pieces) <= 50


@given(st.binary(max_size=25))
def test_bytes_that_are_no_request_are_refused(data):
    with pytest.raises(ApiError) as refusal:  # the shortest request has 26
        parse(data)
    assert refusal.value.status == 400


@given(st.text(max_size=20), st.text(max_size=20), st.booleans(), st.booleans())
def test_every_chunk_is_one_ascii_event_of_valid_json_whatever_is_in_it(model, name, include, continuous):
    call = replies.ToolCall("chatcmpl-tool-1", name, '{"a": "\\u00e9"}')
    pieces = ["some", " tex", "", '{"a"', ': "\\', "u00e", '9"}']
    reply = replies.Reply(pieces, "tool_calls", call, 2)
    writer = ChunkWriter.of("chatcmpl-x", 5, model, reply, 7, StreamOptions(include, continuous))
    events = [writer.role(), *(writer.token(at) for at in range(7)), writer.end(3)]
    assert events[-1].endswith("data: [DONE]\n\n")
    for event in events[:-1]:
        event.encode("ascii")
        assert event.startswith("data: ")
        assert event.count("\n") == 2
        chunk = json.loads(event[6:])
        assert chunk["model"] == model
        assert ("usage" in chunk) == (include and continuous)
    assert json.loads(events[3][6:])["choices"][0]["delta"]["tool_calls"][0]["function"]["name"] == name

import json
import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.simulator.server.replies import answer
from swarm.simulator.server.tokens import TOKEN_BYTES, block_hashes, render, text_tokens

TOOLS = [{"type": "function", "function": {"name": "read_file", "parameters": {"type": "object"}}}]
CALL = {"id": "c1", "type": "function", "function": {"name": "read_file", "arguments": '{"path": "a.py"}'}}
CHAT = [
    {"role": "system", "content": "You are a coding agent."},
    {"role": "user", "content": "Fix it: é∑"},
    {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "def f(): pass"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {
        "role": "tool",
        "tool_call_id": "c1",
        "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}],
    },
    {"role": "assistant", "content": "Done."},
    {"role": "user", "content": "Thanks."},
]

messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool", "developer"]), "content": st.text(max_size=40)}
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize("length", range(1, len(CHAT)))
@pytest.mark.parametrize("tools", [[], TOOLS])
def test_a_longer_chat_begins_with_the_tokens_of_the_shorter_one(length, tools):
    shorter, longer = render(CHAT[:length], tools), render(CHAT[: length + 1], tools)
    if CHAT[length]["role"] == "assistant":  # it goes on where the prompt asked it to speak
        assert longer.startswith(shorter)
    else:
        assert longer.startswith(shorter[: -len(text_tokens("<|assistant|>\n"))])


@given(messages, messages)
def test_appending_messages_never_changes_the_tokens_before(first, more):
    common = render(first)[: -len(text_tokens("<|assistant|>\n"))]
    assert render(first + more).startswith(common)
    assert len(render(first + more)) % TOKEN_BYTES == 0


@given(messages, messages)
def test_different_chats_have_different_tokens(first, second):
    if first != second and not any("<|" in m["content"] or m["content"].endswith("\n") for m in first + second):
        assert render(first) != render(second)


@pytest.mark.parametrize("tool_choice", ["none", "auto", "required"])
def test_a_reply_has_the_same_tokens_when_it_comes_back_as_history(tool_choice):
    prompt = render(CHAT, TOOLS)
    reply = answer(prompt, CHAT, TOOLS, tool_choice, limit=500)
    message = {"role": "assistant", "content": reply.content}
    if reply.call:
        function = {"name": reply.call.name, "arguments": reply.call.arguments}
        message["tool_calls"] = [{"id": reply.call.id, "type": "function", "function": function}]
    later = render([*CHAT, message, {"role": "user", "content": "Go on."}], TOOLS)
    assert later.startswith(prompt + reply.tokens())
    assert len(reply.tokens()) == TOKEN_BYTES * len(reply.pieces)


def test_other_tools_make_another_prompt():
    assert render(CHAT, TOOLS) != render(CHAT, [])
    renamed = json.loads(json.dumps(TOOLS).replace("read_file", "open_file"))
    assert render(CHAT, TOOLS) != render(CHAT, renamed)


def test_a_token_is_four_bytes_of_text():
    short, long = render([{"role": "user", "content": "x" * 400}]), render([{"role": "user", "content": "x" * 800}])
    assert len(long) - len(short) == 400
    assert len(text_tokens("four")) == 4
    assert text_tokens("five5") == b"five5\n\n\n"
    assert text_tokens("\ud800") == b"\xed\xa0\x80\n"


def test_block_hashes_cover_full_blocks_only_and_depend_on_all_before():
    data = bytes(range(200))
    hashes = block_hashes(data, 16)
    assert len(hashes) == 3
    assert block_hashes(data[:128], 16) == hashes[:2]
    assert block_hashes(b"x" + data[1:], 16)[2] != hashes[2]
    assert block_hashes(data[64:128], 16)[0] != hashes[1]
    assert block_hashes(data, 8)[:6][1] != hashes[0]
    assert block_hashes(b"x" * 63, 16) == []


def test_a_prompt_of_32_kilobytes_is_rendered_and_hashed_in_well_under_a_millisecond():
    chat = [{"role": "system", "content": "s" * 12000}] + [
        {"role": "user", "content": f"{at} " * 1000} for at in range(8)
    ]

    def plan():
        return block_hashes(render(chat, TOOLS), 16)

    assert len(plan()) > 400
    assert min(timeit.repeat(plan, number=5, repeat=20)) / 5 < 0.001

"""OpenAI's Responses API, with answers that a real vLLM 0.32 gave (tests/vllm/record.py): what passes, what is read."""

import json
import os
from itertools import pairwise
from pathlib import Path

import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nonsense import FUZZ, spoilt
from scripted_server import END, HANG, RESET, answer, event, piece, scripted, stream_head
from test_recording import MS, STREAMED, WORDS, Trace
from test_relay import proxy, until

from swarm.client.base import Observation, ToolCall
from swarm.client.reply.events import MAX_EVENT_BYTES
from swarm.proxy import responses_request, responses_stream
from swarm.proxy.exchange import Exchange

VLLM = Path(__file__).parents[1] / "vllm" / "recorded"
JSON = {"Content-Type": "application/json"}
TOOLS = [
    {"type": "function", "name": "read_file", "parameters": {"type": "object", "properties": {}}},
    {"type": "custom", "name": "apply_patch", "description": "Changes files."},
]
PATCH = "+ é\n- b"


def recorded(name):
    """The body of an answer of vLLM's."""
    return (VLLM / f"responses-{name}.http").read_bytes().partition(b"\n\n")[2]


def streamed(body):
    """A script that sends it, event by event."""
    return [stream_head(), *(piece(part + b"\n\n") for part in body.split(b"\n\n")[:-1]), END]


def sse(kind, **fields):
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def completed(name="r1", **fields):
    return sse("response.completed", response={"id": name, "status": "completed", **fields})


def words(text, index=0):
    return sse("response.output_text.delta", output_index=index, delta=text)


HELLO = words("Hello") + completed(usage={"input_tokens": 7, "output_tokens": 1})


def exchange(asked, body=HELLO, at=0, headers=STREAMED, **changes):
    """One that was sent at `at` ms and whose answer came in whole, 20 ms later."""
    given = {"status": 200, "headers": headers, "pieces": [(body, (at + 20) * MS)], "end_ns": (at + 30) * MS} | changes
    request = json.dumps({"model": "m", "stream": True, **asked}).encode()
    return Exchange("responses", request, at * MS, **given)


def take(tmp_path, *exchanges, content=True, **bounds):
    """The turns of the trace that a recording makes of them, and its totals."""
    trace = Trace(tmp_path / "trace.jsonl", content, **bounds)
    totals = [trace.take(one) for one in exchanges][-1]
    return trace.turns, totals


def seen_of(body, pieces=None):
    seen = Observation()
    responses_stream.read_stream(pieces or [(body, 1)], seen)
    return seen


async def test_a_stream_arrives_byte_for_byte_and_so_does_the_request():
    asked = {"model": "m", "input": "hi", "stream": True, "store": False}
    async with scripted(streamed(recorded("tools"))) as server, proxy(server) as through:
        for path in ("/v1/responses", "/responses"):
            async with through.post(asked, path, headers={"Authorization": "Bearer k"}) as reply:
                assert (reply.status, reply.content_type) == (200, "text/event-stream")
                assert await reply.read() == recorded("tools")
        assert [(got.path, got.body) for got in server.received] == [("/v1/responses", asked)] * 2
    assert [(one.api, one.keys, one.body()) for one in through.kept] == [("responses", ("k",), recorded("tools"))] * 2
    assert through.relay.passed == {}


async def test_an_event_passes_while_the_server_keeps_the_rest_to_itself():
    async with scripted([stream_head(), piece(words("Hello")), HANG]) as server, proxy(server) as through:
        async with through.post({"input": "hi", "stream": True}, "/v1/responses") as reply:
            assert await reply.content.readany() == words("Hello")
            assert through.relay.open == 1
            reply.close()
        await until(lambda: through.kept)
    assert through.kept[0].left


async def test_a_server_without_this_api_is_left_to_say_so_and_the_turn_is_a_failed_one(tmp_path):
    absent = {"detail": "Not Found"}
    async with scripted(answer("404 Not Found", absent)) as server, proxy(server) as through:
        reply = await through.post({"input": "hi", "stream": True}, "/v1/responses")
        assert (reply.status, await reply.json()) == (404, absent)
    ((turn,), _) = take(tmp_path, *through.kept)
    assert (turn.error, turn.status, turn.reply) == ("not_found", 404, None)


async def test_the_stock_client_works_through_a_job_with_tools(tmp_path):
    def script(received):
        return streamed(recorded("tools" if len(received.body["input"]) == 1 else "text"))

    talk = [{"role": "user", "content": "Which file has the bug?"}]
    async with scripted(script) as server, proxy(server, model="big") as through:
        client = openai.AsyncOpenAI(base_url=f"{through.url}/v1", api_key="k")
        for _ in range(2):
            stream = await client.responses.create(
                model="m", instructions="Be brief.", input=talk, tools=TOOLS, stream=True
            )
            said = [event async for event in stream][-1].response
            talk += [item.model_dump(exclude_none=True) for item in said.output]
            calls = [item for item in said.output if item.type.endswith("_call")]
            talk += [{"type": f"{made.type}_output", "call_id": made.call_id, "output": "done"} for made in calls]
        assert [received.body["model"] for received in server.received] == ["big", "big"]
    (first, second), totals = take(tmp_path, *through.kept)
    assert [(turn.session, turn.number, turn.error) for turn in (first, second)] == [("s1", 1, None), ("s1", 2, None)]
    assert [message.role for message in first.added] == ["system", "user"]
    assert [message.role for message in second.added] == ["assistant", "tool", "tool"]
    assert (second.kept, second.added[0].key, second.tools) == (2, first.reply.key, None)
    assert [(made.name, json.loads(made.arguments)) for made in first.reply.calls] == [
        ("read_file", {"path": "a.py"}),
        ("apply_patch", {"input": PATCH}),
    ]
    assert (first.prompt_tokens, first.completion_tokens, first.finish_reason) == (243, 105, "tool_calls")
    assert (second.prompt_tokens, second.completion_tokens, second.finish_reason) == (29, 12, "length")
    assert first.t_ns < first.first_token_ns < first.end_ns
    assert (totals.turns, totals.unreadable, totals.uncounted) == (2, 0, 0)


def test_vllms_stream_is_read_with_a_stamp_for_each_token_that_it_shows():
    body = recorded("text")
    pieces = [(part + b"\n\n", at) for at, part in enumerate(body.split(b"\n\n")[:-1])]
    seen = seen_of(body, pieces)
    assert seen.content == " statusught estreadlinkiv qugroup initialization subset whoserpathump"
    assert list(seen.stamps) == list(range(4, 16))
    assert (seen.end_ns, seen.finish_reason, seen.failure) == (len(pieces) - 1, "length", None)
    assert seen_of(recorded("cached")).cached_tokens == 256


@given(st.lists(st.integers(0, 12_000), max_size=6))
def test_a_stream_is_read_the_same_in_whatever_chunks(cuts):
    whole = recorded("tools")
    bounds = sorted({0, *(cut for cut in cuts if cut < len(whole)), len(whole)})
    seen = seen_of(whole, [(whole[a:b], b) for a, b in pairwise(bounds)])
    assert (seen.content, seen.end_ns, seen.prompt_tokens) == ("I look at it.\n", len(whole), 243)
    assert [(made.name, json.loads(made.arguments)) for made in seen.tool_calls] == [
        ("read_file", {"path": "a.py"}),
        ("apply_patch", {"input": PATCH}),
    ]


def test_a_reply_that_came_as_a_whole_has_no_time_of_a_first_token(tmp_path):
    (turn,), _ = take(tmp_path, exchange({"input": "hi", "stream": False}, recorded("whole"), headers=JSON))
    assert (turn.first_token_ns, turn.end_ns, turn.error) == (None, 30 * MS, None)
    assert (turn.prompt_tokens, turn.completion_tokens, turn.finish_reason) == (66, 5, "length")
    assert turn.reply.content["content"] == " statusught estreadlinkiv"


def test_what_a_stream_shows_only_at_the_end_of_an_item_is_read_there():
    done = [
        {"type": "reasoning", "id": "i0", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "message", "id": "i1", "content": [{"type": "output_text", "text": "Hi"}]},
        {"type": "function_call", "id": "i2", "call_id": "c2", "name": "f", "arguments": "{}", "namespace": "n"},
        {"type": "local_shell_call", "id": "i3", "call_id": "c3", "action": {"command": ["ls"]}},
        {"type": "web_search_call", "id": "i4", "status": "completed"},
    ]
    said = Observation()
    whole = json.dumps({"id": "r", "status": "completed", "output": done}).encode()
    named = responses_stream.read_document(whole, 9, said)
    seen = seen_of(b"".join(sse("response.output_item.done", output_index=n, item=i) for n, i in enumerate(done)))
    for each in (said, seen):
        assert (each.reasoning, each.content) == ("hm", "Hi")
        assert each.tool_calls == [ToolCall("c2", "n__f", "{}"), ToolCall("c3", "local_shell", '{"command":["ls"]}')]
    assert (named.id, named.items, said.finish_reason) == ("r", done, "tool_calls")


def test_reasoning_text_and_refusals_bear_tokens():
    body = sse("response.reasoning_text.delta", output_index=0, delta="h")
    body += sse("response.reasoning_summary_text.delta", output_index=0, delta="m")
    body += sse("response.refusal.delta", output_index=1, delta="No.") + b"data: [DONE]\n\n"
    seen = seen_of(body)
    assert (seen.reasoning, seen.content, len(seen.stamps), seen.failure) == ("hm", "No.", 3, None)


ERROR = {"code": "server_error", "message": "out of memory"}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (words("Hel"), "cut"),
        (words("Hel") + sse("response.failed", response={"id": "r", "status": "failed", "error": ERROR}), "in_band"),
        (words("Hel") + sse("error", **ERROR), "in_band"),
        (words("Hel") + b'data: {"error": {"message": "out of memory"}}\n\n', "in_band"),
        (words("Hel") + b"data: {\n\n", "malformed"),
        (words("Hel") + b"event: error\ndata: out of memory\n\n", "in_band"),
        (words("Hel") + sse("response.failed", response={"id": "r"}), "in_band"),
        (words("Hel") + sse("response.failed"), "in_band"),
        (words("Hel") + sse("response.cancelled", response={"id": "r", "status": "cancelled"}), "in_band"),
        (words("Hel") + sse("response.incomplete", response={"id": "r", "status": "incomplete"}), "in_band"),
        (
            words("Hel")
            + sse("response.completed", response={"status": "incomplete", "incomplete_details": {"reason": "abort"}}),
            "in_band",
        ),
    ],
)
def test_a_stream_that_fails_says_how_and_keeps_what_came(tmp_path, body, error):
    (turn,), totals = take(tmp_path, exchange({"input": "hi"}, body))
    assert (turn.error, turn.reply.bytes, totals.failed) == (error, 3, 1)


def test_counts_that_cannot_be_and_odd_json_do_not_spoil_a_response():
    counts = {"input_tokens": 10, "output_tokens": -2, "input_tokens_details": {"cached_tokens": 99}}
    body = words("Hel") + completed(usage=counts).replace(b'"r1"', b'"r\\ud83d", "took": NaN')
    seen = seen_of(body)
    assert (seen.failure, seen.finish_reason) == (None, "stop")
    assert (seen.prompt_tokens, seen.completion_tokens, seen.cached_tokens) == (10, None, None)


def test_an_event_without_an_end_is_not_held_for_ever():
    seen = seen_of(b"", [(words("Hel"), 1), (b"data: " + b"x" * (MAX_EVENT_BYTES + 1), 2)])
    assert (seen.failure.kind, seen.content) == ("malformed", "Hel")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"no json", "malformed"),
        (b'{"error": {"message": "no"}}', "in_band"),
        (b'{"nothing": "of use"}', "in_band"),
        (json.dumps({"id": "r", "status": "failed", "error": ERROR}).encode(), "in_band"),
    ],
)
def test_an_answer_that_is_no_response_says_how(tmp_path, body, error):
    (turn,), _ = take(tmp_path, exchange({"input": "hi"}, body, headers=JSON))
    assert (turn.error, turn.reply) == (error, None)


@pytest.mark.parametrize("ending", [RESET, END], ids=["reset", "an end without a response"])
async def test_a_stream_that_breaks_off_is_recorded_as_far_as_it_came(tmp_path, ending):
    async with scripted([stream_head(), piece(words("Hel")), 0.01, ending]) as server, proxy(server) as through:
        reply = await through.post({"input": "hi", "stream": True}, "/v1/responses")
        assert await reply.content.readany() == words("Hel")
        await until(lambda: through.kept)
    (turn,), _ = take(tmp_path, *through.kept)
    assert (turn.error, turn.reply.bytes) == ("reset" if ending is RESET else "cut", 3)


PICTURE = "data:image/png;base64,AAAA"


@pytest.mark.parametrize(
    ("given_item", "message"),
    [
        ({"role": "user", "content": "hi"}, {"role": "user", "content": "hi"}),
        (
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "hi"}]},
            {"role": "developer", "content": "hi"},
        ),
        (
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "see"},
                    {"type": "input_image", "image_url": PICTURE},
                    {"type": "input_file", "file_id": "f1"},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "see"},
                    {"type": "image_url", "image_url": {"url": PICTURE}},
                    {"type": "file", "file": {"file_id": "f1"}},
                ],
            },
        ),
        (
            {
                "role": "assistant",
                "content": [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "b"}],
            },
            {"role": "assistant", "content": "ab"},
        ),
        (
            {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}], "summary": []},
            {"role": "assistant", "content": None, "reasoning_content": "hm"},
        ),
        (
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "x"}]},
            {"role": "tool", "tool_call_id": "c", "content": "x"},
        ),
        (
            {"type": "shell_call_output", "call_id": "c", "output": [{"stdout": "x"}]},
            {"role": "tool", "tool_call_id": "c", "content": '[{"stdout":"x"}]'},
        ),
        (
            {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "+ a"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"input":"+ a"}'}}
                ],
            },
        ),
    ],
)
def test_an_item_becomes_a_message_of_a_chat(given_item, message):
    assert responses_request.Stored().prompt(json.dumps({"input": [given_item]}).encode()).messages == [message]


@pytest.mark.parametrize(
    "item", [{"type": "web_search_call", "id": "w"}, {"type": "reasoning", "encrypted_content": "x"}]
)
def test_what_the_server_did_for_itself_is_no_message(item):
    assert responses_request.Stored().prompt(json.dumps({"input": [item]}).encode()).messages == []


def test_what_the_model_said_in_one_reply_is_one_message():
    talk = [
        {"role": "user", "content": "hi"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"role": "assistant", "content": "I look."},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "x"},
    ]
    _, said, result = responses_request.Stored().prompt(json.dumps({"input": talk}).encode()).messages
    assert (said["reasoning_content"], said["content"]) == ("hm", "I look.")
    assert [made["id"] for made in said["tool_calls"]] == ["c1", "c2"]
    assert result["role"] == "tool"


def test_tools_become_functions_and_the_apis_own_go_by_their_type(tmp_path):
    offered = [*TOOLS, {"type": "namespace", "name": "crm", "tools": [TOOLS[0]]}, {"type": "local_shell"}]
    prompt = responses_request.Stored().prompt(json.dumps({"input": "hi", "tools": offered}).encode())
    assert [tool["function"]["name"] for tool in prompt.tools] == [
        "read_file",
        "apply_patch",
        "crm__read_file",
        "local_shell",
    ]
    assert prompt.tools[1]["function"]["parameters"]["required"] == ["input"]
    assert prompt.tools[1]["function"]["description"] == "Changes files."
    item = {"type": "function_call", "call_id": "c", "name": "read_file", "namespace": "crm", "arguments": "{}"}
    called = sse("response.output_item.done", output_index=0, item=item) + completed()
    (turn,), _ = take(tmp_path, exchange({"input": "hi", "tools": offered}, called), content=False)
    assert (turn.tools.count, [made.name for made in turn.reply.calls]) == (4, ["crm__read_file"])


def test_a_sub_agent_is_known_by_its_job_though_its_surroundings_are_told_first(tmp_path):
    job = "Read the tests and say what they expect."
    spawn = {"type": "function_call", "id": "f", "call_id": "c", "name": "spawn_agent", "namespace": "agents"}
    spawned = spawn | {"arguments": json.dumps({"message": job})}
    around = {"role": "user", "content": "<environment_context>linux</environment_context>"}
    (_, started), _ = take(
        tmp_path,
        exchange(
            {"input": [around, {"role": "user", "content": "mend it"}]},
            sse("response.output_item.done", output_index=0, item=spawned) + completed(),
        ),
        exchange({"input": [around, {"role": "user", "content": job}]}, at=100),
    )
    assert (started.session, started.parent.session, started.parent.turn) == ("s2", "s1", 1)


def result(call_id="c1"):
    return {"type": "function_call_output", "call_id": call_id, "output": "x = 1"}


CALLS = sse(
    "response.output_item.done",
    output_index=0,
    item={"type": "function_call", "id": "fc1", "call_id": "c1", "name": "read_file", "arguments": "{}"},
)


def test_a_request_that_goes_on_from_a_recorded_response_has_the_whole_prompt(tmp_path):
    (first, second, third), totals = take(
        tmp_path,
        exchange({"instructions": "Be brief.", "input": "mend a.py"}, CALLS + completed("r1")),
        exchange({"instructions": "Be kind.", "input": [result()], "previous_response_id": "r1"}, HELLO, at=100),
        exchange({"input": "thanks", "previous_response_id": "r1"}, completed("r3"), at=200),
    )
    assert (totals.unreadable, totals.sessions) == (0, 1)
    assert [message.content["content"] for message in second.added] == ["Be kind.", "mend a.py", None, "x = 1"]
    assert second.added[2].key == first.reply.key
    assert [message.role for message in third.added] == ["user", "assistant", "user"]


def test_an_item_that_a_request_names_stands_in_its_place(tmp_path):
    first = exchange({"input": "mend a.py"}, CALLS + completed("r1"))
    named = [{"role": "user", "content": "mend a.py"}, {"type": "item_reference", "id": "fc1"}, result()]
    untyped = [*named[:1], {"id": "fc1"}, *named[2:]]
    turns, totals = take(tmp_path, first, exchange({"input": named}, at=100), exchange({"input": untyped}, at=200))
    assert totals.unreadable == 0
    assert [turn.added[0].key for turn in turns[1:2]] == [turns[0].reply.key]
    assert [message.role for message in turns[1].added] == ["assistant", "tool"]


@pytest.mark.parametrize(
    "asked",
    [
        {"input": "go on", "previous_response_id": "r9"},
        {"input": [{"type": "item_reference", "id": "m9"}]},
        {"input": "go on", "conversation": "conv_1"},
        {"input": "go on", "prompt": {"id": "pmpt_1"}},
        {"input": 7},
        {"messages": []},
    ],
    ids=["response", "item", "conversation", "prompt", "no input", "a chat's request"],
)
def test_what_only_the_server_knows_is_not_guessed_but_counted(tmp_path, asked):
    turns, totals = take(tmp_path, exchange({"input": "hi"}), exchange(asked, at=100))
    assert (len(turns), totals.unreadable) == (1, 1)


def test_a_response_in_the_background_is_not_taken_for_its_reply(tmp_path):
    queued = json.dumps({"id": "r", "status": "queued", "output": []}).encode()
    turns, totals = take(tmp_path, exchange({"input": "hi", "background": True}, queued, headers=JSON))
    assert (turns, totals.unreadable) == ((), 1)


def test_what_the_server_does_not_keep_is_not_kept_here_and_the_oldest_is_forgotten(tmp_path):
    again = {"input": "go on", "previous_response_id": "r1"}
    turns, totals = take(tmp_path, exchange({"input": "hi", "store": False}), exchange(again, at=100))
    assert (len(turns), totals.unreadable) == (1, 1)
    one = exchange({"input": "hi"})
    other = exchange({"input": "hello"}, words("Hi") + completed("r2"), at=100)
    (tmp_path / "trace.jsonl").unlink()
    later = exchange(again, at=200), exchange({**again, "previous_response_id": "r2"})
    turns, totals = take(tmp_path, one, other, *later, stored_bytes=len(one.request) + len(HELLO) + 50)
    assert (len(turns), totals.unreadable) == (3, 1)


ASKED = {
    "instructions": "Be brief.",
    "input": [
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "see"}, {"type": "input_image", "image_url": PICTURE}],
        },
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "namespace": "n", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "d", "name": "g", "input": "x"},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "x"}]},
        {"type": "item_reference", "id": "fc1"},
    ],
    "tools": [*TOOLS, {"type": "namespace", "name": "n", "tools": [TOOLS[0]]}],
    "previous_response_id": "r1",
}
EVENTS = [
    json.loads(line.removeprefix(b"data: ")) for line in recorded("tools").splitlines() if line.startswith(b"data: ")
]


@FUZZ
@given(spoilt(ASKED), st.lists(st.sampled_from(EVENTS).flatmap(spoilt), max_size=6), st.booleans())
def test_nonsense_on_either_side_never_ends_the_recording(tmp_path, asked, events, whole):
    body = json.dumps(events[0] if events else 7).encode() if whole else b"".join(map(event, events))
    trace = Trace(tmp_path / os.urandom(8).hex(), content=True)
    trace.take(exchange({"input": "hi"}, CALLS + completed("r1")))
    asked = asked if isinstance(asked, dict) else {"input": asked}
    totals = trace.take(exchange(asked, body, at=100, headers=JSON if whole else STREAMED))
    assert totals.turns + totals.unreadable == 2
    assert len(trace.turns) == totals.turns


PLACES = ["instructions", "input", "role", "tool", "schema", "result", "call", "arguments", "reply", "reasoning", "ids"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_planted_secret_reaches_the_file_in_whatever_place(tmp_path, data):
    """With contents, one of a known shape; without, any word, for then no text at all is written."""
    content, place = data.draw(st.booleans()), data.draw(st.sampled_from([*PLACES, "error"]))
    secret = f"sk-{data.draw(WORDS)}{data.draw(WORDS)}" if content else data.draw(WORDS)

    def put(here, other):
        return secret if place == here else other

    asked = {
        "instructions": put("instructions", "be kind"),
        "input": [
            {"role": put("role", "user"), "content": [{"type": "input_text", "text": put("input", "hi")}]},
            {"type": "function_call", "call_id": put("ids", "c0"), "name": put("call", "f"), "arguments": "{}"},
            {"type": "function_call_output", "call_id": put("ids", "c0"), "output": put("result", "r")},
        ],
        "tools": [{"type": "custom", "name": "g", "description": put("schema", "d")}],
    }
    made = {"type": "custom_tool_call", "id": put("ids", "i"), "call_id": put("ids", "c1"), "name": put("call", "f")}
    body = sse("response.reasoning_text.delta", output_index=0, delta=put("reasoning", "hm"))
    body += words(put("reply", "hello"), 1)
    body += sse("response.output_item.done", output_index=2, item=made | {"input": put("arguments", "x")})
    body += sse("error", message=secret) if place == "error" else completed(put("ids", "r"))
    trace = Trace(tmp_path / os.urandom(8).hex(), content)
    trace.take(exchange(asked, body))
    assert len(trace.turns) == 1
    assert secret not in trace.path.read_text()

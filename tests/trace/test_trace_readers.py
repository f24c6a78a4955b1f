"""Other people's files as traces: runs, conversations in OpenAI's form, and arrivals with block hashes."""

import json

import pytest

from swarm.errors import UsageError
from swarm.trace.format import prompts
from swarm.trace.read import load_trace
from swarm.trace.structure import pause

CALL = {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": '{"command": "ls"}'}}
CONVERSATION = [
    {"role": "system", "content": "You fix bugs."},
    {"role": "user", "content": [{"type": "text", "text": "Fix it."}]},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "a.py", "tool_call_id": "c1"},
    {"role": "assistant", "content": "Done."},
]


@pytest.fixture
def wrote(tmp_path):
    def write(*lines, name="a.jsonl"):
        path = tmp_path / name
        path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
        return path

    return write


def texts(turns):
    return [[message.content["content"] for message in prompt] for prompt in prompts(turns)]


@pytest.mark.parametrize("messages", [CONVERSATION, json.dumps(CONVERSATION)])
def test_each_message_of_the_assistant_is_a_turn(wrote, messages):
    tools = [{"type": "function", "function": {"name": "bash"}}]
    made = load_trace(wrote({"instance_id": "django-1", "messages": messages, "tools": tools}))
    (turns,) = made.sessions().values()
    assert made.header.source == "messages"
    assert (turns[0].session, [turn.number for turn in turns]) == ("django-1", [1, 2])
    assert texts(turns) == [["You fix bugs.", "Fix it."], ["You fix bugs.", "Fix it.", "", "a.py"]]
    assert [(call.name, call.arguments) for call in turns[0].reply.calls] == [("bash", '{"command": "ls"}')]
    assert (turns[0].tools.count, turns[1].tools) == (1, None)
    assert turns[1].added[0].key == turns[0].reply.key
    assert pause(*turns).kind == "tool"
    assert "it has no times" in made.header.notes[0]


def test_trajectories_of_swe_agent_are_conversations(wrote):
    said = [{"role": "system", "text": None, "system_prompt": "Fix."}, {"role": "user", "text": "Bug."}]
    made = load_trace(wrote({"instance_id": "a", "trajectory": [*said, {"role": "ai", "text": "Looking."}]}))
    assert texts(made.turns) == [["Fix.", "Bug."]]
    assert made.turns[0].reply.content == {"role": "assistant", "content": "Looking."}


def test_sessions_of_one_name_are_told_apart(wrote):
    line = {"instance_id": "a", "messages": CONVERSATION}
    assert list(load_trace(wrote(line, line)).sessions()) == ["a", "a#2"]


def test_what_no_server_would_take_is_put_right_and_said(wrote):
    images = {"role": "user", "content": [{"type": "text", "text": "See"}, {"type": "image_url"}]}
    broken = {"role": "assistant", "tool_calls": [{"function": {"name": "ls", "arguments": "{broken"}}]}
    orphan = {"role": "tool", "content": "from nowhere"}
    end = {"role": "assistant", "content": "ok", "thought": "hidden"}
    made = load_trace(wrote({"messages": [images, orphan, broken, {"role": "tool", "content": "x"}, end]}))
    sent = [message.content for message in list(prompts(made.turns))[-1]]
    assert sent[0] == {"role": "user", "content": "See"}
    assert sent[1] == {"role": "user", "content": "from nowhere"}
    assert sent[2]["tool_calls"][0]["function"] == {"name": "ls", "arguments": "{}"}
    assert sent[3]["tool_call_id"] == sent[2]["tool_calls"][0]["id"]
    notes = " ".join(made.header.notes)
    assert all(said in notes for said in ("images", "no JSON object", "answer no call"))
    assert set(made.turns[-1].reply.content) == {"role", "content"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"messages": [1]}', "message 1 is no object"),
        ('{"messages": [{"role": "wizard"}]}', "the role 'wizard'"),
        ('{"messages": "nonsense"}', "no conversation"),
        ('{"messages": {"a": 1}}', "is no list"),
        ('{"messages": [{"role": "assistant", "tool_calls": [7]}]}', "without `function`"),
    ],
)
def test_a_line_that_is_no_conversation_is_refused_with_its_number(wrote, line, said):
    path = wrote({"messages": CONVERSATION}, line)
    with pytest.raises(UsageError, match=r"a\.jsonl:2: ") as refused:
        load_trace(path)
    assert said in str(refused.value)


def arrival(at_ms, tokens, blocks, reply=10):
    return {"timestamp": at_ms, "input_length": tokens, "output_length": reply, "hash_ids": blocks}


def test_requests_that_continue_each_other_are_sessions(wrote):
    others = [arrival(at, 700, [0, 100 + at]) for at in range(5)]  # block 0 begins all conversations
    one = [arrival(10, 1100, [0, 1, 2]), arrival(40_010, 1700, [0, 1, 3, 4]), arrival(60_010, 2100, [0, 1, 3, 5, 6])]
    made = load_trace(wrote(*others, *one))
    assert (made.header.source, made.header.block_tokens) == ("mooncake", 512)
    sizes = sorted(map(len, made.sessions().values()))
    assert sizes == [1, 1, 1, 1, 1, 3]
    longest = max(made.sessions().values(), key=len)
    assert [turn.prompt_tokens for turn in longest] == [1100, 1700, 2100]
    between = [pause(*longest[:2]), pause(*longest[1:])]
    assert [(each.kind, each.ns) for each in between] == [("think", 40 * 10**9), ("think", 20 * 10**9)]


def test_a_half_filled_block_is_nobodys_beginning(wrote):
    made = load_trace(wrote(arrival(0, 600, [1, 2]), arrival(1, 1100, [1, 2, 3])))
    assert len(made.sessions()) == 1  # block 1 is whole in both
    made = load_trace(wrote(arrival(0, 500, [1]), arrival(1, 1100, [1, 2, 3])))
    assert len(made.sessions()) == 2


@pytest.mark.parametrize(
    "line",
    ['{"timestamp": -1, "input_length": 5, "output_length": 1, "hash_ids": [1]}', json.dumps(arrival(0, 600, [1]))],
)
def test_an_arrival_that_cannot_be_is_refused_with_its_number(wrote, line):
    with pytest.raises(UsageError, match=r"a\.jsonl:2: "):
        load_trace(wrote(arrival(0, 5, [1]), line))


def test_an_unknown_file_is_refused_unless_its_format_is_named(wrote):
    path = wrote({"conversation": "?"})
    with pytest.raises(UsageError, match="name the format: swarm, events, messages, mooncake"):
        load_trace(path)
    with pytest.raises(UsageError, match="there is no turn"):
        load_trace(wrote({"messages": []}), "messages")


def record(kind, identity, parent, t_ns, **fields):
    header = {"v": 1, "type": kind, "id": identity, "parent": parent, "run": "r", "target": "moe"}
    return header | {"agents": 1, "trial": 1, "agent": 0, "t_ns": t_ns} | fields


def attempt(turn, t_ns, prompt, cached, **fields):
    told = {"task": "lru", "variant": "a", "intended_ns": t_ns, "end_ns": t_ns + 5, "prompt_tokens": prompt}
    told |= {"cached_tokens": cached, "completion_tokens": 7, "finish_reason": "stop"}
    return record("attempt", f"{turn}-try", turn, t_ns, **(told | fields))


def turn(identity, job, t_ns, end_ns, ok=True):
    return record("turn", identity, job, t_ns, end_ns=end_ns, number=1, ok=ok)


def tool(parent, t_ns, end_ns):
    return record(
        "tool", f"{parent}-tool", parent, t_ns, end_ns=end_ns, name="bash", ok=True, work_ns=1, result_bytes=40
    )


def test_jobs_of_a_run_are_sessions_that_share_what_was_cached(wrote):
    path = wrote(
        *(attempt("t1", 0, 2000, 0), tool("t1", 5, 25), turn("t1", "job1", 0, 25)),
        *(attempt("t2", 26, 2100, 1984), turn("t2", "job1", 26, 31)),
        *(attempt("t3", 40, 2050, 1504), turn("t3", "job2", 40, 45)),
        *(attempt("t4", 50, 2150, 0, aborted=True), turn("t4", "job2", 50, 55, ok=None)),
        *(attempt("t5", 60, 2150, 0, error="timeout"), turn("t5", "job3", 60, 65, ok=False)),
        name="events.jsonl",
    )
    made = load_trace(path.parent)
    first, second = made.sessions().values()
    assert [turn.session for turn in (first[0], second[0])] == ["moe@1.1/0.1:lru/a", "moe@1.1/0.2:lru/a"]
    assert [[message.role for message in prompt] for prompt in prompts(first)] == [
        ["system", "user"],
        ["system", "user", "assistant", "tool"],
    ]
    assert first[0].added[0] == second[0].added[0]
    assert first[0].added[0].tokens == 1504
    assert first[0].added[1].key != second[0].added[1].key
    assert (pause(*first).kind, pause(*first).ns) == ("tool", 21)
    assert "cut off at a stage's end, are left out" in " ".join(made.header.notes)


def test_contents_of_a_run_are_those_of_its_trace(wrote):
    def said(turn, kept, messages, schemas=None):
        content = {"kept": kept, "messages": messages, "tools": "d1", "schemas": schemas, "content": "reply"}
        return record("content", f"{turn}-said", f"{turn}-try", 0, **content, reasoning="", tool_calls=[])

    schemas = [{"type": "function", "function": {"name": "bash"}}]
    history = [{"role": "assistant", "content": "reply", "tool_calls": [CALL]}, {"role": "tool", "content": "a.py"}]
    failed = attempt("t2", 20, 60, 0, error="reset") | {"id": "t2-first"}
    path = wrote(
        *(attempt("t1", 0, 50, 0), said("t1", 0, CONVERSATION[:2], schemas), tool("t1", 5, 9), turn("t1", "j", 0, 9)),
        *(failed, said("t2", 2, history) | {"parent": "t2-first"}),
        *(attempt("t2", 26, 80, 48), said("t2", 4, []), turn("t2", "j", 20, 31)),
        name="events.jsonl",
    )
    made = load_trace(path)
    assert made.header.content
    first, second = made.turns
    assert [message.role for message in list(prompts(made.turns))[1]] == ["system", "user", "assistant", "tool"]
    assert (second.kept, len(second.added)) == (2, 2)
    assert (first.tools.content, second.tools) == (schemas, None)
    assert first.reply.key == second.added[0].key
    assert first.reply.calls[0].arguments == '{"command": "ls"}'


def test_a_torn_last_line_of_a_run_and_a_damaged_one_are_left_out_and_said(wrote):
    whole = [attempt("t1", 0, 50, 0), turn("t1", "j", 0, 9)]
    path = wrote(*whole)
    path.write_text(path.read_text() + '{"type": "att')
    assert "torn" in load_trace(path, "events").header.notes[0]
    made = load_trace(wrote('{"type": "att', *whole), "events")
    assert made.header.notes[0] == "the damaged line a.jsonl:1 is left out"
    assert len(made.turns) == 1

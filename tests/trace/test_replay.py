"""A trace made ready for the simulated server: prompts of the recorded lengths that begin alike where they did."""

import asyncio
import json
import pickle
from itertools import count

import msgspec
import pytest
from built import FIXED, SECOND, session, size, trace, traces
from hypothesis import HealthCheck, given, settings

from swarm.agents.driver import Call, Job
from swarm.agents.tools import Toolbox
from swarm.agents.trace import ReplayTools, TraceDriver, session_task
from swarm.client.base import Observation
from swarm.engine import compose
from swarm.engine.virtual import VirtualTokenizer
from swarm.engine.workloads.replay import mean_of_trace, outlook, prepare, tasks_of_trace
from swarm.errors import BackendError, UsageError
from swarm.scenario.schema import Scenario, TraceSettings
from swarm.simulator.server import tokens
from swarm.trace.format import Parent, Trace, TraceHeader, TraceMessage, TraceTurn, write_trace
from swarm.trace.structure import shared_links, whole_prompts

_files = count()


@pytest.fixture
def saved(tmp_path):
    """Writes a trace; its settings, with `changes`."""

    def save(made, **changes):
        path = tmp_path / f"{next(_files)}.jsonl"
        write_trace(path, made)
        return TraceSettings.model_validate({"path": str(path)} | changes)

    return save


async def ready(settings, context=100_000, **options):
    prepared = await prepare(settings, context, VirtualTokenizer())
    return TraceDriver(prepared.replay, "0123456789abcdef", context, **options), prepared.notes


def requests(driver, name, ticket="T-1"):
    """All requests of a job, in their order."""
    conversation = driver.begin(Job(session_task(name, None), ticket))
    found = []
    while not conversation.answered and (request := conversation.request()) is not None:
        found.append(request)
        conversation.accept(Observation())
    return found


def rendered(request):
    return tokens.render(request.messages, request.tools)


def alike(one, other):
    """Tokens that two prompts share at their beginning."""
    pieces = [[text[at : at + 4] for at in range(0, len(text), 4)] for text in (one, other)]
    pairs = enumerate(zip(*pieces, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(map(len, pieces)))


@given(made=traces())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
async def test_every_made_up_prompt_has_exactly_the_recorded_tokens(saved, made):
    driver, notes = await ready(saved(made))
    known, off = set(), 0
    for name, turns in made.sessions().items():
        for prompt, request in zip(whole_prompts(turns), requests(driver, name), strict=True):
            counted = len(rendered(request)) // 4
            if set(prompt.chain) <= known:  # all of it was made before, for longer prompts: told, if it does not fit
                off += counted != prompt.turn.prompt_tokens
            else:
                assert counted == prompt.turn.prompt_tokens
            known |= set(prompt.chain)
            assert (request.max_tokens, request.pinned) == (prompt.turn.completion_tokens, True)
    assert [note.partition(" of ")[0] for note in notes] == ([str(off)] if off else [])


@given(made=traces())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
async def test_two_jobs_share_as_much_as_the_trace_says_and_no_more(saved, made):
    driver, _ = await ready(saved(made))
    shared = shared_links(made)
    sent = {(name, job): requests(driver, name, job) for name in made.sessions() for job in ("T-1", "T-2")}
    for name, turns in made.sessions().items():
        for prompt, one, other in zip(whole_prompts(turns), sent[name, "T-1"], sent[name, "T-2"], strict=True):
            own = next((at for at, link in enumerate(prompt.chain) if link not in shared), None)
            begin = None if own is None else tokens.render(one.messages[:own], speak=False)
            common = alike(rendered(one), rendered(other))
            if own is None:
                assert rendered(one) == rendered(other)
            else:  # a text of another job differs from its first words on
                assert len(begin) // 4 <= common < len(begin) // 4 + 16


async def test_within_a_job_prompts_go_on_from_each_other(saved):
    made = trace(session("one", [["s0", "u1"], ["s0", "u1", "a1", "t1"], ["s0", "u2"]], calls=["bash"]))
    driver, _ = await ready(saved(made))
    first, second, third = requests(driver, "one")
    assert second.messages[:2] == first.messages
    assert third.messages[0] == first.messages[0]
    assert third.messages[1] != first.messages[1]
    assert second.messages[2]["tool_calls"][0]["function"]["name"] == "bash"
    assert second.messages[3]["tool_call_id"] == second.messages[2]["tool_calls"][0]["id"]


async def test_each_stage_has_texts_of_its_own(saved):
    prepared = await prepare(saved(trace(session("one", [["s0", "u1"]]))), 8000, VirtualTokenizer())
    one, other = (
        requests(TraceDriver(prepared.replay, salt, 8000), "one")[0]
        for salt in ("0123456789abcdef", "fedcba9876543210")
    )
    assert alike(rendered(one), rendered(other)) < 16
    assert len(rendered(one)) == len(rendered(other))


async def test_sub_agents_share_with_their_parent_what_they_shared(saved):
    made = trace(
        session("parent", [["s0", "u1"], ["s0", "u1", "a1", "t1"]], calls=["task"]),
        session("child", [["s0", "u1", "u2"]], parent=Parent(session="parent", turn=1), start_s=1.5, turn_s=0.5),
    )
    driver, _ = await ready(saved(made))
    parent, child = requests(driver, "parent", "T-1")[0], requests(driver, "child", "T-1")[0]
    assert child.messages[:2] == parent.messages
    assert requests(driver, "child", "T-2")[0].messages[1] != parent.messages[1]


async def test_blocks_that_prompts_share_are_the_same_tokens(saved):
    def turn(name, number, tokens, *blocks):
        return TraceTurn(
            session=name, number=number, t_ns=number, prompt_tokens=tokens, completion_tokens=5, blocks=blocks
        )

    made = Trace(
        TraceHeader(source="mooncake", block_tokens=512),
        (turn("a", 1, 1100, 0, 1, 2), turn("b", 1, 700, 0, 9), turn("a", 2, 1600, 0, 1, 3, 4)),
    )
    driver, notes = await ready(saved(made))
    assert notes == ()
    (first, second), (other,) = requests(driver, "a"), requests(driver, "b", "T-2")
    assert [len(rendered(request)) // 4 for request in (first, second, other)] == [1100, 1600, 700]
    assert 1024 <= alike(rendered(first), rendered(second)) < 1040
    assert 512 <= alike(rendered(first), rendered(other)) < 528
    assert 512 <= alike(rendered(first), rendered(requests(driver, "a", "T-2")[0])) < 528


CALL = {"id": "c1", "type": "function", "function": {"name": "read_file", "arguments": '{"path": "a.py"}'}}
SAID = [
    {"role": "system", "content": "You fix bugs."},
    {"role": "user", "content": "Fix it."},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "pass", "tool_call_id": "c1"},
    {"role": "assistant", "content": "Done, twelve letters."},
]


@pytest.fixture
def conversation(tmp_path):
    schema = {"type": "function", "function": {"name": "read_file", "parameters": {}}}
    path = tmp_path / "said.jsonl"
    path.write_text(json.dumps({"id": "a", "messages": SAID, "tools": [schema]}) + "\n")
    return {"path": str(path)}


async def test_what_was_said_is_said_again_behind_salt_and_ticket(conversation):
    driver, notes = await ready(TraceSettings.model_validate(conversation))
    first, second = requests(driver, "a", "T-9")
    assert first.messages == [
        {"role": "system", "content": "Session 0123456789abcdef\n\nYou fix bugs."},
        {"role": "user", "content": "Ticket T-9\n\nFix it."},
    ]
    assert second.messages[2:] == SAID[2:4]
    assert (first.tools[0]["function"]["name"], first.tool_choice) == ("read_file", "auto")
    assert second.max_tokens == len("Done, twelve letters.") // 4 + 1  # as the target's tokenizer counts them
    assert "it has no times" in notes[0]


async def test_calls_are_waited_for_and_carried_out_where_there_is_a_workspace(conversation, tmp_path):
    waiting, _ = await ready(TraceSettings.model_validate(conversation))
    working, _ = await ready(TraceSettings.model_validate(conversation | {"workspace": str(tmp_path)}))
    (waited,), (done,) = (driver.replay.sessions["a"][0].calls for driver in (waiting, working))
    assert (waited.name, waited.planned_ns) == ("read_file", 0)
    assert (done.name, done.planned_ns, done.arguments) == ("read_file", None, '{"path": "a.py"}')


def test_calls_with_no_time_of_their_own_are_carried_out_in_a_copy_of_the_workspace(tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "a.py").write_text("one = 1\n")
    (tmp_path / "root").mkdir()

    async def both():
        tools = ReplayTools(Toolbox(tmp_path / "root"))
        async with tools.open(tmp_path / "work") as workspace:
            written = Call("c1", "write_file", '{"path": "a.py", "content": "two = 2"}')
            return [
                await tools.execute(call, workspace)
                for call in (written, Call("c2", "read_file", '{"path": "a.py"}'), Call("c3", "read_file", {}, 5))
            ]

    wrote, read, waited = asyncio.run(both())
    assert wrote.ok
    assert "two = 2" in read.text
    assert (waited.ok, waited.text) == (True, "")
    assert (tmp_path / "work" / "a.py").read_text() == "one = 1\n"


@pytest.mark.parametrize(
    ("trace", "isolation", "sandboxed"),
    [
        ({"workspace": "."}, "required", True),
        ({"workspace": "."}, "allow-unsafe", False),
        ({}, "required", False),
    ],
)
def test_what_a_trace_calls_for_runs_in_the_sandbox(trace, isolation, sandboxed):
    target = {"name": "moe", "architecture": "moe", "simulate": "moe-30b-a3b-awq-1x3090"}
    agents = {"driver": "trace", "trace": {"path": "a.jsonl"} | trace, "isolation": isolation}
    scenario = Scenario.model_validate({"targets": [target], "agents": agents})
    assert (compose.launcher_of(scenario, lambda: "sandbox") == "sandbox") == sandboxed


async def test_a_workspace_that_is_none_is_refused(saved):
    with pytest.raises(UsageError, match="nowhere is no directory"):
        tasks_of_trace(saved(trace(session("one", [["s0", "u1"]])), workspace="nowhere"), 8000)


async def test_a_driver_can_be_handed_to_other_processes(saved):
    driver, _ = await ready(saved(trace(session("one", [["s0", "u1"], ["s0", "u1", "a1", "t1"]], calls=["bash"]))))
    copied = pickle.loads(pickle.dumps(driver))
    assert [request.messages for request in requests(copied, "one")] == [
        request.messages for request in requests(driver, "one")
    ]


async def test_calls_that_swarm_cannot_carry_out_are_waited_for_and_named(saved):
    made = trace(session("one", [["s0", "u1"], ["s0", "u1", "a1", "t1"]], calls=["Bash"], pause_s=4))
    driver, notes = await ready(saved(made, workspace="."))
    assert [call.planned_ns for call in driver.replay.sessions["one"][0].calls] == [4 * SECOND]
    assert notes == ("calls of Bash are waited for: swarm has no such tools, or the trace not their arguments",)


@pytest.mark.parametrize(
    ("think", "waits"),
    [
        ({}, 30.0),
        ({"scale": 0.5}, 15.0),
        ({"max": "10s"}, 10.0),
        ({"scale": 0}, 0.0),
        ({"scale": 0.1, "max": "5s"}, 3.0),
    ],
)
async def test_think_times_are_kept_scaled_or_capped(saved, think, waits):
    made = trace(session("one", [["s0", "u1"], ["s0", "u1", "a1", "u2"]], pause_s=30))
    driver, _ = await ready(saved(made, think=think))
    assert [turn.think_ns for turn in driver.replay.sessions["one"]] == [None, round(waits * SECOND)]


async def test_the_time_of_calls_is_shared_by_them_and_is_no_think_time(saved):
    made = trace(session("one", [["s0", "u1"], ["s0", "u1", "a1", "t1", "t2"]], pause_s=6, calls=["ls", "grep"]))
    driver, _ = await ready(saved(made))
    first, second = driver.replay.sessions["one"]
    assert [(call.name, call.planned_ns) for call in first.calls] == [("ls", 3 * SECOND), ("grep", 3 * SECOND)]
    assert second.think_ns == 0


async def test_a_session_ends_where_the_context_is_full_and_that_is_said_before(saved):
    made = trace(session("grows", [["s0", "u1"], ["s0", "u1", "a1", "t1"]]), session("big", [["s0", *["u1"] * 9]]))
    needed = FIXED + size("s0") + size("u1") + size("written grows 1")
    given = saved(made)
    driver, notes = await ready(given, context=needed)
    assert len(requests(driver, "grows")) == 1
    assert notes[0].startswith("1 of 2 sessions outgrow agents.context")
    assert notes[1].startswith("1 of 2 sessions do not begin within")
    assert [task.variant for task in tasks_of_trace(given, needed)] == ["grows"]
    assert list(outlook(given, needed))[1:] == list(notes)
    with pytest.raises(UsageError, match=rf"takes about {needed}; raise `context`"):
        tasks_of_trace(given, needed - 1)


async def test_turns_that_failed_are_left_out(saved):
    made = trace(session("one", [["s0", "u1"], ["s0", "u1", "a1", "u2"], ["s0", "u1", "a1", "u2", "a2", "u3"]]))
    failed = msgspec.structs.replace(made.turns[1], error="timeout", reply=None, completion_tokens=None)
    driver, notes = await ready(saved(Trace(made.header, (made.turns[0], failed, made.turns[2]))))
    assert [len(request.messages) for request in requests(driver, "one")] == [2, 6]
    assert notes == ("1 turns failed when they were recorded, or had no reply; they are left out",)


async def test_a_prompt_that_is_too_short_for_its_messages_is_told(saved):
    made = trace(session("one", [["s0", "u1"]]))
    short = msgspec.structs.replace(made.turns[0], prompt_tokens=5)
    _, notes = await ready(saved(Trace(made.header, (short,))))
    assert notes[0].startswith("1 of 1 prompts are off their recorded length, by ")


async def test_sub_agents_that_nothing_starts_are_told(saved):
    made = trace(
        session("parent", [["s0", "u1"]]),
        session("child", [["s1", "u2"]], parent=Parent(session="parent", turn=1), start_s=2),
    )
    _, notes = await ready(saved(made))
    assert notes[0].startswith("1 sub-agents never start")


async def test_a_session_that_only_the_target_finds_too_long_is_refused(conversation):
    settings = TraceSettings.model_validate(conversation)
    estimate = sum(map(len, ("You fix bugs.", "Fix it."))) // 4 + 40
    assert tasks_of_trace(settings, estimate)
    with pytest.raises(UsageError, match=r"the first turn of session a takes .* as the target counts"):
        await ready(settings, context=estimate)


async def test_a_turn_that_asked_nothing_is_left_out(saved):
    empty = TraceTurn(session="one", number=1, t_ns=0, prompt_tokens=5, completion_tokens=5)
    with pytest.raises(UsageError, match="no session in it has a turn that can be replayed"):
        tasks_of_trace(saved(Trace(TraceHeader(source="recorded"), (empty,))), 8000)


async def test_a_message_that_is_none_is_told_before_the_load(tmp_path):
    path = tmp_path / "a.jsonl"
    wrong = TraceMessage(role="user", key="k", bytes=1, content={"role": "user", "content": 5})
    turn = TraceTurn(session="one", number=1, t_ns=0, added=(wrong,), completion_tokens=5)
    write_trace(path, Trace(TraceHeader(source="recorded", content=True), (turn,)))
    with pytest.raises(BackendError, match="content must be a string"):
        await ready(TraceSettings(path=str(path)))


async def test_the_prediction_of_load_is_the_traces_mean(saved):
    made = trace(session("one", [["s0", "u1"], ["s0", "u1", "a1", "u2"]], ["a8", "a9"], pause_s=30))
    prompt, reply, pause_s, turns = mean_of_trace(saved(made, think={"max": "10s"}), 100_000, 0.0)
    lengths = [FIXED + sum(map(size, names)) for names in (["s0", "u1"], ["s0", "u1", "a1", "u2"])]
    assert (prompt, reply) == (sum(lengths) / 2, (size("a8") + size("a9")) / 2)
    assert (pause_s, turns) == (5.0, 2.0)

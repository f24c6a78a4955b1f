"""The driver `model`, in virtual time: what goes into the history, what is asked next, and when a job is over."""

import asyncio
import json
from dataclasses import dataclass, field
from itertools import count

import pytest

from swarm.agents.agent import Agent, AgentContext
from swarm.agents.driver import Job
from swarm.agents.model import DROPPED, LOST, ModelDriver
from swarm.agents.tools import Toolbox
from swarm.client.base import Observation, ToolCall
from swarm.client.retry import RetryPolicy
from swarm.clock import VirtualClock
from swarm.recording import records
from swarm.recording.status import AgentStatus
from swarm.tasks import Task
from swarm.tasks.calls import tool_schemas


def reply(*calls, content="", reasoning="", prompt=None, completion=None, finish=None):
    """`calls`: pairs of a tool's name and its arguments, as a text or as a value."""
    made = [
        ToolCall(f"their-{number}", name, given if isinstance(given, str) else json.dumps(given))
        for number, (name, given) in enumerate(calls)
    ]
    finish = finish or ("tool_calls" if calls else "stop")
    return Observation(
        content=content,
        reasoning=reasoning,
        tool_calls=made,
        finish_reason=finish,
        prompt_tokens=prompt,
        completion_tokens=completion,
    )


@pytest.fixture
def task(tmp_path):
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "notes.txt").write_text("one\ntwo\n")
    return Task("own", "tiny", "Tidy up", "Make it short.", tmp_path / "repo", (), ())


def begin(task, **options):
    settings = {"system": "You are an agent.", "tools": [], "context": 8000, "max_reply_tokens": 100}
    return ModelDriver(**{**settings, **options}).begin(Job(task, "T-1"))


def answered(conversation, *results):
    """Adds a result to each call of the last reply."""
    for call, text in results:
        conversation.add_result(call, text)


def test_the_first_request_is_the_system_message_and_the_task_and_is_not_pinned(task):
    request = begin(task, temperature=0.2, sampling_seed=5, extra_body={"top_k": 3}, tools=tool_schemas()).request()
    assert [message["role"] for message in request.messages] == ["system", "user"]
    assert "Make it short." in request.messages[1]["content"]
    assert "T-1" in request.messages[1]["content"]
    assert (request.max_tokens, request.pinned, request.tool_choice) == (100, False, "auto")
    assert (request.temperature, request.seed, request.extra_body) == (0.2, 5, {"top_k": 3})
    assert request.tools == tool_schemas()


def test_what_the_model_wrote_is_the_history(task):
    conversation = begin(task, tool_choice="required")
    (call,) = conversation.accept(reply(("list_files", {"path": "."}), content="Looking."))
    assert (call.name, call.arguments, call.planned_ns) == ("list_files", '{"path": "."}', None)
    conversation.add_result(call, "notes.txt (8 bytes)")
    request = conversation.request()
    assert request.tool_choice == "required"
    assert request.messages[2:] == [
        {
            "role": "assistant",
            "content": "Looking.",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "list_files", "arguments": '{"path": "."}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "notes.txt (8 bytes)"},
    ]


def test_several_calls_of_one_reply_are_answered_each_under_an_id_of_its_own(task):
    conversation = begin(task)
    first, second = conversation.accept(reply(("read_file", {"path": "a"}), ("read_file", {"path": "b"})))
    (third,) = (conversation.add_result(first, "A"), conversation.add_result(second, "B")) and conversation.accept(
        reply(("list_files", {"path": "."}))
    )
    assert [call.id for call in (first, second, third)] == ["call_1", "call_2", "call_3"]
    messages = conversation.request().messages
    assert [call["id"] for call in messages[2]["tool_calls"]] == ["call_1", "call_2"]
    assert [(message["tool_call_id"], message["content"]) for message in messages if message["role"] == "tool"] == [
        ("call_1", "A"),
        ("call_2", "B"),
    ]


def test_a_request_that_was_made_does_not_change_afterwards(task):
    conversation = begin(task)
    before = conversation.request()
    conversation.accept(reply(content="Done."))
    assert len(before.messages) == 2


@pytest.mark.parametrize("arguments", ["", "{", "[1]", '"text"', "null", "[" * 100_000, '{"path": "\\ud800"'])
def test_arguments_that_are_no_object_go_into_the_history_as_an_empty_one(task, arguments):
    """vLLM parses them, and refuses the whole request otherwise."""
    conversation = begin(task)
    (call,) = conversation.accept(reply(("read_file", arguments)))
    assert call.arguments == arguments
    function = conversation.request().messages[2]["tool_calls"][0]["function"]
    assert function == {"name": "read_file", "arguments": "{}"}


def test_a_call_without_a_name_has_one_in_the_history(task):
    conversation = begin(task)
    (call,) = conversation.accept(reply(("", {})))
    assert call.name == ""
    assert conversation.request().messages[2]["tool_calls"][0]["function"]["name"] == "unnamed"


def test_a_name_that_would_play_with_the_terminal_is_made_harmless(task):
    """It is shown in the live view, and recorded."""
    conversation = begin(task)
    (call,) = conversation.accept(reply(("\x1b[2Jread\n\ud800" + "x" * 1000, {})))
    assert call.name == "?[2Jread??" + "x" * 54
    assert conversation.request().messages[2]["tool_calls"][0]["function"]["name"] == call.name


@pytest.mark.parametrize("keep", [True, False])
def test_reasoning_is_kept_or_dropped_as_the_switch_says(task, keep):
    conversation = begin(task, keep_reasoning=keep)
    conversation.accept(reply(("list_files", {"path": "."}), content="So.", reasoning="Let me think."))
    message = conversation.request().messages[2]
    assert message["content"] == "So."
    kept = {key: value for key, value in message.items() if key.startswith("reasoning")}
    # vLLM 0.32 reads the first alone, older ones and others the second.
    assert kept == ({"reasoning": "Let me think.", "reasoning_content": "Let me think."} if keep else {})


def test_no_request_is_made_that_leaves_no_room_for_its_reply(task):
    assert begin(task, context=250, max_reply_tokens=100).request() is not None
    assert begin(task, context=250, max_reply_tokens=230).request() is None


def test_the_room_left_is_reckoned_from_what_the_server_counted(task):
    conversation = begin(task, context=1000, max_reply_tokens=100)
    (call,) = conversation.accept(reply(("list_files", {"path": "."}), prompt=700, completion=50))
    conversation.add_result(call, "x" * 10)
    assert conversation.request() is not None  # 750 and a little
    (call,) = conversation.accept(reply(("list_files", {"path": "."}), prompt=760, completion=50))
    conversation.add_result(call, "x" * 400)  # at the server's 760 tokens for so few bytes: far more than 90
    assert conversation.request() is None


def tokens(request):
    """4 bytes each."""
    return sum(len(message["content"]) for message in request.messages) // 4


def full(task, compaction):
    """A conversation of six reads of 400 tokens, too many by one for its context; and the requests made so far."""
    opening = tokens(begin(task).request())
    conversation = begin(task, context=opening + 2400, max_reply_tokens=100, compaction=compaction)
    asked = []
    for number in range(6):
        asked.append(conversation.request())
        (call,) = conversation.accept(
            reply(("read_file", {"path": f"{number}"}), prompt=tokens(asked[-1]), completion=5)
        )
        conversation.add_result(call, f"{number} " + "x" * 1598)
    return conversation, asked


def test_a_full_context_ends_the_job_without_compaction(task):
    conversation, _ = full(task, "none")
    assert conversation.request() is None


def test_compaction_drops_the_oldest_results_until_half_of_the_context_is_free(task):
    conversation, asked = full(task, "drop-results")
    messages = conversation.request().messages
    results = [message["content"] for message in messages if message["role"] == "tool"]
    assert results[:4] == [DROPPED] * 4
    assert [result[:4] for result in results[4:]] == ["4 xx", "5 xx"]
    assert [message["role"] for message in messages] == ["system", "user", *["assistant", "tool"] * 6]
    assert all(DROPPED not in str(request.messages) for request in asked)  # these hold what they held


def test_compaction_is_not_begun_before_the_context_is_full(task):
    conversation = begin(task, context=1000, max_reply_tokens=150, compaction="drop-results")
    (call,) = conversation.accept(reply(("read_file", {"path": "a"}), prompt=500, completion=10))
    conversation.add_result(call, "short")
    assert DROPPED not in str(conversation.request().messages)


def test_what_compaction_cannot_make_fit_ends_the_job(task):
    conversation = begin(task, context=1000, max_reply_tokens=150, compaction="drop-results")
    (call,) = conversation.accept(reply(("read_file", {"path": "a"}), prompt=500, completion=10))
    conversation.add_result(call, "x" * 5000)  # of the last turn, so it is not dropped
    assert conversation.request() is None


def test_text_that_is_no_unicode_is_counted_all_the_same(task):
    conversation = begin(task)
    assert conversation.accept(reply(content="\ud800 half a character")) == ()
    assert conversation.request() is not None


@dataclass
class Model:
    """Answers with `replies` in their order, a second each, and then with a text."""

    clock: VirtualClock
    replies: list
    requests: list = field(default_factory=list)

    async def complete(self, request, seen):
        self.requests.append(request)
        seen.send_ns = self.clock.now()
        await asyncio.sleep(1)
        said = self.replies.pop(0) if self.replies else reply(content="Done.")
        for name in ("content", "reasoning", "tool_calls", "finish_reason"):
            setattr(seen, name, getattr(said, name))
        seen.prompt_tokens, seen.completion_tokens = said.prompt_tokens or 100, said.completion_tokens or 10
        seen.stamps.append(self.clock.now())
        seen.end_ns = self.clock.now()


async def work(task, tmp_path, replies, *, max_turns=30, seconds=60.0, **options):
    """One agent at one job, with the real tools. Returns the records, and the requests that were made."""
    clock, published, ids = VirtualClock(), [], count(1)
    model = Model(clock, replies)
    (tmp_path / "root").mkdir(exist_ok=True)
    settings = {"system": "You are an agent.", "tools": tool_schemas(), "context": 8000}
    around = AgentContext(
        header={"run": "r", "shard": 0, "target": "moe", "agents": 1, "trial": 1},
        stage_id="0.0",
        clock=clock,
        client=model,
        driver=ModelDriver(**{**settings, **options}),
        tools=Toolbox(tmp_path / "root"),
        retry=RetryPolicy(0),
        publish=published.append,
        next_id=lambda: f"0.{next(ids)}",
        max_turns=max_turns,
    )
    agent = Agent(0, iter([Job(task, "T-1")]), around, AgentStatus(0))
    await agent.run()

    def of(kind):
        return [record for record in published if isinstance(record, kind)]

    (end,) = of(records.AgentEnd)
    assert end.crash is None, end.crash
    return of, model.requests


async def test_calls_are_carried_out_and_their_results_go_back(task, tmp_path):
    edit = {"path": "notes.txt", "old_text": "one", "new_text": "1"}
    replies = [
        reply(("read_file", {"path": "notes.txt"}), ("edit_file", edit)),
        reply(("read_file", {"path": "notes.txt"})),
    ]
    of, requests = await work(task, tmp_path, replies)
    (job,) = of(records.Job)
    assert (job.outcome, job.turns) == ("answered", 3)
    assert [(tool.name, tool.ok, tool.planned_ns) for tool in of(records.Tool)] == [
        ("read_file", True, None),
        ("edit_file", True, None),
        ("read_file", True, None),
    ]
    results = [message["content"] for message in requests[-1].messages if message["role"] == "tool"]
    assert results[0].endswith("1\tone\n2\ttwo")
    assert results[2].endswith("1\t1\n2\ttwo")
    assert (task.repository / "notes.txt").read_text() == "one\ntwo\n"


async def test_calls_that_no_tool_takes_are_answered_with_an_error_and_recorded_as_mistakes(task, tmp_path):
    replies = [
        reply(("delete_file", {"path": "notes.txt"})),
        reply(("read_file", '{"path": "notes.tx'), finish="length"),
        reply(("read_file", {"path": 7}), ("read_file", {"path": "missing.txt"}), ("", {})),
    ]
    of, requests = await work(task, tmp_path, replies)
    assert [(tool.name, tool.ok, tool.mistake) for tool in of(records.Tool)] == [
        ("delete_file", False, "unknown"),
        ("read_file", False, "malformed"),
        ("read_file", False, "malformed"),
        ("read_file", False, None),
        ("", False, "unknown"),
    ]
    said = [message["content"] for message in requests[-1].messages if message["role"] == "tool"]
    assert said[0].startswith("Error: there is no tool 'delete_file'; the tools are list_files, read_file")
    assert said[1].startswith("Error: read_file: the arguments do not fit its schema")
    assert said[2] == "Error: read_file: the arguments do not fit its schema: path: Input should be a valid string"
    assert said[3].startswith("Error: missing.txt: no such file")
    (job,) = of(records.Job)
    assert (job.outcome, job.turns) == ("answered", 4)  # it went on all the same


@pytest.mark.parametrize("finish", ["tool_calls", "function_call"])
@pytest.mark.parametrize("content", ["", '<tool_call>{"name": "read_file"'])
async def test_a_reply_that_ended_for_tool_calls_and_holds_none_is_no_answer(task, tmp_path, finish, content):
    replies = [reply(content=content, finish=finish), reply(("read_file", {"path": "notes.txt"}))]
    of, requests = await work(task, tmp_path, replies)
    assert [message["role"] for message in requests[1].messages[2:]] == ["assistant", "user"]
    assert requests[1].messages[2:] == [
        {"role": "assistant", "content": content},
        {"role": "user", "content": LOST},
    ]
    (job,) = of(records.Job)
    assert (job.outcome, job.turns) == ("answered", 3)
    assert [attempt.tool_calls for attempt in of(records.Attempt)] == [0, 1, 0]


async def test_a_job_whose_calls_are_all_lost_is_a_failed_one_however_it_ends(task, tmp_path):
    lost, nameless, call = reply(finish="tool_calls"), reply(("", {})), reply(("list_files", {"path": "."}))
    full = reply(finish="tool_calls", prompt=9000)
    for replies in ([lost] * 9, [nameless] * 9, [lost, reply(content="It is done.")], [lost, full]):
        of, _ = await work(task, tmp_path, replies, max_turns=3)
        (job,) = of(records.Job)
        assert (job.outcome, job.answer_ns) == ("error", None)
    of, _ = await work(task, tmp_path, [lost, call, lost], max_turns=3)
    assert [job.outcome for job in of(records.Job)] == ["turn_limit"], "one call arrived, and was carried out"


async def test_a_call_without_a_name_does_not_count_as_one(task, tmp_path):
    of, _ = await work(task, tmp_path, [reply(("", {})), reply(("", {}), ("read_file", {"path": "notes.txt"}))])
    assert [attempt.tool_calls for attempt in of(records.Attempt)] == [0, 1, 0]


async def test_a_job_ends_at_its_turn_limit(task, tmp_path):
    replies = [reply(("list_files", {"path": "."})) for _ in range(9)]
    of, requests = await work(task, tmp_path, replies, max_turns=3)
    (job,) = of(records.Job)
    assert (job.outcome, job.turns, len(requests)) == ("turn_limit", 3, 3)


async def test_a_job_ends_when_its_context_is_full(task, tmp_path):
    replies = [reply(("list_files", {"path": "."}), prompt=3000 * number) for number in (1, 2, 3)]
    of, _ = await work(task, tmp_path, replies, max_reply_tokens=1000)
    (job,) = of(records.Job)
    assert (job.outcome, job.turns) == ("context_limit", 3)


async def test_a_reply_without_a_call_ends_the_job(task, tmp_path):
    of, requests = await work(task, tmp_path, [reply(content="I would rather not.")])
    (job,) = of(records.Job)
    assert (job.outcome, job.turns, len(requests)) == ("answered", 1, 1)
    assert job.answer_ns is not None

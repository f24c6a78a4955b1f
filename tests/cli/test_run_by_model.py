"""`swarm run` with `agents.driver: model`, end to end: the model's calls really are carried out, in a sandbox."""

import asyncio
import json
import os
import subprocess
from collections import Counter
from dataclasses import asdict
from itertools import groupby

import jsonschema
import pytest
from scripted_server import DONE, END, answer, delta, event, piece, scripted, stream_head, usage
from small_runs import SWARM, records, results, swarm, write_project

from swarm.agents.sandbox.bubblewrap import open_sandbox
from swarm.analysis.schema import results_schema
from swarm.errors import UsageError
from swarm.simulator.engine.constant_rate import steady

pytestmark = pytest.mark.realtime

AGENTS = {"driver": "model", "levels": [2], "context": "8k", "system_tokens": 1500, "max_reply_tokens": 700}
TOKENS_PER_S = 300.0


@pytest.fixture(scope="module")
def sandbox():
    try:
        return open_sandbox()
    except UsageError as error:
        pytest.skip(str(error))


def target(folder):
    """A simulated server that is equally fast whatever it has to do."""
    (folder / "steady.json").write_text(json.dumps(asdict(steady(TOKENS_PER_S))))
    return {"name": "steady", "architecture": "dense", "simulate": str(folder / "steady.json")}


@pytest.fixture(scope="module")
def by_model(sandbox, tmp_path_factory):
    """A run on the simulated vLLM, of tasks whose tests pass as soon as somebody runs them. What it said, and where."""
    folder = tmp_path_factory.mktemp("by-model")
    project = write_project(
        folder,
        targets=[target(folder)],
        agents=AGENTS,
        tasks=["cron-tests"],
        stage={"warmup": "500ms", "duration": "6s", "trials": 1},
    )
    return swarm("run", "small.yaml", "--out", "run", cwd=project), project / "run"


def test_a_job_by_the_model_really_looks_reads_edits_and_tests(by_model):
    done, directory = by_model
    assert done.returncode == 0, done.stdout + done.stderr
    turns = {turn["id"]: turn["parent"] for turn in records(directory, "turn")}
    calls = sorted(records(directory, "tool"), key=lambda tool: (turns[tool["parent"]], tool["t_ns"]))
    jobs = {
        job: [(tool["name"], tool["ok"]) for tool in tools]
        for job, tools in groupby(calls, key=lambda tool: turns[tool["parent"]])
    }
    finished = [job for job in records(directory, "job") if job["outcome"] == "answered"]
    assert finished
    plan = ["list_files", "read_file", "search", "edit_file", "run_tests"]
    for job in finished:
        assert jobs[job["id"]] == [(name, True) for name in plan]
        assert job["turns"] == 6
    assert {tool["planned_ns"] for tool in calls} == {None}


def test_its_replies_are_as_long_as_the_model_likes_and_that_is_no_fault(by_model):
    _, directory = by_model
    attempts = [attempt for attempt in records(directory, "attempt") if not attempt["aborted"]]
    assert {attempt["planned_tokens"] for attempt in attempts} == {None}
    assert {attempt["finish_reason"] for attempt in attempts} == {"tool_calls", "stop"}
    assert len({attempt["completion_tokens"] for attempt in attempts}) > 3


def test_the_results_say_that_it_was_no_equal_work_and_that_no_call_failed(by_model):
    done, directory = by_model
    found = results(directory)
    jsonschema.validate(found, results_schema())
    assert found["driver"] == "model"
    assert found["targets"][0]["stages"][0]["tool_errors"] == {}
    said = " ".join(done.stdout.split())
    assert "The model chose what its agents did, so levels and models did not do equal work" in said


CALLS = {
    0: [("delete_everything", "{}")],
    1: [("read_file", '{"path": ')],
    2: [("list_files", '{"path": "."}'), ("read_file", '{"path": "no.txt"}')],
}
"""What the model calls, by how many results it has seen; then it answers."""


def clumsy(request):
    """A server whose model calls a tool that is not there, writes half of a call, and then two at once."""
    if request.path == "/v1/models":
        model = {"id": "m", "object": "model", "max_model_len": 8192}
        return answer("200 OK", {"object": "list", "data": [model]})
    if request.path != "/v1/chat/completions":
        return answer("404 Not Found", {"detail": "Not Found"})
    body = request.body
    calls = CALLS.get(sum(message["role"] == "tool" for message in body["messages"]), []) if body.get("tools") else []
    deltas = [
        delta(tool_calls=[{"index": index, "id": f"c{index}", "type": "function", "function": function}])
        for index, function in enumerate({"name": name, "arguments": text} for name, text in calls)
    ] or [delta(content="Yes. ")] * 3
    last = [delta("tool_calls" if calls else "stop"), {"choices": [], "usage": usage(300, len(deltas))}]
    return [0.02, stream_head(), *(piece(event(each)) for each in (*deltas, *last)), piece(DONE), END]


async def test_calls_that_no_tool_takes_are_answered_counted_and_told(sandbox, tmp_path):
    async with scripted(clumsy) as server:
        write_project(
            tmp_path,
            targets=[{"name": "it", "architecture": "dense", "api_base": server.url, "model": "m"}],
            agents={**AGENTS, "context": "6k"},
            stage={"warmup": "100ms", "duration": "2500ms", "trials": 1},
        )
        process = await asyncio.create_subprocess_exec(
            SWARM,
            *("run", "small.yaml", "--out", "out"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        asked = [request.body for request in server.received if request.path.endswith("completions")]
    assert process.returncode == 0, said.decode()
    tools = Counter((tool["name"], tool["ok"], tool["mistake"]) for tool in records(tmp_path / "out", "tool"))
    assert set(tools) == {
        ("delete_everything", False, "unknown"),
        ("read_file", False, "malformed"),
        ("list_files", True, None),
        ("read_file", False, None),
    }
    (stage,) = results(tmp_path / "out")["targets"][0]["stages"]
    errors = stage["tool_errors"]
    assert set(errors) == {"unknown", "malformed", "failed"}
    assert sum(errors.values()) <= sum(count for (_, ok, _), count in tools.items() if not ok)
    assert min(errors.values()) >= 5
    (note,) = [one["text"] for one in stage["findings"] if one["code"] == "tool_calls_wrong"]
    assert f"({errors['unknown']} to unknown tools, {errors['malformed']} with malformed arguments)" in note
    assert stage["jobs"]["outcomes"]["answered"] >= 5
    longest = max(asked, key=lambda body: len(body["messages"]))["messages"]
    assert [message["role"] for message in longest[2:]] == [
        *("assistant", "tool", "assistant", "tool", "assistant", "tool", "tool")
    ]
    assert longest[5]["content"].startswith("Error: read_file: the arguments do not fit its schema")
    assert all(json.loads(call["function"]["arguments"]) is not None for call in longest[4]["tool_calls"])
    told = json.loads((tmp_path / "out" / "environment.json").read_text())["sandbox"]
    assert set(told) == {"job_memory_bytes", "notes"}
    assert (told["job_memory_bytes"] is None) == bool(told["notes"])


def losing(request):
    """A server whose tool-call parser loses the call of every other reply."""
    if request.path != "/v1/chat/completions" or not request.body.get("tools"):
        return clumsy(request)
    messages = request.body["messages"]
    function = {"name": "list_files", "arguments": '{"path": "."}'}
    call = delta(tool_calls=[{"index": 0, "id": "c", "type": "function", "function": function}])
    told = len(messages) > 4
    first = delta(content="Done. ") if told else call if len(messages) % 4 == 0 else delta(content="")
    last = [delta("stop" if told else "tool_calls"), {"choices": [], "usage": usage(300, 5)}]
    return [0.02, stream_head(), *(piece(event(each)) for each in (first, *last)), piece(DONE), END]


async def test_lost_tool_calls_end_no_job_and_make_the_stage_invalid(sandbox, tmp_path):
    async with scripted(losing) as server:
        write_project(
            tmp_path,
            targets=[{"name": "it", "architecture": "dense", "api_base": server.url, "model": "m"}],
            agents={**AGENTS, "context": "6k"},
            stage={"warmup": "100ms", "duration": "1500ms", "trials": 1},
        )
        process = await asyncio.create_subprocess_exec(
            SWARM, *("run", "small.yaml", "--quiet", "--out", "out"), cwd=tmp_path
        )
        await process.wait()
    assert process.returncode == 3
    (stage,) = results(tmp_path / "out")["targets"][0]["stages"]
    lost = stage["lost_calls"]
    assert stage["tool_errors"]["lost"] == lost["lost"]
    assert lost["replies"] > lost["lost"] >= 5
    assert any("tool calls were lost: " in reason for reason in stage["invalid_reasons"])
    attempts = records(tmp_path / "out", "attempt")
    jobs = [job for job in records(tmp_path / "out", "job") if job["outcome"] == "answered"]
    assert len(jobs) <= sum(attempt["finish_reason"] == "stop" for attempt in attempts)


def without_namespaces(sandbox, *arguments, cwd):
    """`swarm` where user namespaces are forbidden, as in a default container."""
    world = [sandbox.bwrap, "--unshare-user", "--disable-userns", "--uid", "1000", "--dev-bind", "/", "/", "--"]
    return subprocess.run(
        [*world, SWARM, *arguments], cwd=cwd, capture_output=True, text=True, timeout=120, env={**os.environ}
    )


def test_where_code_cannot_be_isolated_the_run_is_refused_or_does_without_by_the_switch(sandbox, tmp_path):
    write_project(
        tmp_path,
        targets=[target(tmp_path)],
        agents={**AGENTS, "levels": [1]},
        tasks=["cron-tests"],
        stage={"warmup": "0s", "duration": "4s", "trials": 1},
    )
    refused = without_namespaces(sandbox, "run", "small.yaml", "--out", "refused", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    said = " ".join(refused.stderr.split())
    assert "code that the model writes cannot be isolated here: " in said
    assert "namespace" in said
    assert "set `agents.isolation: allow-unsafe`" in said
    assert not (tmp_path / "refused").exists()
    unsafe = ("--set", "agents.isolation=allow-unsafe", "--out", "unsafe")
    done = without_namespaces(sandbox, "run", "small.yaml", *unsafe, cwd=tmp_path)
    assert done.returncode in (0, 3), done.stderr
    assert "what a model wrote is run with all your rights" in " ".join((done.stdout + done.stderr).split())
    tests = [tool for tool in records(tmp_path / "unsafe", "tool") if tool["name"] == "run_tests"]
    assert tests
    assert all(tool["ok"] for tool in tests)


def test_the_model_cannot_be_predicted(tmp_path):
    write_project(tmp_path, agents=AGENTS)
    done = swarm("predict", "small.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "what a model decides cannot be predicted; use script or trace" in done.stderr

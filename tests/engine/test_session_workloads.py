"""Session workloads, from the scenario to the results, in virtual time."""

import json
from dataclasses import replace

import pytest
import yaml
from as_json import analyse

from swarm.agents.sandbox.launch import low_priority
from swarm.client.base import Failure, Observation
from swarm.clock import VirtualClock
from swarm.commands.predict import predict_scenario
from swarm.engine.compose import stage_spec, tools_of
from swarm.engine.dry_run import describe
from swarm.engine.schedule import schedule
from swarm.engine.virtual import VirtualTokenizer
from swarm.engine.workloads.entering import enter, jobs_of
from swarm.engine.workloads.sessions import planned, prepare_sessions, real_tasks, sessions_of
from swarm.engine.workloads.tasks import tasks_of
from swarm.errors import ScenarioError
from swarm.scenario.load import load_scenario

TARGETS = [
    {"name": "moe", "architecture": "moe", "simulate": "moe-30b-a3b-awq-2x3090-nvlink"},
    {"name": "dense", "architecture": "dense", "simulate": "dense-32b-awq-2x3090-nvlink"},
]


@pytest.fixture
def scenario(tmp_path):
    def make(stage=None, targets=TARGETS, **agents):
        path = tmp_path / "sessions.yaml"
        agents = {"script": "session", "session": "session-short", "levels": [1, 4]} | agents
        stage = {"warmup": "3s", "duration": "75s", "trials": 1} | (stage or {})
        path.write_text(yaml.safe_dump({"targets": targets, "agents": agents, "stage": stage}))
        return load_scenario(path)

    return make


async def spec_of(scenario, at=0, **options):
    prepared = await prepare_sessions(planned(scenario), VirtualTokenizer())
    return stage_spec("run", scenario, (), schedule(scenario, "run")[at], replay=prepared.replay, **options)


def predicted(scenario, directory):
    predict_scenario(scenario, directory, None)
    events = [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]
    return analyse(directory), events


def test_a_stage_measures_agents_that_are_in_the_middle_of_their_sessions(scenario, tmp_path):
    found, events = predicted(scenario(), tmp_path / "run")
    assert found["verdict"] == "valid"
    for target in found["targets"]:
        for stage in target["stages"]:
            assert stage["notes"] == []
            assert stage["tokens"]["cached_prompt"] / stage["tokens"]["prompt"] > 0.85
            assert stage["achieved"]["in_flight_mean"] > 0.5 * stage["agents"]
            assert set(stage["jobs"]["outcomes"]) <= {"answered", "censored"}
    began = [event for event in events if event["type"] == "stage"]
    assert [event["entered"]["agents"] for event in began] == [event["agents"] for event in began]
    assert all(event["entered"]["failed"] == 0 for event in began)


def test_the_prefill_of_entering_is_in_no_record_and_before_the_stage(scenario, tmp_path):
    _, events = predicted(scenario(), tmp_path / "run")
    for began in (event for event in events if event["type"] == "stage"):
        mine = [
            event
            for event in events
            if event["type"] == "attempt" and (event["target"], event["agents"]) == (began["target"], began["agents"])
        ]
        assert min(event["t_ns"] for event in mine) >= began["t_ns"] >= began["entered"]["took_ns"] > 0
        first = {event["agent"]: event for event in reversed(mine)}
        assert len(first) == began["agents"]
        for event in first.values():
            # All but what the turn itself brings was prefilled: its reply in the history, and the result behind it.
            assert event["cached_tokens"] > 0.6 * event["prompt_tokens"]


def test_an_entered_job_is_no_job_of_the_results_and_the_next_ones_are_whole(scenario, tmp_path):
    _, events = predicted(scenario(), tmp_path / "run")
    turns = {}
    for event in events:
        if event["type"] == "turn":
            turns.setdefault(event["parent"], []).append(event["number"])
    jobs = {event["id"]: event for event in events if event["type"] == "job"}
    entered = [numbers for job, numbers in turns.items() if min(numbers) > 1]
    assert entered
    for job, numbers in turns.items():
        assert (job in jobs) == (min(numbers) == 1)
    whole = [job for job in jobs.values() if job["outcome"] == "answered"]
    assert all(job["turns"] == len(turns[job["id"]]) for job in whole)


async def test_prompts_are_the_same_bytes_on_every_target_and_level_behind_the_salt(scenario):
    made = scenario()
    specs = [await spec_of(made, at) for at in range(4)]
    assert len({spec.plan.salt for spec in specs}) == 4
    seen = []
    for spec in specs:
        work = jobs_of(spec, 0)
        prompts, before = [], None
        for _ in range(5):
            job = next(work)
            before = spec.driver.begin(job, before)
            prompts.append([message["content"] for message in before.request().messages])
        seen.append(prompts)
    for prompts in seen[1:]:
        for mine, first in zip(prompts, seen[0], strict=True):
            assert mine[1:] == first[1:]
            assert mine[0] != first[0]
            assert mine[0].split()[12:] == first[0].split()[12:]


async def test_a_job_goes_on_with_the_history_of_the_one_before_and_would_make_the_same_alone(scenario):
    spec = await spec_of(scenario())
    work = jobs_of(spec, 2)
    before, job = None, next(work)
    for _ in range(12):
        following = next(work)
        conversation = spec.driver.begin(job, before)
        turn = 0
        while not conversation.answered:
            request = conversation.request()
            assert spec.driver.begin(replace(job, skip=job.skip + turn)).request() == request
            turn += 1
            conversation.accept(Observation(prompt_tokens=await VirtualTokenizer().count(request.messages)))
        before, job = conversation, following


async def test_entering_asks_for_the_prompt_before_the_turn_and_one_token(scenario):
    spec = await spec_of(scenario(), 1)
    asked = []

    class Client:
        async def complete(self, request, seen):
            asked.append(request)
            seen.prompt_tokens = 5

    entered = await enter(spec, Client(), VirtualClock())
    assert (entered.agents, entered.prompt_tokens, entered.failed) == (spec.plan.agents, 5 * spec.plan.agents, 0)
    for agent, request in enumerate(asked):
        job = next(jobs_of(spec, agent))
        following = spec.driver.begin(job).request()
        assert request.max_tokens == 1
        assert following.messages[: len(request.messages)] == request.messages
        assert len(following.messages) > len(request.messages)


async def test_a_context_that_cannot_be_prefilled_is_counted_and_said(scenario):
    spec = await spec_of(scenario(), 1)

    class Client:
        async def complete(self, request, seen):
            seen.failure = Failure("refused", "nobody there")

    entered = await enter(spec, Client(), VirtualClock())
    assert (entered.failed, entered.message) == (spec.plan.agents, "nobody there")


def test_a_dry_run_tells_the_work_of_sessions(scenario):
    made = scenario()
    assert len(tasks_of(made)) == sum(len(session.jobs) for session in planned(made))
    assert "moe: at most about" in describe(made)


def test_a_context_that_is_too_short_for_the_sessions_is_refused(scenario):
    with pytest.raises(ScenarioError, match=r"agents\.context: a context of 2500 tokens is too short .* raise"):
        tasks_of(scenario(context=2500))


def test_sub_agents_fan_out_and_their_results_come_back_in_a_prediction(scenario, tmp_path):
    burst = {"preset": "session-short", "sub_agents": {"share": 1.0, "fan_out": 4, "system": "1k"}}
    made = scenario(session=burst, context="16k", levels=[1], targets=TARGETS[:1], stage={"duration": "120s"})
    found, events = predicted(made, tmp_path / "run")
    assert found["verdict"] == "valid"
    stage = found["targets"][0]["stages"][0]
    assert stage["achieved"]["in_flight_max"] >= 4
    assert stage["errors"] == {}
    kinds = {event["variant"].partition("/")[2][:3] for event in events if event["type"] == "attempt"}
    assert kinds >= {"", "sub"}


def test_compactions_and_side_calls_are_replayed_in_a_prediction(scenario, tmp_path):
    made = scenario(session="coding", levels=[2], targets=TARGETS[:1], stage={"duration": "15m", "warmup": "10s"})
    found, events = predicted(made, tmp_path / "run")
    assert found["verdict"] == "valid"
    attempts = [event for event in events if event["type"] == "attempt"]
    assert any("/title" in event["variant"] for event in attempts)
    assert any(event["planned_tokens"] == 1_600 for event in attempts)
    assert set(found["targets"][0]["stages"][0]["jobs"]["outcomes"]) <= {"answered", "censored"}


async def test_a_share_of_the_calls_is_carried_out_on_a_bundled_repository_in_the_order_of_its_script(scenario):
    made = scenario(session={"preset": "session-short", "real_tools": 0.5})
    real = real_tasks(made)
    prepared = await prepare_sessions(planned(made), VirtualTokenizer(), real, 0.5)
    for at, session in enumerate(planned(made)):
        script = [(call.tool, call.arguments) for turn in real[at % len(real)].turns for call in turn.calls]
        turns = prepared.replay.sessions[session.name]
        for job in session.jobs:
            calls = [call for turn in turns[job.first : job.behind] for call in turn.calls if call.real]
            assert [(call.name, call.arguments) for call in calls] == script[: len(calls)]
            assert all(call.planned_ns is not None for call in calls)
    calls = [call for turns in prepared.replay.sessions.values() for turn in turns for call in turn.calls]
    assert 0.35 < sum(call.real for call in calls) / len(calls) < 0.65
    tasks = {job.task.repository for session in sessions_of(planned(made), real) for job in session}
    assert tasks == {task.repository for task in real[: len(planned(made))]}


async def test_real_calls_are_executed_and_waited_for_as_planned(scenario, tmp_path):
    made = scenario(session={"preset": "session-short", "real_tools": 1.0})
    real = real_tasks(made)
    prepared = await prepare_sessions(planned(made), VirtualTokenizer(), real, 1.0)
    tools = tools_of(made, tmp_path, low_priority)
    (turn, *_) = prepared.replay.sessions["01"]
    async with tools.open(real[0].repository) as workspace:
        result = await tools.execute(turn.calls[0], workspace)
        waited = await tools.execute(replace(turn.calls[0], real=False), workspace)
    assert result.ok
    assert "README.md" in result.text
    assert waited.text == ""

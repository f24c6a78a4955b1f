"""Predictions: the same run in virtual time, and what it must share with a run in real time."""

import asyncio
import errno
import io
import json
import os
import re
import shutil
import signal
from array import array
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from as_json import analyse
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.client.base import ChatRequest, Connection, Observation
from swarm.clock import VirtualClock
from swarm.commands.predict import predict_scenario
from swarm.engine.virtual import VirtualClient, VirtualLoop, VirtualServer
from swarm.errors import UsageError
from swarm.recording.appender import RecordingError
from swarm.scenario.load import load_scenario
from swarm.simulator.profiles import profiles
from swarm.tasks.load import LIBRARY

MOE = "moe-30b-a3b-awq-1x3090"
SECOND = 1_000_000_000


def in_virtual_time(profile, main):
    """Runs `main(server, client, clock)` in a loop of its own."""

    async def run():
        clock = VirtualClock()
        connection = Connection(api_base="simulate:test", model=None, timeout_s=30.0)
        return await main(server, VirtualClient(server, connection, clock), clock)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        server = VirtualServer(profile, runner.get_loop())
        return runner.run(run())


def ask(tokens: int, prompt: str = "hello") -> ChatRequest:
    return ChatRequest(messages=[{"role": "user", "content": prompt}], tools=[], max_tokens=tokens, pinned=True)


async def completed(client, request) -> Observation:
    seen = Observation()
    await client.complete(request, seen)
    return seen


def test_in_virtual_time_an_hour_passes_at_once_and_timers_keep_their_order():
    async def sleepers():
        loop, order = asyncio.get_running_loop(), []

        async def after(seconds):
            await asyncio.sleep(seconds)
            order.append((seconds, loop.time()))

        await asyncio.gather(*(after(seconds) for seconds in (3600.0, 0.5, 60.0)))
        return order

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(sleepers()) == [(0.5, 0.5), (60.0, 60.0), (3600.0, pytest.approx(3600.0))]


def test_a_signal_reaches_a_loop_in_virtual_time():
    async def waiting():
        loop, came = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, came.set)
        os.kill(os.getpid(), signal.SIGUSR1)
        await came.wait()
        loop.remove_signal_handler(signal.SIGUSR1)
        return came.is_set()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(waiting())


def test_a_reply_alone_has_the_times_of_the_cost_model():
    profile = profiles.load(MOE)

    async def main(server, client, clock):
        return await completed(client, ask(50)), server.engine.cost

    seen, cost = in_virtual_time(profile, main)
    gaps = [later - earlier for earlier, later in pairwise(seen.stamps)]
    assert len(seen.stamps) == 50
    assert gaps[0] / SECOND == pytest.approx(cost.terms(1, seen.prompt_tokens + 1).total, abs=2e-9)
    assert seen.end_ns == seen.stamps[-1]
    assert (seen.completion_tokens, seen.finish_reason, seen.cached_tokens) == (50, "length", 0)
    assert seen.tokens == array("q", range(1, 51))
    assert seen.stamps[0] / SECOND > profile.api_overhead_s


def test_a_second_request_waits_for_the_engines_queue_not_for_the_first_ones_end():
    async def main(server, client, clock):
        first = asyncio.create_task(completed(client, ask(200)))
        await asyncio.sleep(0.5)
        second = await completed(client, ask(5, "another"))
        return await first, second

    first, second = in_virtual_time(profiles.load(MOE), main)
    assert second.send_ns == SECOND // 2
    assert second.end_ns < first.end_ns
    assert set(second.stamps) <= set(first.stamps)


def test_cancelling_keeps_the_tokens_so_far_and_frees_the_engine():
    async def main(server, client, clock):
        seen = Observation()
        running = asyncio.create_task(client.complete(ask(1000), seen))
        await asyncio.sleep(1.0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return seen, await server.read()

    seen, metrics = in_virtual_time(profiles.load(MOE), main)
    assert 100 < len(seen.stamps) == seen.completion_tokens < 200
    assert max(seen.stamps) <= SECOND
    assert (seen.end_ns, seen.failure) == (None, None)
    assert (metrics["running"], metrics["waiting"]) == (0, 0)
    assert metrics["generation_tokens"] == len(seen.stamps)


def test_the_timeout_of_a_request_is_a_failure_as_on_the_wire():
    async def main(server, client, clock):
        return await completed(client, ask(8000)), server.engine.running

    seen, running = in_virtual_time(profiles.load(MOE), main)
    assert seen.failure.kind == "timeout"
    assert seen.end_ns == 30 * SECOND
    assert running == 0


def test_a_prompt_that_does_not_fit_is_refused_in_the_servers_words():
    async def main(server, client, clock):
        return await completed(client, ask(50, "x" * 5000))

    seen = in_virtual_time(profiles.load(MOE, kv_tokens=1024), main)
    assert seen.failure.kind == "context_overflow"
    assert seen.failure.status == 400


def test_stamps_of_preempted_requests_have_a_gap_and_none_is_lost():
    profile = profiles.load(MOE, kv_tokens=1024)

    async def main(server, client, clock):
        replies = await asyncio.gather(*(completed(client, ask(400, f"prompt {n}")) for n in range(4)))
        return replies, server.engine

    replies, engine = in_virtual_time(profile, main)
    assert engine.preemptions > 0
    assert [len(seen.stamps) for seen in replies] == [400] * 4
    for seen in replies:
        assert list(seen.stamps) == sorted(set(seen.stamps))
    assert engine.generation_tokens == 1600


arrivals = st.lists(
    st.tuples(
        st.floats(0, 3),  # when it is sent, in seconds
        st.integers(1, 300),  # tokens of its reply
        st.sampled_from(["a", "b" * 900, "c" * 2500]),  # a prompt; those alike share its blocks
        st.one_of(st.none(), st.floats(0.01, 2)),  # when it is given up, seconds after
    ),
    min_size=1,
    max_size=12,
)


@given(arrivals)
@settings(max_examples=60, deadline=None)
def test_whatever_comes_and_goes_every_token_of_the_engine_is_stamped_once(arrivals):
    async def one(client, after, tokens, prompt, gives_up):
        await asyncio.sleep(after)
        seen = Observation()
        with suppress(TimeoutError):
            async with asyncio.timeout(gives_up):
                await client.complete(ask(tokens, prompt), seen)
        return seen, tokens

    async def main(server, client, clock):
        return await asyncio.gather(*(one(client, *arrival) for arrival in arrivals)), server.engine

    done, engine = in_virtual_time(profiles.load(MOE, kv_tokens=1600), main)
    for seen, tokens in done:
        assert list(seen.stamps) == sorted(set(seen.stamps))
        assert not seen.stamps or seen.stamps[0] > seen.send_ns
        if seen.finish_reason is not None:
            assert len(seen.stamps) == seen.completion_tokens == tokens
    assert sum(len(seen.stamps) for seen, _ in done) == engine.generation_tokens
    assert (engine.running, engine.waiting, engine.kv.free) == (0, 0, engine.kv.size)


def scenario(folder: Path, **changes):
    plan = {
        "targets": [{"name": "moe", "architecture": "moe", "simulate": MOE}],
        "agents": {"levels": [1, 4], "script": "quick"},
        "stage": {"warmup": "10s", "duration": "60s", "trials": 2},
        "tasks": ["lru-cache"],
    }
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump(plan | changes))
    return load_scenario(file)


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predicted")
    outcome = predict_scenario(scenario(folder), folder / "run", None)
    return outcome.directory, analyse(outcome.directory)


def test_a_prediction_is_valid_says_that_it_is_one_and_has_every_stage(predicted):
    _, results = predicted
    assert (results["predicted"], results["verdict"]) == (True, "valid")
    one, four = results["targets"][0]["stages"]
    assert (one["agents"], four["agents"]) == (1, 4)
    assert four["achieved"]["agents_alive_mean"] == pytest.approx(4)
    # A request is in flight, but not yet in the engine, for the 50 ms of its profile's `api_overhead_s`.
    assert 1.5 < four["achieved"]["server_running_mean"] < four["achieved"]["in_flight_mean"] < 3
    assert 0.3 < four["retention"] < 1
    assert results["targets"][0]["model"] == MOE


def test_its_token_counts_are_the_engines(predicted):
    directory, _ = predicted
    lines = [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]
    ends = [line for line in lines if line["type"] == "stage_end"]
    assert len(ends) == 4
    for end in ends:
        key = ("agents", "trial")
        mine = [line for line in lines if line["type"] == "attempt" and all(line[k] == end[k] for k in key)]
        assert end["counters"]["completion_tokens"] == sum(line.get("completion_tokens") or 0 for line in mine)


def test_its_tools_take_their_planned_time_and_give_the_recorded_results(predicted):
    directory, _ = predicted
    lines = [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]
    tools = [line for line in lines if line["type"] == "tool"]
    assert {line["name"] for line in tools} >= {"edit_file", "run_tests"}
    assert all(line["end_ns"] - line["t_ns"] == line["planned_ns"] for line in tools)
    assert sum(line["result_bytes"] for line in tools) > 1000 * len(tools) / 10


def test_the_same_scenario_is_predicted_the_same_again(predicted, tmp_path):
    directory, results = predicted
    again = predict_scenario(scenario(tmp_path), tmp_path / directory.name, None)
    repeated = analyse(again.directory)
    assert repeated["targets"] == results["targets"]


def test_a_prediction_that_cannot_be_written_fails_at_once_and_says_why(tmp_path, monkeypatch):
    def full(descriptor, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    told = io.StringIO()
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(RecordingError, match=r"events\.jsonl: cannot be written: No space left on device"):
        predict_scenario(scenario(tmp_path), tmp_path / "run", told)
    assert "4/4" not in told.getvalue()


def test_a_context_of_9k_holds_every_bundled_task_however_long_its_replies(tmp_path):
    length, longest = (
        r"{median: \d+, spread: [\d.]+, min: \d+, max: (\d+)}",
        r"{median: \1, spread: 1, min: \1, max: \1}",
    )
    for task in LIBRARY.glob("*/*/task.yaml"):
        copy = tmp_path / "tasks" / task.parent.relative_to(LIBRARY)
        shutil.copytree(task.parent, copy)
        (copy / "task.yaml").write_text(re.sub(length, longest, task.read_text()))
    file = tmp_path / "defaults.yaml"
    target = {"name": "moe", "architecture": "moe", "simulate": MOE}
    plan = {"targets": [target], "agents": {"levels": [1], "context": "9k"}, "stage": {"duration": "20m", "trials": 1}}
    plan["tasks"] = {"path": str(tmp_path / "tasks")}
    file.write_text(yaml.safe_dump(plan))
    (stage,) = analyse(predict_scenario(load_scenario(file), tmp_path / "run", None).directory)["targets"][0]["stages"]
    assert stage["jobs"]["outcomes"].keys() == {"answered", "censored"}
    assert stage["jobs"]["finished"] >= 20
    assert not [note for note in stage["notes"] if "context" in note]


def test_a_running_server_is_refused_with_what_to_put_in_its_place(tmp_path):
    real = [{"name": "mine", "architecture": "moe", "api_base": "http://127.0.0.1:1/v1"}]
    with pytest.raises(UsageError, match=r"targets.mine: .*simulate: PROFILE.*swarm profiles"):
        predict_scenario(scenario(tmp_path, targets=real), tmp_path / "run", None)
    assert not (tmp_path / "run").exists()


def test_an_unknown_profile_is_refused_with_the_nearest(tmp_path):
    wrong = [{"name": "moe", "architecture": "moe", "simulate": "moe-30b-awq-1x3090"}]
    with pytest.raises(UsageError, match="did you mean 'moe-30b-a3b-awq-1x3090'"):
        predict_scenario(scenario(tmp_path, targets=wrong), tmp_path / "run", None)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("faults", [{"kind": "reset", "rate": "2%", "seed": 1}], "targets.moe.simulate.faults: cannot be predicted"),
        ("kv_tokens", 4000, r"agents.context: 8000 tokens, but moe-30b-a3b-awq-1x3090 serves at most 4000"),
    ],
)
def test_what_the_simulated_target_cannot_show_in_virtual_time_is_refused(tmp_path, key, value, message):
    target = {"name": "moe", "architecture": "moe", "simulate": {"profile": MOE, key: value}}
    with pytest.raises(UsageError, match=message):
        predict_scenario(scenario(tmp_path, targets=[target]), tmp_path / "run", None)


def test_a_budget_stops_a_prediction_too(tmp_path):
    outcome = predict_scenario(scenario(tmp_path, budget={"requests": 5}), tmp_path / "run", None)
    assert outcome.stopped == "budget: 5 requests spent"

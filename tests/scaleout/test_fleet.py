"""A coordinator and its shards, in virtual time: the same run as in one process, and what happens when one fails."""

import asyncio
import time
from collections import Counter

import pytest
from fleets import InMemory, S, hold, scenario

from swarm.errors import BackendError, UsageError
from swarm.recording import records
from swarm.recording.records import Attempt
from swarm.scaleout import fleet
from swarm.scaleout.fleet import ANSWER_S, READY_S


def totals(held):
    """Of each agent: requests, prompt and completion tokens, and finished jobs."""
    found = Counter()
    for attempt in held.of(Attempt):
        if not attempt.aborted:
            found[attempt.agent, "requests"] += 1
            found[attempt.agent, "prompt"] += attempt.prompt_tokens
            found[attempt.agent, "completion"] += attempt.completion_tokens
    for job in held.of(records.Job):
        found[job.agent, job.outcome] += 1
    return found


def times(held):
    """Of each attempt in order: agent, when it was sent and ended since the stage began, its time to first token."""
    (stage,) = held.of(records.Stage)
    return sorted(
        (attempt.agent, attempt.t_ns - stage.t_ns, attempt.end_ns - stage.t_ns, (attempt.chunks or [0])[0])
        for attempt in held.of(Attempt)
    )


def short(agents):
    return scenario(agents, warmup="4s", duration="20s")


@pytest.fixture(scope="module")
def alone():
    return hold(scenario(6), None)


@pytest.mark.parametrize("shards", [1, 4])
def test_shards_make_the_very_run_of_one_process(alone, shards):
    shared = hold(scenario(6), shards)
    assert totals(shared) == totals(alone)
    assert len(times(shared)) > 100
    for ours, theirs in zip(times(shared), times(alone), strict=True):
        assert ours == pytest.approx(theirs, abs=1000)  # a microsecond: the common start is another moment
    (mine,), (one,) = shared.of(records.StageEnd), alone.of(records.StageEnd)
    assert mine.interrupted is None
    assert mine.counters == one.counters


def test_records_have_one_stage_unique_ids_and_the_shard_of_their_agent():
    held = hold(short(6), 4, stages=2)
    assert len(held.of(records.Stage)) == len(held.of(records.StageEnd)) == 2
    ids = [record.id for record in held.published if isinstance(record, records.Record)]
    assert len(ids) == len(set(ids))
    of_agents = [record for record in held.of(records.Record) if record.agent is not None]
    assert all(record.shard == record.agent % 4 for record in of_agents)
    joined = held.of(records.Shard)[:4]
    assert [shard.numbers for shard in joined] == [[0, 4], [1, 5], [2], [3]]
    assert len(held.of(records.AgentEnd)) == 12


def test_a_shard_without_agents_waits(alone):
    held = hold(short(2), 3)
    (end,) = held.of(records.StageEnd)
    assert end.interrupted is None
    assert {attempt.shard for attempt in held.of(Attempt)} == {0, 1}


def test_the_coordinator_knows_what_all_agents_do(alone):
    held = hold(scenario(6), 4)
    assert [status.agent for status in held.statuses] == list(range(6))
    assert {status.state for status in held.statuses} == {"stopped"}
    assert [status.jobs for status in held.statuses] == [status.jobs for status in alone.statuses]


def test_a_window_that_ends_when_a_number_is_sure_ends_at_the_same_moment_as_in_one_process():
    until = {"metric": "output_tokens_per_s", "ci": "20%", "max": "30m"}
    found = []
    for shards in (None, 3):
        held = hold(scenario(3, until=until), shards)
        (stage,), (end,) = held.of(records.Stage), held.of(records.WindowEnd)
        found.append((end.t_ns - stage.t_ns, end.reached))
    assert found[1] == pytest.approx(found[0], rel=1e-4)
    assert 70 * S <= found[0][0] < 600 * S


def test_a_lost_shard_is_told_of_and_the_others_go_on():
    held = hold(
        short(4), 2, lambda worker, number, life: InMemory(worker, "x", dies=("poll", 12.0) if number else None)
    )
    (lost,) = held.of(records.ShardLost)
    (end,) = held.of(records.StageEnd)
    assert (lost.shard, lost.numbers, lost.reason) == (1, [1, 3], "its process was killed (SIGKILL)")
    assert 11 * S < lost.t_ns <= 12 * S
    assert end.interrupted is None
    lives = {life.agent: life.end_ns for life in held.of(records.AgentEnd)}
    assert lives[1] == lives[3] == lost.t_ns
    assert min(lives[0], lives[2]) >= 24 * S
    assert [status.state for status in held.statuses] == ["stopped", "crashed", "stopped", "crashed"]
    assert max(attempt.end_ns for attempt in held.of(Attempt) if attempt.shard == 1) < 12 * S


def test_a_lost_shard_is_started_again_for_the_next_stage_and_its_ids_stay_unique():
    held = hold(
        short(4),
        2,
        lambda worker, number, life: InMemory(worker, "x", dies=("poll", 12.0) if (number, life) == (1, 1) else None),
        stages=2,
    )
    assert len(held.of(records.ShardLost)) == 1
    second = held.of(records.Stage)[1].t_ns
    assert {attempt.agent for attempt in held.of(Attempt) if attempt.t_ns > second} == {0, 1, 2, 3}
    ids = [record.id for record in held.of(records.Record)]
    assert len(ids) == len(set(ids))
    assert any(one.startswith("1r2.") for one in ids)


def test_a_shard_that_cannot_be_started_again_stays_lost():
    held = hold(
        short(4),
        2,
        lambda worker, number, life: InMemory(
            worker, "x", dies=("hello", 0.0) if life > 1 else ("poll", 12.0) if number else None
        ),
        stages=2,
    )
    first, second = held.of(records.ShardLost)
    assert first.reason == "its process was killed (SIGKILL)"
    assert "could not be started again" in second.reason
    lives = [life for life in held.of(records.AgentEnd) if life.shard == 1][2:]
    assert all(life.end_ns == life.t_ns for life in lives)


def test_a_shard_that_hangs_is_given_up():
    held = hold(
        short(4), 2, lambda worker, number, life: InMemory(worker, "x", hangs=("poll", 12.0) if number else None)
    )
    (lost,) = held.of(records.ShardLost)
    assert lost.reason == f"it did not answer within {ANSWER_S:g} s"
    assert 11 * S < lost.t_ns <= 12 * S
    assert max(attempt.end_ns for attempt in held.of(Attempt)) > 23 * S


def test_a_straggler_at_the_barrier_is_named_and_the_stage_begins_without_it():
    held = hold(
        short(4),
        2,
        lambda worker, number, life: InMemory(worker, "node b", hangs=("prepare", 0.0) if number else None),
    )
    (lost,) = held.of(records.ShardLost)
    (stage,) = held.of(records.Stage)
    assert lost.name == "shard 1 (node b)"
    assert lost.reason == f"it was not ready when the stage began: it did not answer within {READY_S:g} s"
    assert READY_S * S <= stage.t_ns < (READY_S + 1) * S
    assert {attempt.agent for attempt in held.of(Attempt)} == {0, 2}


def test_when_every_shard_is_lost_the_stage_is_over():
    held = hold(short(4), 2, lambda worker, number, life: InMemory(worker, "x", dies=("poll", 12.0)))
    (end,) = held.of(records.StageEnd)
    assert end.interrupted == "every shard was lost"
    assert end.t_ns < 14 * S


def test_a_stop_reaches_all_shards_and_all_that_they_began_is_kept():
    async def interrupt(stop, server):
        await asyncio.sleep(12)
        stop.set("SIGINT")

    held = hold(short(4), 2, during=interrupt)
    (end,) = held.of(records.StageEnd)
    assert end.interrupted == "SIGINT"
    assert end.t_ns == pytest.approx(12 * S, abs=S)
    assert sorted(life.agent for life in held.of(records.AgentEnd)) == [0, 1, 2, 3]
    assert any(attempt.aborted for attempt in held.of(Attempt))


def test_a_shard_whose_coordinator_is_gone_stops_its_agents():
    """Nobody calls any more, and nothing tells so: the network between them is gone."""
    tokens = []

    class Deaf(InMemory):
        async def call(self, method, *arguments):
            if method == "poll" and asyncio.get_running_loop().time() > 20:
                await asyncio.sleep(100)
            return await super().call(method, *arguments)

        async def close(self): ...

    async def look(stop, server):
        for moment in (20, 48, 52, 80):
            await asyncio.sleep(moment - asyncio.get_running_loop().time())
            tokens.append((await server.read())["generation_tokens"])

    hold(scenario(2), 1, lambda worker, number, life: Deaf(worker, "x"), during=look)
    early, late, ended, for_good = tokens
    assert early < late <= ended == for_good


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (
            {"swarm": "9.9.9", "host": "b"},
            "shard 1 (node 1): b has swarm 9.9.9, and the coordinator 0.1.0; install the same",
        ),
        ({"python": "3.9.1", "host": "b"}, "shard 1 (node 1): b has Python 3.9, and the coordinator 3."),
        ({"machine": "another"}, "shard 1 (node 1): targets.moe.simulate: its server listens on 127.0.0.1 of"),
    ],
)
def test_a_shard_that_does_not_fit_is_refused_by_name_before_any_load(facts, said):
    def link(worker, number, life):
        return InMemory(worker, f"node {number}", facts=facts if number == 1 else {})

    with pytest.raises(UsageError) as refused:
        hold(short(4), 2, link)
    assert str(refused.value).startswith(said)


def test_shards_that_do_not_come_up_are_all_named():
    def link(worker, number, life):
        return InMemory(worker, f"node {number}", hangs=("hello", 0.0) if number else None)

    with pytest.raises(BackendError) as refused:
        hold(short(4), 3, link)
    assert str(refused.value) == (
        "shard 1 (node 1): it did not answer within 60 s; shard 2 (node 2): it did not answer within 60 s"
    )


async def test_an_offset_is_taken_from_the_exchange_of_the_shortest_round_trip(monkeypatch):
    """Eight exchanges of 2 to 16 ms, all but the shortest lopsided; the clocks differ by an hour."""
    now = [0]
    monkeypatch.setattr(time, "perf_counter_ns", lambda: now[0])
    trips = iter([(9, 1), (1, 7), (1, 1), (6, 2), (15, 1), (3, 1), (2, 8), (1, 4)])

    class Skewed:
        where = "far away"

        async def call(self, method, *arguments):
            there, back = next(trips)
            now[0] += there * 1_000_000
            theirs = now[0] + 3600 * S
            now[0] += back * 1_000_000
            return "done", theirs

    far = fleet.Shard(0, "shard 0", Skewed(), {"machine": "another"})
    assert await fleet.offset_of(far, "this") == (3600 * S, 2_000_000)
    assert await fleet.offset_of(far, "another") == (0, 0)

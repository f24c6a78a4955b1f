"""Shards that nobody leads find each other, begin together, and name those that do not come."""

import asyncio
import socket
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import aiohttp
import msgspec
import pytest

from swarm.engine import rendezvous
from swarm.engine.card import Card, refusal
from swarm.engine.rendezvous import HEADER, Common, Limits, meeting
from swarm.errors import UsageError

COMMON = Common(run="night-1", started_at="2026-01-02T03:04:05+00:00", salt="night-1:5", origin_ns=77)
MOE = {"name": "moe", "api_base": "http://vllm:8000/v1"}
PATIENT = Limits(join=20, stage=20, gone=20, poll=0.2, lead=0.05)


def card(shard: int, shards: int = 3, **changes) -> Card:
    given = {
        "shard": shard,
        "shards": shards,
        "instance": f"process {shard}",
        "machine": "here",
        "swarm": "0.1",
        "python": "3.12",
        "scenario": {"name": "night", "stage": {"duration": "60s"}, "targets": [MOE]},
        "servers": {"moe": ("coder", "0.9")},
    }
    return Card(**given | changes)


@pytest.fixture
def port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@asynccontextmanager
async def shards(port: int, *cards: Card, limits: Limits = PATIENT, run_id: str = "r"):
    """The meetings of these shards, and all that they said."""
    said: list[str] = []
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(meeting("127.0.0.1", port, run_id, one, COMMON, said.append, limits))
            for one in cards
        ]
        yield opened, said


async def test_all_are_told_the_same_by_shard_0_in_whatever_order_they_come(port):
    async with shards(port, card(2), card(1), card(0)) as (meets, _):
        told = await asyncio.gather(*(meet.join() for meet in meets))
    assert told == [COMMON] * 3


async def test_every_stage_begins_at_one_moment_in_the_future_once_the_last_shard_is_there(port):
    async with shards(port, card(0), card(1), card(2)) as (meets, said):
        await asyncio.gather(*(meet.join() for meet in meets))
        for stage in (1, 2):
            early = [asyncio.create_task(meet.start(stage, 3)) for meet in meets[:2]]
            await asyncio.sleep(0.3)  # more than one poll
            assert not any(task.done() for task in early)
            last = time.perf_counter_ns()
            starts = [await meets[2].start(stage, 3), *[await task for task in early]]
            offsets = [meets[2].offset.ns, meets[0].offset.ns, meets[1].offset.ns]
            assert len({start - offset for start, offset in zip(starts, offsets, strict=True)}) == 1
            assert min(starts) > last
    assert said == []


async def test_the_clock_is_read_again_while_a_shard_waits_as_clocks_drift_apart(port):
    async with shards(port, card(0, 2), card(1, 2)) as ((host, guest), _):
        await asyncio.gather(host.join(), guest.join())
        waiting = asyncio.create_task(guest.start(2, 2))
        seen = set()
        async with asyncio.timeout(20):
            while len(seen) < 3:
                seen.add(guest.offset)
                await asyncio.sleep(0.02)
        assert await host.start(2, 2)
        assert await waiting


async def test_the_offset_of_two_clocks_is_measured_to_half_of_the_round_trip(port):
    """Within one process it is 0."""
    async with shards(port, card(0, 2), card(1, 2)) as (meets, _):
        await asyncio.gather(*(meet.join() for meet in meets))
        offset = meets[1].offset
    assert abs(offset.ns) <= offset.round_trip_ns / 2 < 1e9
    assert offset.round_trip_ns > 0


async def test_a_stage_does_not_wait_for_a_shard_that_has_no_agents_in_it(port):
    async with shards(port, card(0), card(1), card(2)) as (meets, _):
        await asyncio.gather(*(meet.join() for meet in meets))
        assert await asyncio.wait_for(meets[0].start(1, 1), 10)
        assert all(await asyncio.wait_for(asyncio.gather(*(meet.start(2, 2) for meet in meets[:2])), 10))


async def test_shards_that_never_come_are_named_and_the_others_are_told(port):
    hasty = replace(PATIENT, join=0.5)
    async with shards(port, card(0, 4), card(2, 4), limits=hasty) as (meets, _):
        results = await asyncio.gather(*(meet.join() for meet in meets), return_exceptions=True)
    assert all(isinstance(result, UsageError) for result in results)
    assert str(results[0]).startswith("shards 1 and 3 of 4 did not come within 0.5 s")
    assert "shards 1 and 3 of 4 did not come" in str(results[1])


async def test_a_guest_that_finds_no_host_says_where_it_looked(port):
    async with shards(port, card(1), limits=replace(PATIENT, join=0.3)) as ((guest,), _):
        with pytest.raises(UsageError, match=rf"shard 0 was not found at 127.0.0.1:{port} within 0.3 s"):
            await guest.join()


async def test_a_shard_that_does_not_come_to_a_stage_is_lost_by_name_and_no_later_stage_waits_for_it(port):
    limits = replace(PATIENT, stage=1.0)
    async with shards(port, card(0), card(1), card(2), limits=limits) as (meets, said):
        await asyncio.gather(*(meet.join() for meet in meets))
        assert all(await asyncio.gather(*(meet.start(1, 3) for meet in meets[:2])))
        assert said == ["shard 2 of 3 did not come to stage 1, which goes on without its agents"]
        assert all(await asyncio.gather(*(meet.start(2, 3) for meet in meets[:2])))
        assert len(said) == 1
        assert await meets[2].start(1, 3) is None  # too late
        assert meets[0].lost == {2: "did not come to stage 1 in time"}
    assert "shard 2 of 3 did not come to stage 1 in time" in said[-1]


async def test_a_guest_whose_host_has_died_ends(port):
    limits = replace(PATIENT, gone=0.5)
    async with AsyncExitStack() as guests:
        async with shards(port, card(0, 2), limits=limits) as ((host,), _):
            (guest,), said = await guests.enter_async_context(shards(port, card(1, 2), limits=limits))
            await asyncio.gather(host.join(), guest.join())
        assert await guest.start(1, 2) is None
        assert f"shard 0 at 127.0.0.1:{port} does not answer any more" in said[-1]


async def test_a_stray_shard_of_another_run_is_refused_without_a_word_on_this_one(port):
    async with shards(port, card(0)), shards(port, card(1), run_id="yesterday") as ((stray,), _):
        with pytest.raises(UsageError, match="another run meets here; give all shards of a run the same --run-id"):
            await stray.join()


async def test_a_shard_that_comes_twice_is_refused_the_second_time_and_the_first_goes_on(port):
    again = card(1, 2, instance="another process")
    async with shards(port, card(0, 2), card(1, 2), again) as ((host, first, second), said):
        await asyncio.gather(host.join(), first.join())
        with pytest.raises(UsageError, match="shard 1 of 2 is here already"):
            await second.join()
        assert all(await asyncio.gather(host.start(1, 2), first.start(1, 2)))
    assert said[0].startswith("refused: shard 1 of 2 is here already")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"shards": 4}, "shard 1 of 4: this run has 3 shards"),
        ({"swarm": "0.2"}, "shard 1 of 3: swarm 0.2 on Python 3.12, and shard 0 is swarm 0.1 on Python 3.12"),
        ({"python": "3.11"}, "shard 1 of 3: swarm 0.1 on Python 3.11"),
        (
            {"scenario": {"name": "night", "stage": {"duration": "50s"}, "targets": [MOE | {"gpus": 2}]}},
            "its scenario is not that of shard 0, as to stage.duration, targets.0.gpus",
        ),
        ({"servers": {"moe": ("coder", "0.8")}}, "its server is not that of shard 0, as to moe"),
    ],
)
def test_a_shard_of_another_kind_is_refused_by_name_with_what_differs(changes, why):
    assert why in refusal(card(0), card(1, **changes))


@pytest.mark.parametrize("shard", [-1, 0, 3])
def test_a_shard_with_a_number_that_none_has_is_refused(shard):
    assert refusal(card(0), card(shard)) is not None


def test_shards_that_are_alike_are_let_in_from_any_machine():
    assert refusal(card(0), card(2)) is None
    assert refusal(card(0), card(2, machine="there")) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_target_on_loopback_is_one_server_only_on_one_machine(host):
    scenario = {"targets": [{"name": "moe", "api_base": f"http://{host}:8000/v1"}]}
    assert refusal(card(0, scenario=scenario), card(1, scenario=scenario)) is None
    why = refusal(card(0, scenario=scenario), card(1, scenario=scenario, machine="there"))
    assert f"moe at http://{host}:8000/v1 is another server there than for shard 0" in why


@pytest.mark.parametrize("body", [b"", b"nonsense", b"{}", b'{"shard": "1"}', b"[" * 100_000, b'"' + b"x" * 2_000_000])
async def test_nonsense_is_refused_and_does_no_harm(port, body):
    async with shards(port, card(0, 2), card(1, 2)) as (meets, _), aiohttp.ClientSession() as session:
        for name in ("join", "start"):
            url = f"http://127.0.0.1:{port}/{name}"
            async with session.post(url, data=body, headers={HEADER: "r"}) as reply:
                assert reply.status in (400, 413)
            async with session.post(url, data=body) as reply:
                assert reply.status == 403
        assert await asyncio.gather(*(meet.join() for meet in meets)) == [COMMON] * 2


async def test_something_else_that_answers_there_is_no_shard(port):
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        await writer.drain()

    async with await asyncio.start_server(answer, "127.0.0.1", port), shards(port, card(1)) as ((guest,), _):
        with pytest.raises(UsageError, match="what answers there is no shard of this swarm"):
            await guest.join()


async def test_an_address_that_is_taken_or_not_its_own_is_refused_before_any_load(port):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(UsageError, match=rf"--rendezvous 127.0.0.1:{port}: cannot listen there"):
            async with shards(port, card(0)):
                pass


async def test_a_name_that_is_not_known_yet_is_asked_for_again(port, monkeypatch):
    """A pod of a headless service may begin before its own name is in the DNS."""
    asked = []
    start = rendezvous.web.TCPSite.start

    async def late(site):
        asked.append(site)
        if len(asked) < 3:
            raise socket.gaierror(-2, "Name or service not known")
        await start(site)

    monkeypatch.setattr(rendezvous, "RETRY_S", 0.01)
    monkeypatch.setattr(rendezvous.web.TCPSite, "start", late)
    async with shards(port, card(0, 2), card(1, 2)) as (meets, _):
        assert await asyncio.gather(*(meet.join() for meet in meets)) == [COMMON] * 2


def test_a_card_survives_the_way_over_the_network():
    assert msgspec.json.decode(msgspec.json.encode(card(1)), type=Card) == card(1)

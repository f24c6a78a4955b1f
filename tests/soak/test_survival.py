"""What a soak survives, in virtual time: what was lost (nothing measured), what the verdict says, and that no agent
starves or spins."""

import asyncio
import errno
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from as_json import analyse
from soaks import Soaks, reasons
from test_soak import everything

from swarm.commands import checkpoint
from swarm.errors import UsageError

NIGHT = {"stage": {"max_error_share": "50%"}}


def windows(results: dict) -> dict[int, str]:
    """Number -> what disturbed it."""
    return {row["number"]: row["disturbed"] for row in results["soak"]["windows"] if row["disturbed"]}


def busiest_second(sent: list[float]) -> int:
    return max(sum(1 for other in sent if at <= other < at + 1) for at in sent)


def test_a_server_restart_makes_the_night_invalid_and_says_when(soaks: Soaks, trouble):
    made = trouble(down=(103.0, 118.0))
    results = soaks.run(**NIGHT)
    assert results["verdict"] == "invalid"
    assert "the server restarted during the stage" in reasons(results)
    assert set(windows(results)) <= {8, 9, 10}  # windows begin at 20 s, so this is from 100 s to 120 s
    assert "the server restarted" in windows(results).values()
    attempts = everything(soaks.folder / "night", "attempt")
    assert len(attempts) == len(made.sent)
    assert {attempt["error"] for attempt in attempts if attempt.get("error")} <= {"reset", "refused"}
    after = [row["requests"] for row in results["soak"]["windows"][12:]]
    assert min(after) > 0
    assert busiest_second([at for at in made.sent if 103 <= at < 118]) <= 10
    assert len([at for at in made.sent if 113 <= at < 118]) <= 4  # each of two agents has backed off to 5 s


def test_a_stall_of_20_s_is_told_with_its_time_and_everything_that_came_late_counts(soaks: Soaks, trouble):
    made = trouble(stall=(103.0, 123.0))
    results = soaks.run()
    assert (results["verdict"], reasons(results)) == ("valid", "")
    assert {number: why[:10] for number, why in windows(results).items()} == dict.fromkeys((8, 9, 10), "silence of")
    (stage,) = results["targets"][0]["stages"]
    assert stage["errors"] == {}
    waits = (stage["latency"]["ttft_s"]["max"], stage["latency"]["itl_s"]["max"])
    assert 17 < max(waits) < 24
    assert len(everything(soaks.folder / "night", "attempt")) == len(made.sent)


def test_a_storm_of_429_is_counted_and_makes_nobody_spin_or_starve(soaks: Soaks, trouble):
    made = trouble(busy=(100.0, 160.0))
    results = soaks.run()
    assert "requests failed" in reasons(results)
    assert "rate_limited" in reasons(results)
    assert {why for number, why in windows(results).items() if 9 <= number < 13} == {"100% of the requests failed"}
    storm = [at for at in made.sent if 100 <= at < 160]
    assert 20 <= len(storm) <= 2 * (60 / 5 + 7)  # at most one try in 5 s each, after some quick ones
    for agent in (0, 1):
        served = [
            attempt["t_ns"] / 1e9
            for attempt in everything(soaks.folder / "night", "attempt")
            if attempt["agent"] == agent and not attempt.get("error")
        ]
        assert min(at for at in served if at > 160) < 170
    tolerant = analyse_with(soaks, "20%")
    assert (tolerant["verdict"], reasons(tolerant)) == ("valid", "")


def analyse_with(soaks: Soaks, share: str) -> dict:
    path = soaks.folder / "night" / "scenario.yaml"
    path.write_text(path.read_text().replace("max_error_share: 0%", f"max_error_share: {share}"))
    return analyse(soaks.folder / "night")


def test_five_percent_truncated_streams_are_errors_of_their_kind_and_the_rest_is_whole(soaks: Soaks, trouble):
    made = trouble(cut_every=20)
    results = soaks.run()
    (stage,) = results["targets"][0]["stages"]
    assert set(stage["errors"]) == {"cut"}
    attempts = everything(soaks.folder / "night", "attempt")
    assert sum(attempt.get("error") == "cut" for attempt in attempts) == len(made.sent) // 20
    assert all(attempt["completion_tokens"] == 4 for attempt in attempts if attempt.get("error") == "cut")
    assert "cut" in reasons(results)
    tolerant = analyse_with(soaks, "10%")
    assert (tolerant["verdict"], windows(tolerant)) == ("valid", {})


def test_a_step_of_the_wall_clock_changes_nothing(soaks: Soaks, monkeypatch: pytest.MonkeyPatch):
    steady = soaks.run("steady", stage={"duration": "1m"})["soak"]
    calls, real = [0], time.time

    def stepping() -> float:
        calls[0] += 1
        return real() + (3600 if calls[0] % 2 else -3600)

    monkeypatch.setattr(time, "time", stepping)
    stepped = soaks.run("stepped")["soak"]
    assert [row["t_s"] for row in stepped["windows"]] == [row["t_s"] for row in steady["windows"]]
    assert [row["disturbed"] for row in stepped["windows"]] == [None] * 6


class FullDisk:
    """Takes so many bytes, and then none until it is emptied."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.write = os.write

    def __call__(self, descriptor: int, data: bytes) -> int:
        if len(data) > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= len(data)
        return self.write(descriptor, data)


def test_a_full_disk_ends_the_soak_which_says_so_and_goes_on_when_there_is_room(soaks: Soaks, monkeypatch):
    soaks.write()
    disk = FullDisk(250_000)
    monkeypatch.setattr(os, "write", disk)
    results = soaks.run()
    assert results["verdict"] == "invalid"
    assert "broke off" in reasons(results) or "No space left on device" in reasons(results)
    before = everything(soaks.folder / "night", "attempt")
    assert len(before) > 50
    disk.room = 1 << 30
    results = soaks.resume()
    assert (results["verdict"], reasons(results)) == ("valid", "")
    assert everything(soaks.folder / "night", "attempt")[: len(before)] == before
    assert {row["number"] for row in results["soak"]["windows"] if row["whole"]} == set(range(24))


def test_a_directory_that_turns_read_only_costs_nothing_while_its_files_can_be_written(soaks: Soaks, monkeypatch):
    soaks.parts = replace(soaks.parts, file_bytes=50_000)
    rename = Path.rename

    def refused(path: Path, target: Path) -> Path:
        if path.name.startswith(("events", "server", "histograms")):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refused)
    results = soaks.run()
    assert (results["verdict"], results["soak"]["undisturbed"]) == ("valid", 24)
    assert not (soaks.folder / "night/events.jsonl.1").exists()


async def test_a_checkpoint_that_fails_is_told_of_once_and_tried_again(tmp_path: Path):
    tries, enough, said = [], asyncio.Event(), []
    loop = asyncio.get_running_loop()

    def fail(directory: Path) -> None:
        tries.append(directory)
        if len(tries) == 3:
            loop.call_soon_threadsafe(enough.set)
        raise UsageError(f"{directory}/checkpoint.json: cannot be written: Read-only file system")

    task = asyncio.create_task(checkpoint.keep_checkpoints(tmp_path, 0.001, said.append, fail))
    await enough.wait()
    task.cancel()
    assert len(said) == 1
    assert "what is measured is still being recorded" in said[0]


def test_a_checkpoint_names_every_part_with_its_size(tmp_path: Path):
    for name, size in (("events.jsonl.1", 5), ("events.jsonl", 3), ("server.jsonl", 2)):
        (tmp_path / name).write_bytes(b"x" * size)
    checkpoint.take_checkpoint(tmp_path)
    checkpoint.check_files(tmp_path)
    (tmp_path / "events.jsonl").rename(tmp_path / "events.jsonl.2")
    (tmp_path / "events.jsonl").write_bytes(b"xxxx")
    checkpoint.check_files(tmp_path)
    assert '"events.jsonl.1": 5' in (tmp_path / "checkpoint.json").read_text()

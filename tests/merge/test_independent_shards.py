"""`swarm run --shard I/N` end to end: real processes that find each other, and one run made of them."""

import re
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from small_runs import SWARM, records, results, served, swarm, write_project
from typer.testing import CliRunner

from swarm.cli import app
from swarm.errors import UsageError

AHEAD_S = 100_000


@pytest.fixture(scope="module")
def address():
    with served() as base:
        yield base


@pytest.fixture(scope="module")
def project(tmp_path_factory, address):
    """A scenario on a running server: 1 and 3 agents, windows of 2.5 s."""
    target = {"name": "moe", "architecture": "moe", "api_base": address}
    return write_project(
        tmp_path_factory.mktemp("project"),
        targets=[target],
        agents={"levels": [1, 3], "system_tokens": 1500, "context": "4k"},
        stage={"warmup": "500ms", "duration": "2500ms", "trials": 1},
    )


def start(project: Path, shard: str, port: int, *options: str, by: Sequence[str] = ()) -> subprocess.Popen:
    out = f"{port}-{shard.partition('/')[0]}"
    place = ["--shard", shard, "--rendezvous", f"127.0.0.1:{port}"]
    command = [*by, SWARM, "run", "small.yaml", *place, "--out", out, *options]
    return subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def clock_ahead(seconds: int) -> list[str]:
    """What starts a command on a monotonic clock of its own, as that of another machine; nothing where that is not
    allowed."""
    command = ["unshare", "--user", "--map-root-user", "--time", "--monotonic", str(seconds), "--fork"]
    try:
        allowed = subprocess.run([*command, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        allowed = False
    return command if allowed else []


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def until(true, process: subprocess.Popen) -> None:
    limit = time.monotonic() + 60
    while not true():
        assert time.monotonic() < limit
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.fixture(scope="module")
def whole(project):
    """What merging three shards said, and the directory that it made."""
    port, elsewhere = free_port(), clock_ahead(AHEAD_S)
    shards = [start(project, f"{shard}/3", port, by=elsewhere if shard == 2 else ()) for shard in (2, 0, 1)]
    for shard in shards:
        _, said = shard.communicate(timeout=90)
        assert shard.returncode == 0, said
    done = swarm("report", *(f"{port}-{shard}" for shard in range(3)), "--out", "whole", cwd=project)
    assert done.returncode == 0, done.stderr
    return done, project / "whole"


def test_every_stage_is_there_once_and_its_agents_began_together(whole):
    _, directory = whole
    assert [stage["agents"] for stage in records(directory, "stage")] == [1, 3]
    assert len(records(directory, "stage_end")) == 2
    joined = [shard for shard in records(directory, "shard") if shard["agents"] == 3]
    assert [(shard["shard"], shard["numbers"]) for shard in joined] == [(0, [0]), (1, [1]), (2, [2])]
    starts = [shard["t_ns"] for shard in joined]
    assert max(starts) - min(starts) <= 2  # by the shards' own clocks, corrected


def test_the_offset_of_every_clock_is_found_to_within_what_is_said_of_it(whole):
    _, directory = whole
    ahead_ns = AHEAD_S * 10**9 if clock_ahead(AHEAD_S) else 0
    for shard in records(directory, "shard"):
        true_ns = ahead_ns if shard["shard"] == 2 else 0
        assert abs(shard["offset_ns"] - true_ns) <= shard["round_trip_ns"] / 2 < 1e9


def test_all_agents_share_the_salt_and_no_two_send_the_same_prompt(whole):
    _, directory = whole
    salts = {(stage["agents"], stage["salt"]) for stage in records(directory, "stage")}
    assert len(salts) == 2
    last = [attempt for attempt in records(directory, "attempt") if attempt["agents"] == 3 and not attempt["aborted"]]
    assert {attempt["agent"] for attempt in last} == {0, 1, 2}
    # Their system prompt is shared: only the first of the agents computes it.
    assert sum(attempt["cached_tokens"] < 1000 for attempt in last) <= 3


def test_every_token_is_one_that_the_server_counted(whole):
    _, directory = whole
    for ended in records(directory, "stage_end"):
        mine = [attempt for attempt in records(directory, "attempt") if attempt["agents"] == ended["agents"]]
        cut_off = sum(attempt["aborted"] for attempt in mine)
        ours = sum(attempt["completion_tokens"] or 0 for attempt in mine)
        assert ours <= ended["counters"]["completion_tokens"] <= ours + 4 * cut_off


def test_the_results_are_those_of_one_run_with_its_shards(whole):
    done, directory = whole
    _, three = results(directory)["targets"][0]["stages"]
    assert [agent["agent"] for agent in three["per_agent"]] == [0, 1, 2]
    assert [(shard["agents"], shard["lost"]) for shard in three["shards"]] == [(1, None)] * 3
    assert three["achieved"]["agents_alive_mean"] == pytest.approx(3, abs=0.15)
    assert "merged into whole" in done.stderr
    assert " 3 " in done.stdout


def test_a_shard_that_is_killed_leaves_an_invalid_run_that_names_it(project):
    port = free_port()
    host, guest = (start(project, f"{shard}/2", port, "--agents", "2", "--duration", "6s") for shard in (0, 1))
    events = project / f"{port}-1" / "events.jsonl"
    until(lambda: events.exists() and events.read_text().count('"attempt"') >= 3, guest)
    guest.kill()
    guest.communicate(timeout=60)
    assert host.communicate(timeout=60)[1]
    assert host.returncode == 0  # the stage was its last: nobody was missed any more
    done = swarm("report", f"{port}-0", f"{port}-1", cwd=project)
    assert "INVALID" in done.stdout
    (stage,) = results(project / f"{port}-0-merged")["targets"][0]["stages"]
    assert re.search(r"shard 1 of 2 \(.*\) after \d\.\d s with 1 agent \(1\): its records break off", str(stage))


def test_a_signal_while_waiting_for_the_others_ends_it_and_leaves_nothing(project):
    port = free_port()
    shard = start(project, "0/2", port)
    assert shard.stderr
    while "meets the others" not in (line := shard.stderr.readline()):
        assert line
    shard.send_signal(signal.SIGTERM)
    _, said = shard.communicate(timeout=60)
    assert shard.returncode == 130
    assert "SIGTERM while waiting for the other shards: nothing has run" in said
    assert not (project / f"{port}-0").exists()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--shard", "2/2"], "--shard 2/2: expected I/N with I from 0 to N - 1, such as 0/4"),
        (["--shard", "one"], "--shard one: expected I/N"),
        (["--shard", "0/2", "--rendezvous", "nowhere"], "--rendezvous nowhere: expected HOST:PORT"),
        (["--shard", "0/2", "--rendezvous", "host:99999"], "--rendezvous host:99999: expected HOST:PORT"),
        (["--shard", "0/2", "--workers", "2"], "--shard: the shards are the processes of this run"),
        (["--shard", "0/2", "--engine", "ray"], "--shard: the shards are the processes of this run"),
        (["--run-id", "x"], "--rendezvous and --run-id go with --shard I/N"),
        (["--shard", "0/2", "--set", "budget.requests=5"], "--shard: `budget` needs one place that sees all agents"),
        (
            ["--shard", "0/2", "--set", "stage.until={metric: requests_per_s}"],
            "--shard: `stage.until` needs one place that sees all agents",
        ),
        (
            ["--shard", "0/2", "--set", "targets=[{name: moe, architecture: moe, simulate: moe-30b-a3b-awq-1x3090}]"],
            "--shard: moe is simulated, and each shard would start a server of its own",
        ),
    ],
)
def test_what_shards_cannot_do_is_refused_before_anything_runs(project, monkeypatch, options, why):
    monkeypatch.chdir(project)
    done = CliRunner().invoke(app, ["run", "small.yaml", *options])
    assert isinstance(done.exception, UsageError)
    assert why in str(done.exception)
    assert not (project / "runs").exists()


def test_out_of_report_is_for_shards_alone(whole):
    done = CliRunner().invoke(app, ["report", str(whole[1]), "--out", "elsewhere"])
    assert isinstance(done.exception, UsageError)
    assert "no RUN is a shard" in str(done.exception)

"""`swarm record` as people start it, with a small agent before it and the simulated server behind it."""

import asyncio
import os
import resource
import signal
import socket
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import openai
import pytest
from agent import work
from small_runs import SWARM, called, swarm
from test_relay import until

from swarm.proxy.exchange import Exchange
from swarm.proxy.recording_process import RecordingApart
from swarm.simulator.profiles import profiles
from swarm.simulator.server.server import start
from swarm.trace.format import TraceHeader, read_trace

pytestmark = pytest.mark.realtime

PROFILE = "moe-30b-a3b-awq-1x3090"


@asynccontextmanager
async def recording(tmp_path, *options):
    """A simulated server and `swarm record` before it: yields the process and an agent's client."""
    server = await start(profiles.load(PROFILE))
    process = await asyncio.create_subprocess_exec(
        SWARM,
        "record",
        f"--upstream={server.url}",
        "--port=0",
        f"--out={tmp_path / 'trace.jsonl'}",
        f"--workspace={tmp_path}",
        *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        address = (await asyncio.wait_for(process.stdout.readline(), 30)).decode().removeprefix("listening on ").strip()
        yield process, openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="sk-" + "a1b2c3d4" * 4)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await server.close()


async def test_an_agents_sessions_are_in_the_trace_and_ctrl_c_ends_it_with_a_summary_and_0(tmp_path):
    workspace = tmp_path / "repo"
    workspace.mkdir()
    (workspace / "notes.txt").write_text("the key is sk-" + "a1b2c3d4" * 4)
    async with recording(tmp_path, "--content") as (process, client):
        await work(client, PROFILE, workspace, "Say what is in the notes.", 5, leads=True)
        process.send_signal(signal.SIGINT)
        out, err = (text.decode() for text in await asyncio.wait_for(process.communicate(), 30))
    assert process.returncode == 0, err
    path = tmp_path / "trace.jsonl"
    trace = read_trace(path)
    sessions = {name: len(turns) for name, turns in trace.sessions().items()}
    assert sessions == {"s1": 5, "s2": 3}
    parent = trace.sessions()["s2"][0].parent
    assert (parent.session, parent.turn) == ("s1", 4)
    assert "8 turns in 2 sessions" in out
    assert out.splitlines()[-1] == str(path)
    assert str(tmp_path) not in path.read_text()
    assert "a1b2c3d4" not in path.read_text()
    assert {message.role for turn in trace.turns for message in turn.added} == {"system", "user", "assistant", "tool"}


async def test_after_kill_9_every_turn_that_ended_is_there_and_no_process_stays(tmp_path):
    async with recording(tmp_path, "--quiet") as (process, client):
        await work(client, PROFILE, tmp_path, "Look around.", 3, leads=False)
        await until(lambda: (tmp_path / "trace.jsonl").read_text().count("\n") == 4)
        left = children(process.pid)
        process.kill()
        await process.wait()
        await until(lambda: not any(map(alive, left)))
    assert [turn.number for turn in read_trace(tmp_path / "trace.jsonl").turns] == [1, 2, 3]


def children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def alive(pid):
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def spawned(pid):
    """Whether it is the process that writes the trace, and not the one that counts shared resources."""
    return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="a limit on the size of files stands for the full disk")
async def test_when_nothing_can_be_written_any_more_it_says_so_and_goes_on_serving(tmp_path):
    async with recording(tmp_path) as (process, client):
        (writer,) = filter(spawned, children(process.pid))
        most = (tmp_path / "trace.jsonl").stat().st_size + 100
        resource.prlimit(int(writer), resource.RLIMIT_FSIZE, (most, most))
        await work(client, PROFILE, tmp_path, "Look around.", 3, leads=False)
        process.send_signal(signal.SIGTERM)
        _, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 3
    assert "error: the recording ended early" in err.decode()
    assert read_trace(tmp_path / "trace.jsonl").turns == ()


def test_a_process_that_dies_is_told_and_costs_nobody_an_answer(tmp_path):
    apart = RecordingApart(tmp_path / "t", TraceHeader(source="recorded"), (), ())
    (pid,) = apart._process._processes
    os.kill(pid, signal.SIGKILL)
    for _ in range(3):
        apart.keep(Exchange("openai", b"{}", 0))
    apart.close()
    assert apart.totals.stopped == "the process that writes it has died"


def test_what_cannot_be_started_is_one_line_and_leaves_no_file(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    done = called("record", f"--upstream=http://127.0.0.1:{port}", "--port=0", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (5, 1)
    assert done.stderr.startswith("error: --upstream: nothing listens at http://127.0.0.1:")
    for options, message in (
        (["--upstream=localhost"], "error: --upstream: expected an address"),
        (["--upstream=http://8.8.8.8/v1"], "error: 8.8.8.8: not on this machine or network."),
        (
            ["--upstream=http://127.0.0.1:1", "--api-key-env=NO_SUCH_KEY"],
            "error: --api-key-env: the environment variable",
        ),
        (["--upstream=http://127.0.0.1:1", "--redact=no.yaml"], "error: no.yaml: cannot be read"),
    ):
        done = called("record", *options, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith(message)
    assert list(tmp_path.iterdir()) == []


async def test_a_port_that_is_taken_and_a_file_that_is_there_are_refused(tmp_path):
    server = await start(profiles.load(PROFILE))
    (tmp_path / "there.jsonl").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        upstream = f"--upstream={server.url}"
        for options, message in (
            (
                [f"--port={port}"],
                f"error: 127.0.0.1:{port}: cannot listen: Address already in use; choose another --port",
            ),
            (["--port=0", "--out=there.jsonl"], "error: there.jsonl: exists already"),
            (["--port=0", "--out=/proc/x/t.jsonl"], "error: /proc/x: cannot be made"),
        ):
            done = await asyncio.to_thread(swarm, "record", upstream, *options, cwd=tmp_path)
            assert (done.returncode, done.stderr.count("\n")) == (2, 1)
            assert done.stderr.startswith(message)
    await server.close()

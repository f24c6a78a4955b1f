"""`swarm run --workers N` end to end: real processes and pipes, the simulated vLLM; and what a killed one leaves."""

import os
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path

import jsonschema
import pytest
from fleets import scenario
from small_runs import REPLY_TOKENS, records, results, shards_of, started, swarm, until, write_project

from swarm.analysis.schema import results_schema
from swarm.cli.common import sharing
from swarm.client.base import Connection
from swarm.engine.compose import stage_spec
from swarm.engine.schedule import schedule
from swarm.errors import UsageError
from swarm.scaleout.link import Assignment, LostError, Setup
from swarm.scaleout.processes import Process
from swarm.scaleout.sharing import Sharing, open_fleet
from swarm.scaleout.worker import pack, unpack

pytestmark = pytest.mark.realtime


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small tasks and a scenario of three agents in windows of 3 s."""
    stage = {"warmup": "500ms", "duration": "3s", "trials": 1}
    agents = {"levels": [3], "system_tokens": 1500, "context": "4k"}
    return write_project(tmp_path_factory.mktemp("project"), agents=agents, stage=stage)


@pytest.fixture(scope="module")
def shared(project: Path) -> Path:
    """A run of two workers, with /metrics."""
    done = swarm("run", "small.yaml", "--workers", "2", "--out", "shared", "--prometheus-port", "0", cwd=project)
    assert done.stdout.splitlines()[-1] == "shared", done.stdout + done.stderr
    return project / "shared"


def test_two_workers_write_one_ordinary_run_directory(shared: Path):
    found = results(shared)
    jsonschema.validate(found, results_schema())
    ((stage,),) = (target["stages"] for target in found["targets"])
    assert stage["achieved"]["agents_alive_mean"] == pytest.approx(3, abs=0.05)
    assert [agent["agent"] for agent in stage["per_agent"]] == [0, 1, 2]
    assert [(shard["shard"], shard["agents"], shard["lost"]) for shard in stage["shards"]] == [
        (0, 2, None),
        (1, 1, None),
    ]
    assert all(shard["clock_uncertainty_s"] == 0 < shard["cpu_share"] < 1 for shard in stage["shards"])
    assert len({client["shard"] for client in records(shared, "client")}) == 2


def test_every_token_of_every_worker_is_one_that_the_server_counted(shared: Path):
    for ended in records(shared, "stage_end"):
        mine = [attempt for attempt in records(shared, "attempt") if attempt["trial"] == ended["trial"]]
        assert {attempt["agent"] for attempt in mine} == {0, 1, 2}
        complete = [attempt for attempt in mine if not attempt.get("aborted")]
        assert all(attempt["completion_tokens"] == REPLY_TOKENS for attempt in complete)
        ours = sum(attempt.get("completion_tokens") or 0 for attempt in mine)
        assert ours <= ended["counters"]["completion_tokens"] <= ours + 4 * (len(mine) - len(complete))


def test_the_environment_says_who_the_shards_were(shared: Path):
    told = shards_of(shared)
    assert [shard["shard"] for shard in told] == [0, 1]
    assert len({shard["pid"] for shard in told}) == 2
    assert not any(alive(shard["pid"]) for shard in told)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except OSError:
        return False


def at_work(project: Path, out: str, *options: str) -> "tuple[subprocess.Popen[str], list[int]]":
    """A run of two workers that is at work, and the numbers of their processes."""
    process = started(project, "run", "small.yaml", "--workers", "2", "--out", out, *options, out=out)
    return process, [shard["pid"] for shard in shards_of(project / out)]


def test_a_killed_worker_makes_its_stage_invalid_and_the_next_stage_has_all_agents_again(project: Path):
    process, workers = at_work(project, "killed", "--set", "stage.trials=2")
    os.kill(workers[1], signal.SIGKILL)
    said = "".join(process.communicate(timeout=60))
    assert process.returncode == 3
    assert "(process" in said
    assert "was lost with 1 agent: its process was killed (SIGKILL)" in said
    ((stage,),) = (target["stages"] for target in results(project / "killed")["targets"])
    first, second = stage["trials_detail"]
    reason = first["invalid_reasons"][0]
    assert reason.startswith(f"shards were lost: shard 1 (process {workers[1]}) after ")
    assert "with 1 agent (1): its process was killed (SIGKILL)" in reason
    assert not any("lost" in reason or "died" in reason for reason in second["invalid_reasons"])
    by_trial = {
        trial: {a["agent"] for a in records(project / "killed", "attempt") if a["trial"] == trial} for trial in (1, 2)
    }
    assert by_trial[2] == {0, 1, 2}
    lost = records(project / "killed", "shard_lost")
    assert [(one["trial"], one["numbers"]) for one in lost] == [(1, [1])]


def test_when_the_coordinator_is_killed_its_workers_end_and_what_was_flushed_is_reported(project: Path):
    process, workers = at_work(project, "beheaded")
    process.kill()
    process.wait()
    until(lambda: not any(map(alive, workers)), 15)
    reported = swarm("report", "beheaded", cwd=project)
    assert reported.returncode == 0
    assert "the run broke off before this stage had ended" in reported.stdout
    assert results(project / "beheaded")["targets"][0]["stages"][0]["achieved"]["in_flight_mean"] > 0


def test_an_interrupt_is_the_coordinators_and_all_agents_are_saved(project: Path):
    process, workers = at_work(project, "interrupted")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert sorted(life["agent"] for life in records(project / "interrupted", "agent_end")) == [0, 1, 2]
    until(lambda: not any(map(alive, workers)), 5)


@pytest.mark.parametrize(
    ("workers", "engine", "address", "virtual", "said"),
    [
        (None, "slurm", None, False, "--engine slurm: expected local or ray"),
        (2, "local", "10.0.0.1:6379", False, "--address 10.0.0.1:6379: goes with --engine ray"),
        (2, "local", None, True, "--predict: virtual time passes in one process; leave --workers and --engine out"),
    ],
)
def test_what_cannot_be_shared_is_refused(workers, engine, address, virtual, said):
    with pytest.raises(UsageError) as refused:
        sharing(workers, engine, address, virtual=virtual)
    assert str(refused.value) == said


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
async def test_without_ray_it_is_said_how_to_get_it():
    with pytest.raises(UsageError, match=r"pip install 'swarm-load\[ray\]'"):
        async with open_fleet(Sharing("ray"), scenario(1), ()):
            pass


async def test_a_process_says_how_it_ended():
    killed = await Process.start(0)
    kind, hello = await killed.call("hello")
    assert (kind, hello["pid"]) == ("done", int(killed.where.removeprefix("process ")))
    os.kill(hello["pid"], signal.SIGKILL)
    with pytest.raises(LostError, match=r"^its process was killed \(SIGKILL\)$"):
        await killed.call("now")
    await killed.close()


async def test_a_bug_crosses_the_pipe_and_the_worker_lives_on():
    worker = await Process.start(0)
    kind, error = await worker.call("begin", "c.1", 0)
    assert kind == "failed"
    assert error.strip().endswith("AssertionError")
    kind, _ = await worker.call("now")
    assert kind == "done"
    await worker.close()
    assert not alive(int(worker.where.removeprefix("process ")))


def test_no_key_is_shown_by_what_crosses(tmp_path: Path):
    key = "sk-very-secret-key-0123456789"
    plan = scenario(2)
    connection = Connection("http://127.0.0.1:1/v1", "m", api_key=key, headers={"Authorization": f"Bearer {key}"})
    spec = stage_spec("run", plan, (), schedule(plan, "salt")[0], secrets=(key,))
    assert key not in repr(Assignment(spec, connection, 0, "0"))
    assert key not in repr(Setup(plan, 1, {}))


def test_a_repository_that_is_sent_is_the_same_there(tmp_path: Path):
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "src").mkdir(parents=True)
    (here / "src/run.sh").write_text("#!/bin/sh\n")
    (here / "src/run.sh").chmod(0o755)
    (here / "src/link").symlink_to("run.sh")
    (here / "empty").mkdir()
    unpack(pack(here), there)
    assert sorted(path.relative_to(there).as_posix() for path in there.rglob("*")) == [
        "empty",
        "src",
        "src/link",
        "src/run.sh",
    ]
    assert (there / "src/run.sh").read_text() == "#!/bin/sh\n"
    assert (there / "src/run.sh").stat().st_mode & 0o777 == 0o755
    assert (there / "src/link").readlink() == Path("run.sh")

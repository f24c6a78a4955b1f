"""Soaks in real time, with real processes that are really killed."""

import os
import signal
from pathlib import Path

import pytest
import yaml
from small_runs import records, results, started, swarm, until, write_project
from test_soak import everything

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_project(
        tmp_path_factory.mktemp("soak"),
        agents={"levels": [2], "system_tokens": 1500, "context": "4k"},
        client={"max_lag": "1s"},  # other tests share this machine
        stage={"warmup": "500ms", "duration": "8s", "trials": 1},
        soak={"window": "1s", "checkpoint": "1s"},
    )
    slow = folder / "tested" / "small" / "slow"
    (slow / "repo").mkdir(parents=True)
    (slow / "repo" / "test_slow.py").write_text("import time\n\n\ndef test_slow():\n    time.sleep(2)\n")
    reply = {"median": 8, "spread": 1, "min": 8, "max": 8}
    test = {"tool": "run_tests", "arguments": {"path": None, "keyword": None}, "takes": "100ms"}
    turns = [{"say": "Testing.", "calls": [test]}, {"say": "Done."}]
    script = {"title": "Wait", "issue": "Wait.", "reply_tokens": reply, "turns": turns}
    (slow / "task.yaml").write_text(yaml.safe_dump(script))
    return folder


def children(process: int, word: str) -> list[int]:
    """Processes with a word in their command line, below a process."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
        except (OSError, ValueError, IndexError):
            continue
        if parent == process and word in command:
            found.append(int(entry.name))
    return found


def test_kill_9_and_sigterm_lose_nothing_and_the_soak_goes_on_to_its_verdict(project: Path):
    killed = started(project, "soak", "small.yaml", "--out", "night", out="night", attempts=14)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=30)
    before = everything(project / "night", "attempt")
    broken = swarm("check", "night", cwd=project)
    assert broken.returncode == 3
    assert "the run broke off" in broken.stdout.splitlines()[-1]

    stopped = started(project, "soak", "--resume", "night", out="night")
    stopped.send_signal(signal.SIGTERM)
    stdout, stderr = stopped.communicate(timeout=30)
    assert (stopped.returncode, stdout.splitlines()[-1]) == (130, "night")
    assert "Interrupted; nothing measured is lost. Continue: swarm soak --resume night" in stderr
    assert not (project / "history.sqlite").exists()  # not a finished run yet

    done = swarm("soak", "--resume", "night", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    found = results(project / "night")
    assert [part["ended"] for part in found["soak"]["parts"]] == ["killed", "SIGTERM", "finished"]
    assert {row["number"] for row in found["soak"]["windows"] if row["whole"]} == set(range(8))
    attempts = everything(project / "night", "attempt")
    assert attempts[: len(before)] == before
    assert len({attempt["id"] for attempt in attempts}) == len(attempts)
    assert {attempt["run"] for attempt in attempts} == {"night"}
    assert (project / "night/checkpoint.json").exists()

    checked = swarm("check", "night", "--junit", "night.xml", cwd=project)
    assert (checked.returncode, checked.stdout.splitlines()[-1][:6]) == (0, "PASSED")
    assert (project / "night.xml").read_text().count("<testcase") > 5
    listed = swarm("history", ".", cwd=project)
    assert "small" in listed.stdout.splitlines()[1]


def test_kill_9_of_a_tool_and_then_of_the_simulator_end_neither_the_agents_nor_the_soak(project: Path):
    tasks = f"tasks.path={project / 'tested'}"
    options = ("--set", tasks, "--duration", "8s", "--out", "hurt")
    process = started(project, "soak", "small.yaml", *options, out="hurt", attempts=2)
    until(lambda: len(children(process.pid, "pytest")) == 2, process=process)
    for tool in children(process.pid, "pytest"):
        os.kill(tool, signal.SIGKILL)
    until(lambda: len(everything(project / "hurt", "tool")) >= 2, process=process)
    until(lambda: len(everything(project / "hurt", "job")) >= 2, process=process)
    (server,) = children(process.pid, "swarm.simulator")
    os.kill(server, signal.SIGKILL)
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "requests failed" in " ".join(stdout.split()), stdout
    tools, jobs = everything(project / "hurt", "tool"), everything(project / "hurt", "job")
    assert [tool["ok"] for tool in tools[:2]] == [False, False]
    assert [job["outcome"] for job in jobs[:2]] == ["answered", "answered"]
    failed = [attempt for attempt in everything(project / "hurt", "attempt") if attempt.get("error")]
    assert {attempt["error"] for attempt in failed} <= {"refused", "reset", "cut"}
    assert 2 <= len(failed) <= 2 * 12  # backing off from 0.1 s to 5 s
    assert {attempt["agent"] for attempt in failed} == {0, 1}
    assert all(life.get("crash") is None for life in records(project / "hurt", "agent_end"))

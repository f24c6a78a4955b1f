"""Test runs: bounded in time, output and environment, and nothing of them is left."""

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from swarm.agents.sandbox.process import run_bounded
from swarm.agents.tools import Toolbox, ToolLimits

DAEMON = """
import os, subprocess, sys, time

def test_it():
    code = {code!r}
    subprocess.Popen([sys.executable, "-c", code], **{options})
    while not os.path.exists("pid"):
        time.sleep(0.01)
"""
BACKGROUND = (
    "import os, time; open('pid.new', 'w').write(str(os.getpid())); os.rename('pid.new', 'pid'); time.sleep(600)"
)


def toolbox(bench, **options) -> Toolbox:
    bench.toolbox = Toolbox(bench.toolbox._root, **options)
    return bench.toolbox


def alive(pid: int) -> bool:
    """Whether a process still runs; a zombie that its parent has not fetched yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


async def test_passing_and_failing_tests(bench):
    bench.put("tests/test_a.py", "def test_one():\n    assert 1 == 1\n\ndef test_two():\n    assert 1 == 2\n")
    result = await bench.call("run_tests", path=None, keyword=None)
    assert not result.ok
    assert result.error == "tests failed"
    assert result.text.splitlines()[-2:] == ["FAILED tests/test_a.py::test_two - assert 1 == 2", "1 failed, 1 passed"]
    assert "tests/test_a.py:5: in test_two" in result.text


async def test_selections(bench):
    bench.put("tests/test_a.py", "def test_one():\n    pass\n\ndef test_two():\n    assert False\n")
    bench.put("tests/test_b.py", "def test_three():\n    assert False\n")
    said = await asyncio.gather(
        bench.call("run_tests", path="tests/test_a.py::test_one"),
        bench.call("run_tests", path="tests", keyword="one"),
        bench.call("run_tests", keyword="-one or no_such"),
        bench.call("run_tests", keyword="no_such_test"),
        bench.call("run_tests", path="tests/test_c.py"),
        bench.call("run_tests", path="-x"),
        bench.call("run_tests", path="@pkg/code.py"),
        bench.call("run_tests", keyword="a\0b"),
        bench.call("run_tests", path="tests::\0"),
    )
    assert [result.ok for result in said] == [True, True, *[False] * 7]
    assert [result.text.splitlines()[-1] for result in said[:2]] == ["1 passed", "1 passed, 2 deselected"]
    assert said[3].error == "no tests found"
    assert "no such file or directory" in said[4].text
    assert "'-x' is not a file or directory" in said[5].text
    assert "'@pkg/code.py' is not a file or directory" in said[6].text


async def test_the_environment_is_not_ours(bench, monkeypatch):
    monkeypatch.setenv("A_SECRET_KEY", "do-not-tell")
    bench.put("test_env.py", "import os\n\ndef test_it():\n    assert sorted(os.environ.items()) == 0\n")
    bench.put("pytest.ini", "[pytest]\naddopts = -vv\n")
    result = await bench.call("run_tests")
    assert "do-not-tell" not in result.text
    assert "A_SECRET_KEY" not in result.text
    assert "PYTHONHASHSEED" in result.text
    assert str(Path.home()) not in result.text or str(Path.home()) == "/"


async def test_settings_of_the_repository_count_and_those_around_it_do_not(bench):
    bench.put("test_a.py", "def check_it():\n    assert False\n\ndef test_it():\n    pass\n")
    around = bench.root.parent.parent / "pytest.ini"
    around.write_text("[pytest]\npython_functions = check_*\n")
    assert (await bench.call("run_tests")).text.splitlines()[-1] == "1 passed"
    around.unlink()
    for name, text in (
        ("tox.ini", "[pytest]\npython_functions = check_*\n"),
        ("setup.cfg", "[tool:pytest]\npython_functions = check_*\n"),
        ("pyproject.toml", "[tool.pytest.ini_options]\npython_functions = 'check_*'\n"),
    ):
        bench.put(name, text)
        assert (await bench.call("run_tests")).text.splitlines()[-1] == "1 failed"
        (bench.root / name).unlink()


async def test_nothing_is_written_into_the_repository(bench):
    bench.put("test_a.py", "import pkg.code\n\ndef test_it(tmp_path):\n    (tmp_path / 'x').write_text('x')\n")
    before = sorted(bench.root.rglob("*"))
    assert (await bench.call("run_tests")).ok
    assert sorted(bench.root.rglob("*")) == before


@pytest.mark.parametrize(
    "options",
    ["{}", "{'start_new_session': True}", "{'start_new_session': True, 'stdout': -3, 'stderr': -3, 'close_fds': True}"],
    ids=["same group", "own session", "own session and silent"],
)
async def test_a_process_that_a_passing_test_leaves_behind_is_killed(bench, options):
    bench.put("test_a.py", DAEMON.format(code=BACKGROUND, options=options))
    result = await bench.call("run_tests")
    assert result.text.splitlines()[-1] == "1 passed"
    pid = int((bench.root / "pid").read_text())
    await until(lambda: not alive(pid))


async def test_the_wall_limit_ends_the_whole_tree(bench):
    toolbox(bench, limits=ToolLimits(test_s=1.5))
    hang = DAEMON.format(code=BACKGROUND, options="{'start_new_session': True}") + "    time.sleep(600)\n"
    bench.put("test_a.py", hang)
    started = time.monotonic()
    result = await bench.call("run_tests")
    assert time.monotonic() - started < 20
    assert not result.ok
    assert result.error == "time limit"
    assert result.text.splitlines()[-1] == "[stopped: the time limit of 1.5 s]"
    pid = bench.root / "pid"
    if pid.exists():  # on a slow machine it may have been stopped before it got that far
        await until(lambda: not alive(int(pid.read_text())))


async def test_cancelling_kills_the_tree(bench):
    hang = DAEMON.format(code=BACKGROUND, options="{'start_new_session': True}")
    hang += "    open('parent', 'w').write(str(os.getpid()))\n    time.sleep(600)\n"
    bench.put("test_a.py", hang)
    running = asyncio.create_task(bench.call("run_tests"))
    await until(lambda: (bench.root / "parent").exists() and (bench.root / "parent").read_text())
    pids = [int((bench.root / name).read_text()) for name in ("pid", "parent")]
    assert [alive(pid) for pid in pids] == [True, True]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: not any(alive(pid) for pid in pids))


async def test_a_flood_of_output_is_stopped_and_cut(bench):
    toolbox(bench, limits=ToolLimits(output_bytes=4000, flood_bytes=100_000))
    bench.put("test_a.py", "import os\n\ndef test_it():\n    while True:\n        os.write(2, b'flood ' * 1000)\n")
    bench.put("pytest.ini", "[pytest]\naddopts = -s\n")
    result = await bench.call("run_tests")
    assert not result.ok
    assert result.error == "output limit"
    assert result.text.splitlines()[-1] == "[stopped: more than 100000 bytes of output]"
    assert "bytes left out here]" in result.text
    assert len(result.text.encode()) < 4200


async def test_long_output_keeps_its_beginning_and_its_end(bench):
    toolbox(bench, limits=ToolLimits(output_bytes=3000))
    bench.put("test_a.py", "def test_it():\n    print('BEGIN', 'x ' * 5000, 'END')\n    assert False\n")
    result = await bench.call("run_tests")
    lines = result.text.splitlines()
    assert lines[0].startswith("F")
    assert lines[-1] == "1 failed"
    assert any(line.startswith("[cut: ") for line in lines)
    assert len(result.text.encode()) <= 3000


async def test_a_run_that_dies_of_a_signal_says_so(bench):
    bench.put("test_a.py", "import os, signal\n\ndef test_it():\n    os.kill(os.getpid(), signal.SIGSEGV)\n")
    result = await bench.call("run_tests")
    assert not result.ok
    assert result.error == "signal 11"


async def test_tests_have_no_input(bench):
    bench.put("test_a.py", "import sys\n\ndef test_it():\n    assert sys.__stdin__.read() == ''\n")
    assert (await bench.call("run_tests")).ok


async def test_waiting_for_a_slot_counts_as_tool_time(bench):
    toolbox(bench, test_slots=1)
    bench.put("test_a.py", "import time\n\ndef test_it():\n    time.sleep(0.3)\n")
    results = await asyncio.gather(*(bench.call("run_tests") for _ in range(3)))
    times = sorted(result.work_ns for result in results)
    assert all(result.ok for result in results)
    assert times[0] >= 0.3e9
    assert times[2] - times[1] >= 0.3e9
    assert times[1] - times[0] >= 0.3e9
    waited = sorted(result.waited_ns for result in results)
    assert waited[0] < 0.1e9
    assert waited[1] >= 0.3e9
    assert waited[2] >= 0.6e9


async def test_runs_have_a_lower_priority_than_we_do(bench):
    bench.put("test_a.py", "import os\n\ndef test_it():\n    assert os.nice(0) == 0\n")
    result = await bench.call("run_tests")
    assert f"assert {os.nice(0) + 5} == 0" in result.text


async def test_a_launcher_goes_before_the_command(bench):
    bench.put("test_a.py", "import os\n\ndef test_it():\n    assert 'BOX' not in os.environ\n")
    toolbox(bench, launcher=lambda workspace: ("env", f"BOX={workspace.repository.name}"))
    assert "assert 'BOX' not in" in (await bench.call("run_tests")).text
    toolbox(bench, launcher=lambda workspace: ("no-such-program-anywhere",))
    result = await bench.call("run_tests")
    assert result.text == "Error: the tests could not be started: No such file or directory"
    assert (await bench.call("search", query="f\\(", path=".", regex=True)).text == "pkg/code.py:1: def f():"


async def test_a_command_ends_when_it_does_even_if_its_child_holds_the_pipe(tmp_path):
    start = f"subprocess.Popen([sys.executable, '-c', {BACKGROUND!r}])"
    code = f"import os, subprocess, sys, time; print('out', flush=True); {start}"
    started = time.monotonic()
    finished = await run_bounded(
        [sys.executable, "-c", f"{code}\nwhile not os.path.exists('pid'): time.sleep(0.01)"],
        cwd=tmp_path,
        env={"PATH": os.defpath},
        wall_s=60,
        keep_bytes=1000,
        flood_bytes=1000,
    )
    assert time.monotonic() - started < 20
    assert (finished.status, finished.output, finished.stopped) == (0, "out\n", None)
    await until(lambda: not alive(int((tmp_path / "pid").read_text())))


async def test_no_descriptor_and_no_task_is_left_after_a_run(bench):
    bench.put("test_a.py", "def test_it():\n    pass\n")
    await bench.call("run_tests")
    before, tasks = len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())
    for _ in range(2):
        await bench.call("run_tests")
    toolbox(bench, launcher=lambda workspace: ("no-such-program-anywhere",))
    await bench.call("run_tests")
    await asyncio.sleep(0)
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(asyncio.all_tasks()) == tasks

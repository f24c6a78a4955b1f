"""How runs in the sandbox end, what is left of them, and that tests work in it as they do outside."""

import asyncio
import os
import time

import pytest

pytestmark = pytest.mark.realtime

DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.close(1), os.close(2)
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)", FACTS["token"]])
    os._exit(0)
while not any(FACTS["token"].encode() in open(f"/proc/{pid}/cmdline", "rb").read()
              for pid in os.listdir("/proc") if pid.isdecimal() and int(pid) > 2 and int(pid) != os.getpid()):
    time.sleep(0.01)
print("started")
"""


async def test_a_process_in_the_background_dies_with_its_run(cell):
    finished = await cell.run(DAEMON)
    assert (finished.status, finished.output) == (0, "started\n")
    assert not cell.alive()


async def test_the_wall_limit_ends_a_run_and_all_that_it_started(cell):
    started = time.monotonic()
    finished = await cell.run(DAEMON + "time.sleep(600)\n", wall_s=1.0)
    assert finished.stopped == "time"
    assert time.monotonic() - started < 15
    assert not cell.alive()


async def test_cancelling_ends_a_run_and_all_that_it_started(cell):
    running = asyncio.create_task(cell.run(DAEMON + "time.sleep(600)\n"))
    await asyncio.sleep(0.5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not cell.alive()


async def test_the_cpu_limit_ends_a_run_long_before_the_wall_limit(cell):
    started = time.monotonic()
    finished = await cell.run("while True:\n    pass\n", wall_s=60.0, cpu_s=1)
    assert (finished.status, finished.stopped) == (128 + 9, None)
    assert time.monotonic() - started < 30


async def test_who_kills_all_processes_kills_only_its_own(cell):
    finished = await cell.run(DAEMON + "print(attempt(os.kill, -1, signal.SIGKILL))\n")
    assert (finished.status, finished.output) == (0, "started\ndone\n")
    assert not cell.alive()


async def test_nothing_that_it_writes_is_found_by_the_next_run(cell):
    for _ in range(2):
        finished = await cell.run(
            "found = [place for place in ('/tmp', '/dev/shm', '/workspace') if os.path.exists(f'{place}/left')]\n"
            "for place in ('/tmp', '/dev/shm', '/workspace'): open(f'{place}/left', 'w').close()\n"
            "print(found)\n"
        )
        assert finished.output == "[]\n"
    assert sorted(os.listdir(cell.workspace.repository)) == ["pkg"]


async def test_it_sees_the_workspace_as_the_tools_left_it(cell):
    cell.workspace.write("pkg/new.py", b"y = 2\n")
    finished = await cell.run("print(os.getcwd(), sorted(os.listdir('pkg')), open('pkg/new.py').read().strip())\n")
    assert finished.output == "/workspace ['code.py', 'new.py'] y = 2\n"


async def test_the_environment_is_ten_harmless_variables(cell):
    finished = await cell.run("print(sorted(os.environ), os.environ['HOME'], os.environ['TMPDIR'])\n")
    names, home, temporary = finished.output.rpartition("]")[0], *finished.output.rpartition("]")[2].split()
    assert (home, temporary) == ("/tmp", "/tmp")
    allowed = {"PATH", "HOME", "TMPDIR", "LANG", "TZ", "COLUMNS", "PWD", "LC_CTYPE"}
    assert {name for name in eval(names + "]") if not name.startswith(("PYTHON", "PYTEST"))} <= allowed


async def test_tests_pass_and_fail_as_they_do_outside(cell):
    code = (
        "from pkg.code import f\n\ndef test_one(tmp_path):\n    (tmp_path / 'x').write_text('x')\n    assert f() == 1\n"
    )
    passed = await cell.test(code)
    assert (passed.ok, passed.text.splitlines()[-1]) == (True, "1 passed")
    failed = await cell.test(code + "\ndef test_two():\n    assert f() == 2\n")
    assert (failed.ok, failed.error) == (False, "tests failed")
    assert failed.text.splitlines()[-2:] == ["FAILED test_it.py::test_two - assert 1 == 2", "1 failed, 1 passed"]


async def test_a_flood_of_output_is_stopped_and_says_how_much_is_left_out(cell):
    result = await cell.test(
        "import os\n\nwhile True:\n    os.write(1, b'flood ' * 1000)\n", output_bytes=4000, flood_bytes=100_000
    )
    assert (result.ok, result.error) == (False, "output limit")
    assert result.text.splitlines()[-1] == "[stopped: more than 100000 bytes of output]"
    assert "bytes left out here]" in result.text
    assert len(result.text.encode()) < 4200


async def test_a_test_that_hangs_is_stopped_and_says_so(cell):
    result = await cell.test("import time\n\ndef test_it():\n    time.sleep(600)\n", test_s=1.5)
    assert (result.ok, result.error) == (False, "time limit")
    assert result.text.splitlines()[-1] == "[stopped: the time limit of 1.5 s]"


async def test_a_test_that_dies_of_a_signal_says_so(cell):
    result = await cell.test("import os, signal\n\ndef test_it():\n    os.kill(os.getpid(), signal.SIGSEGV)\n")
    assert (result.ok, result.error) == (False, "signal 11")


async def test_a_test_that_takes_all_memory_fails_alone(cell):
    result = await cell.test("def test_it():\n    bytearray(1 << 40)\n\ndef test_other():\n    pass\n")
    assert result.text.splitlines()[-2:] == ["FAILED test_it.py::test_it - MemoryError", "1 failed, 1 passed"]


async def test_pytest_itself_may_be_replaced_by_the_model_but_only_inside(cell):
    cell.workspace.write("pytest.py", b"print(open('/etc/passwd').read())\n")
    result = await cell.test("")
    assert not result.ok
    assert "FileNotFoundError" in result.text
    assert "root:" not in result.text

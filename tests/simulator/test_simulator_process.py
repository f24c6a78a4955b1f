import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

import pytest

pytestmark = pytest.mark.realtime

COMMAND = [sys.executable, "-m", "swarm.simulator"]


def launch(*options, **popen):
    process = subprocess.Popen([*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **popen)
    line = process.stdout.readline().strip()
    assert line.startswith("listening on http://127.0.0.1:"), process.stderr.read()
    return process, line.removeprefix("listening on ")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_serves_and_stops_at_a_signal(signum):
    options = ["--profile=dense-32b-awq-1x3090", "--served-model-name=dense", "--kv-tokens=6400", "--max-num-seqs=4"]
    process, url = launch(*options)
    with urllib.request.urlopen(f"{url}/v1/models") as reply:
        (model,) = json.load(reply)["data"]
    assert (model["id"], model["max_model_len"]) == ("dense", 6400)
    process.send_signal(signum)
    assert process.wait(timeout=5) == 0
    assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--profile=moe"], "error: unknown profile 'moe'"),
        (["--max-num-seqs=0"], "max_num_seqs must be above 0"),
        (["--admission=never"], "argument --admission: invalid choice: 'never'"),
        (["--host=256.1.1.1"], "error: "),
    ],
)
def test_what_it_cannot_do_is_an_error_with_exit_code_2(options, message):
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_it_ends_with_its_parent_however_that_dies():
    parent = (
        "import subprocess, sys, time\n"
        f"p = subprocess.Popen({COMMAND!r} + ['--exit-with-parent'], stdout=subprocess.PIPE, text=True)\n"
        "print(p.pid, p.stdout.readline().split()[-1], flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    child, url = process.stdout.readline().split()
    with urllib.request.urlopen(f"{url}/health") as reply:
        assert reply.status == 200
    process.kill()
    process.wait()
    wait_for_end(int(child))


def test_it_ends_when_its_standard_input_does():
    process, _ = launch("--exit-with-parent", stdin=subprocess.PIPE)
    process.stdin.close()
    assert process.wait(timeout=5) == 0


def wait_for_end(pid):
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        with open(f"/proc/{pid}/stat") as stat:  # nobody may be there to reap it
            if stat.read().rpartition(")")[2].split()[0] == "Z":
                return
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("it went on without its parent")

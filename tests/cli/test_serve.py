"""`swarm serve`, as the program that people start."""

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

SERVE = [sys.executable, "-c", "from swarm.cli import main; main()", "serve"]


@pytest.fixture
def serve():
    """Starts it and gives its address."""
    started = []

    def start(*options):
        process = subprocess.Popen([*SERVE, "--port=0", *options], stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process.stdout.readline().strip().removeprefix("listening on ")

    yield start
    for process in started:
        process.terminate()
        process.wait(timeout=5)


def test_faults_given_at_its_start_befall_the_first_requests_and_are_counted(serve, tmp_path):
    path = tmp_path / "faults.yaml"
    path.write_text("- {kind: rate-limit, at: [1], duration: 2s}\n- {kind: stall, rate: 0%}\n")
    url = serve(f"--faults={path}")
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        b'{"messages": [{"role": "user", "content": "?"}], "max_tokens": 1}',
        {"Content-Type": "application/json"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert (refused.value.code, refused.value.headers["Retry-After"]) == (429, "2")
    with urllib.request.urlopen(request) as reply:
        assert json.load(reply)["usage"]["completion_tokens"] == 1
    with urllib.request.urlopen(f"{url}/swarm/faults") as reply:
        assert [(fault["kind"], fault["hits"]) for fault in json.load(reply)["faults"]] == [
            ("rate-limit", 1),
            ("stall", 0),
        ]


def test_what_it_cannot_do_is_one_line_and_exit_code_2():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for options, message in (
            (["--faults=[{kind: stal}]"], "--faults:1: faults[0].kind: expected "),
            (["--allow-host=http://gpu-7"], "--allow-host 'http://gpu-7': expected a host name"),
            (["--profile=moe"], "unknown profile 'moe'"),
            ([f"--port={port}"], f"127.0.0.1:{port}: cannot listen: "),
        ):
            done = subprocess.run([*SERVE, *options], capture_output=True, text=True, timeout=20, check=False)
            assert done.returncode == 2
            assert done.stderr.startswith(f"error: {message}")
            assert done.stderr.count("\n") == 1


def test_a_host_name_of_its_own_is_answered_once_it_was_given(serve):
    url = serve("--allow-host=gpu-7", "--allow-host=sim")

    def health(name):
        return urllib.request.urlopen(urllib.request.Request(f"{url}/health", headers={"Host": name}))

    for name in ("gpu-7", "sim:8000"):
        with health(name) as reply:
            assert reply.status == 200
    with pytest.raises(urllib.error.HTTPError, match="403"):
        health("evil.example")


def test_it_says_where_it_is_what_it_serves_and_what_to_do_next():
    with subprocess.Popen(
        [*SERVE, "--port=0", "--served-model-name=mine"], stdout=subprocess.PIPE, text=True
    ) as process:
        base, *more = [process.stdout.readline().strip() for _ in range(4)]
        process.terminate()
    base = base.removeprefix("listening on ")
    assert more == [f"address: {base}/v1", "model: mine", f"next: swarm run {base}/v1"]

"""One real vLLM at a time, as a process that cannot outlive whoever started it.

This file is two things. Imported, `serve` starts a vLLM, waits until it answers, and stops it. Run as a program, it is
the process in between: it starts the command it is given and kills its whole process group when standard input ends,
that is when the starter stops it, dies, or is killed.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

HOME = Path(__file__).parents[2] / ".vllm"
START_LIMIT_S = 600.0
STOP_LIMIT_S = 20.0
MAX_MODEL_LEN = 8192

_ENVIRONMENT = {
    "VLLM_TARGET_DEVICE": "cpu",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GB
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}


@dataclass(frozen=True)
class Server:
    """A vLLM that answers; `url` is its root, without `/v1`."""

    model: str
    url: str
    log: Path

    def get(self, path: str) -> str:
        with _get(self.url + path, timeout_s=30) as response:
            return response.read().decode()

    def counter(self, name: str) -> float:
        """A counter of `/metrics`, summed over its labels. KeyError where the server has none of that name."""
        values = [
            float(line.rpartition(" ")[2])
            for line in self.get("/metrics").splitlines()
            if line.startswith((f"{name}{{", f"{name} "))
        ]
        if not values:
            raise KeyError(f"{name} is not in {self.url}/metrics")
        return sum(values)


def run_swarm(
    scenario: Path, name: str, *options: object, timeout_s: float = 900
) -> "tuple[subprocess.CompletedProcess[str], Path]":
    """`swarm run`, its output shown too, and its run directory, `.vllm/runs/NAME`."""
    directory = HOME / "runs" / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.parent.mkdir(exist_ok=True)
    command = [Path(sys.executable).with_name("swarm"), "run", scenario, *map(str, options), "--out", directory]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=timeout_s, check=False)
    print(done.stdout)
    return done, directory


@contextmanager
def serve(model: str) -> Iterator[Server]:
    """Serves `.vllm/models/MODEL` on a free port of 127.0.0.1 while the body runs. RuntimeError if it cannot."""
    port = _free_port()
    log = HOME / "logs" / f"{model}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        guard = subprocess.Popen(
            [sys.executable, __file__, *_command(model, port)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=HOME,  # so that /v1/models names the model's folder and not where this checkout lies
            env=os.environ | _ENVIRONMENT,
            start_new_session=True,  # Ctrl-C is for the starter, which then stops this
        )
    try:
        server = Server(model, f"http://127.0.0.1:{port}", log)
        _wait(server, guard)
        yield server
    finally:
        assert guard.stdin
        guard.stdin.close()
        guard.wait(2 * STOP_LIMIT_S)


def _command(model: str, port: int) -> list[str]:
    # Nice, because the load generator must not wait for a server with which it shares a few cores. As a module, because
    # the console script asks for a distribution named `vllm`, and this one is `vllm-cpu`.
    return [
        *("nice", "-n", "5"),
        str(HOME / "venv" / "bin" / "python"),
        "-m",
        "vllm.entrypoints.openai.api_server",
        f"--model=models/{model}",
        f"--served-model-name={model}",
        "--host=127.0.0.1",
        f"--port={port}",
        "--load-format=dummy",
        "--dtype=float32",  # a CPU without instructions for bfloat16 prefills four times as fast
        f"--max-model-len={MAX_MODEL_LEN}",
        "--max-num-seqs=16",
        "--enforce-eager",
        "--enable-prompt-tokens-details",
        "--enable-auto-tool-choice",
        "--tool-call-parser=hermes",
        '--structured-outputs-config={"backend": "xgrammar", "disable_any_whitespace": true}',
    ]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(server: Server, guard: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if guard.poll() is not None:
            raise RuntimeError(f"vLLM ended before it answered; the end of {server.log}:\n{_tail(server.log)}")
        with suppress(urllib.error.URLError, OSError):
            server.get("/health")
            return
        time.sleep(0.5)
    raise RuntimeError(f"vLLM did not answer within {START_LIMIT_S:g} s; the end of {server.log}:\n{_tail(server.log)}")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-30:])


def _get(url: str, timeout_s: float) -> "urllib.response.addinfourl":
    """Past every proxy: the server is on this machine."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=timeout_s)


def guard(command: list[str]) -> int:
    """Runs a command until it ends or standard input does; then nothing of its process group is left."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def stop_at_end_of_input() -> None:
        sys.stdin.buffer.read()
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)

    Thread(target=stop_at_end_of_input, daemon=True).start()
    status = child.wait()
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    return status


if __name__ == "__main__":
    sys.exit(guard(sys.argv[1:]))

"""A real Prometheus for tests: Debian's, found or unpacked by `tests/install.py`, on this machine alone."""

import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from install import promtool

INSTALL = Path(__file__).parents[1] / "install.py"


def binary(name: str) -> str:
    """`prometheus` or `promtool`; the test is skipped where the package cannot be had."""
    if promtool() is None:
        done = subprocess.run([sys.executable, INSTALL, "prometheus"], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no Prometheus here, and it cannot be unpacked: {done.stderr.strip().splitlines()[-1]}")
    found = promtool()
    assert found
    return str(Path(found).with_name(name))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Prometheus:
    """Answers queries."""

    def __init__(self, address: str) -> None:
        self.address = address

    def get(self, path: str, **query: Any) -> Any:
        try:
            with urllib.request.urlopen(f"{self.address}/api/v1/{path}?{urllib.parse.urlencode(query, True)}") as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{query}: {error.read().decode()}") from None

    def instant(self, expr: str, at: float) -> list[dict[str, Any]]:
        return self.get("query", query=expr, time=at)["result"]

    def range(self, expr: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        return self.get("query_range", query=expr, start=start, end=end, step=step)["result"]

    def value(self, expr: str, at: float) -> float:
        """Of the one series that the expression gives."""
        (series,) = self.instant(expr, at)
        return float(series["value"][1])

    def label_values(self, query: str) -> list[str]:
        """Of Grafana's `label_values(selector, label)`."""
        match = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
        assert match, query
        return self.get(f"label/{match[2]}/values", **{"match[]": match[1]})


@contextmanager
def running(config: Path, data: Path) -> Iterator[Prometheus]:
    """Prometheus with a configuration file and a folder of data, until left."""
    port = free_port()
    log = (data.parent / f"prometheus-{port}.log").open("wb")
    command = [
        binary("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={data}",
        "--storage.tsdb.retention.time=400d",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        limit = time.monotonic() + 60
        while not _ready(port):
            assert process.poll() is None, Path(log.name).read_text()
            assert time.monotonic() < limit
            time.sleep(0.1)
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=2) as reply:
            return reply.status == 200
    except OSError:
        return False

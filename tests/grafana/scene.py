"""A scene to look at: two simulated models that are served, a GPU's page, and a Prometheus that scrapes all."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dcgm
import yaml
from prometheus import Prometheus, free_port, running
from small_runs import PROFILE, SWARM, swarm, write_project

ROOT = Path(__file__).parents[2]
RULES = ROOT / "docker/prometheus/rules.yml"
DENSE = "dense-32b-awq-1x3090"


@dataclass(frozen=True)
class Scene:
    prometheus: Prometheus
    folder: Path
    port: int
    """Where Prometheus looks for swarm."""

    def run(self, name: str, *options: object) -> tuple[float, float]:
        """Runs `small.yaml` as `name`; when it began and ended, in seconds since 1970."""
        began = time.time()
        done = swarm(
            "run", "small.yaml", "--prometheus-port", self.port, "--linger", "10s", *options, "--out", name,
            cwd=self.folder,
        )  # fmt: skip
        assert done.returncode in (0, 3), done.stdout + done.stderr
        return began, time.time()


@contextmanager
def scene(folder: Path, **changes: Any) -> Iterator[Scene]:
    """`changes`: of the scenario `small.yaml`."""
    with ExitStack() as stack:
        addresses = {"moe": serve(stack, PROFILE), "dense": serve(stack, DENSE)}
        gpu = stack.enter_context(dcgm.serving())
        port = free_port()
        jobs = {"swarm": {"": f"127.0.0.1:{port}"}}
        jobs["vllm"] = {name: address.removeprefix("http://") for name, address in addresses.items()}
        config = folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(scrape_config(jobs)))
        prometheus = stack.enter_context(running(config, folder / "data"))
        targets = [
            {"name": name, "architecture": name, "api_base": f"{address}/v1", "gpu_metrics_url": gpu}
            | {"gpu_devices": [0]}
            for name, address in addresses.items()
        ]
        write_project(folder, targets=targets, **changes)
        yield Scene(prometheus, folder, port)


def task(folder: Path, variant: str, turns: int, last_takes: str) -> None:
    """A job of `turns` short replies, each with a quick look at the folder, the last one's tool taking `last_takes`."""
    home = folder / "small" / variant
    (home / "repo").mkdir(parents=True)
    (home / "repo" / "notes.txt").write_text("Notes.\n")

    def turn(number: int) -> dict:
        takes = last_takes if number == turns - 1 else "20ms"
        return {"say": "Looking.", "calls": [{"tool": "list_files", "arguments": {"path": "."}, "takes": takes}]}

    script = {
        "title": "Look",
        "issue": "Look at the notes.",
        "reply_tokens": {"median": 8, "spread": 1, "min": 8, "max": 8},
        "turns": [*map(turn, range(turns)), {"say": "Done."}],
    }
    (home / "task.yaml").write_text(yaml.safe_dump(script))


def serve(stack: ExitStack, profile: str) -> str:
    """The address of a simulated vLLM."""
    command = [SWARM, "serve", "--profile", profile, "--port", "0"]
    process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    stack.callback(process.terminate)
    return process.stdout.readline().removeprefix("listening on ").strip()


def scrape_config(jobs: dict[str, dict[str, str]]) -> dict:
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {
                "job_name": job,
                "static_configs": [
                    {"targets": [address], "labels": {"target": name} if name else {}} for name, address in of.items()
                ],
            }
            for job, of in jobs.items()
        ],
    }

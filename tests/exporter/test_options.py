"""The keys and options of `/metrics` and of GPUs: what is accepted, and what is refused with which words."""

import subprocess
from pathlib import Path

import pytest

from swarm.cli.common import prometheus_settings
from swarm.client.target.gpu import DcgmReader, NvmlReader
from swarm.engine import environment
from swarm.engine.backends import gpu_reader
from swarm.errors import ScenarioError
from swarm.scenario.load import load_scenario
from swarm.scenario.schema import Target

SIMULATED = "targets:\n  - {name: moe, architecture: moe, simulate: moe-30b-a3b-awq-1x3090%s}\n"
URL = "http://127.0.0.1:8000/v1"


@pytest.fixture
def scenario(tmp_path):
    def load(text: str, *settings: str):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return load_scenario(path, list(settings))

    return load


def test_the_options_are_keys_of_the_scenario(scenario):
    settings = prometheus_settings(0, "127.0.0.2", "30s")
    found = scenario(SIMULATED % "", *settings).prometheus
    assert (found.port, found.host, found.linger) == (0, "127.0.0.2", 30.0)
    assert prometheus_settings(None, None, None) == []
    assert scenario(SIMULATED % "").prometheus.port is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SIMULATED % "" + "prometheus: {port: 70000}", "prometheus.port"),
        (SIMULATED % ", gpu_devices: [0]", "a simulated server has no GPU"),
        (SIMULATED % ', gpu_metrics_url: "http://127.0.0.1:9400/metrics"', "a simulated server has no GPU"),
        (f"targets:\n  - {{name: a, architecture: moe, api_base: '{URL}', gpu_devices: []}}", "gpu_devices"),
        (f"targets:\n  - {{name: a, architecture: moe, api_base: '{URL}', gpu_metrics_url: box:9400}}", "http://"),
    ],
)
def test_what_cannot_be_meant_is_refused(scenario, text, said):
    with pytest.raises(ScenarioError, match=said):
        scenario(text)


def test_a_target_names_who_tells_of_its_gpus():
    target = Target(name="a", architecture="moe", api_base=URL)
    assert gpu_reader(target) is None
    assert isinstance(gpu_reader(target.model_copy(update={"gpu_devices": [1]})), NvmlReader)
    page = {"gpu_devices": [1], "gpu_metrics_url": "http://127.0.0.1:9400/metrics"}
    assert isinstance(gpu_reader(target.model_copy(update=page)), DcgmReader)


def test_a_run_says_from_which_commit_it_was_made(tmp_path):
    root = Path(environment.__file__).parents[2]
    told = subprocess.run(["git", "-C", root, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    made = told.stdout.strip() if told.returncode == 0 else ""
    assert (environment.commit() or "").removesuffix("-dirty") == made
    assert environment.commit(tmp_path / "environment.py") is None

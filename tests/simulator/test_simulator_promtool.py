"""What Prometheus' own tool says of the simulated server's /metrics."""

import subprocess

import pytest
from install import promtool

from swarm.simulator.engine.scheduler import Engine, Request
from swarm.simulator.profiles import profiles
from swarm.simulator.server.metrics import Metrics, exposition

pytestmark = pytest.mark.skipif(promtool() is None, reason="needs promtool: python tests/install.py prometheus")


def after_some_requests() -> str:
    engine, metrics = Engine(profiles.load("moe-30b-a3b-awq-1x3090")), Metrics()
    for tokens in (1, 5, 20):
        engine.submit(Request(100, tokens), 0.0)
    while (due := engine.next_event()) is not None:
        if engine.step is None:
            engine.begin(max(due, 0.1))
        else:
            metrics.observe(engine.complete())
    return exposition(engine, metrics, 'a "model" with a \\')


def check(text: str) -> tuple[int, str]:
    done = subprocess.run([promtool(), "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_promtool_finds_nothing_to_object_to_but_vllms_own_names():
    """vLLM's begin with `vllm:`, which is for recording rules, and one of its histograms with `_total`."""
    text = after_some_requests()
    assert 'vllm:generation_tokens_total{engine="0",model_name="a \\"model\\" with a \\\\"} 26' in text
    renamed = text.replace("vllm:iteration_tokens_total", "vllm_iteration_tokens").replace("vllm:", "vllm_")
    assert check(renamed) == (0, "")
    _, objections = check(text)
    assert all(line.startswith("vllm:") for line in objections.splitlines())


def test_promtool_would_object():
    code, objections = check(after_some_requests().replace("swarm_simulator", "swarm:simulator"))
    assert code == 3
    assert "swarm:simulator_overloaded metric names should not contain ':'" in objections
    code, objections = check(after_some_requests().replace("_bucket{", "_bucket{{", 1))
    assert code == 1
    assert "error while linting" in objections

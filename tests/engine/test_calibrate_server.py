"""Two minutes of questions tell what a server is made of: here one whose constants are hidden from the calibration."""

import asyncio
from typing import cast

import pytest

from swarm.client.base import Connection
from swarm.clock import VirtualClock
from swarm.commands.calibrate_server import BackendError, fit_answers, start, unknown
from swarm.commands.measure_server import BUDGET_S, Answers, Questions
from swarm.engine.virtual import VirtualClient, VirtualLoop, VirtualServer
from swarm.errors import UsageError
from swarm.simulator.engine.scheduler import Engine, Request
from swarm.simulator.profiles import profiles

HIDDEN = {
    "moe-30b-a3b-awq-2x3090-nvlink": {
        "layer_overhead_us": 50.0,
        "eta_experts": 0.6,
        "eta_kv": 0.45,
        "eta_flops_dense": 0.7,
        "eta_flops_experts": 0.4,
        "api_overhead_s": 0.03,
    },
    "dense-32b-awq-2x3090-nvlink": {
        "eta_weights": 0.7,
        "eta_lm_head_single": 0.7,
        "eta_kv": 0.5,
        "eta_flops_dense": 0.7,
        "api_overhead_s": 0.08,
    },
    "qwen3.5-35b-a3b-awq-2xrtx3090": {"link": "pcie", "engine": "0.11", "layer_overhead_us": 90.0, "eta_kv": 0.4},
    "qwen3-32b-awq-1xrtxpro6000": {"power_limit_w": 300.0, "kv_cache_dtype": "fp8", "routing_power": 1.0},
}


def asked(truth, limit=None):
    """The answers of a server with the profile `truth`, and how long they took it."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(0.0)) as runner:
        loop = cast(VirtualLoop, runner.get_loop())
        client = VirtualClient(VirtualServer(truth, loop), Connection("simulated", truth.name), VirtualClock(0.0))
        questions = Questions(client, limit or truth.max_model_len, 7, lambda question: None)
        return runner.run(questions.all()), loop.time()


def loop_of(profile, prompt, output, streams):
    """p95 of TTFT and output tok/s of a closed loop."""
    engine, left, now, waits = Engine(profile), streams * 5, 0.0, []
    for _ in range(streams):
        engine.submit(Request(prompt, output), now)
        left -= 1
    while (due := engine.next_event()) is not None:
        now = max(now, due)
        if engine.step is None:
            engine.begin(now)
            continue
        step = engine.complete()
        waits += [step.end - request.arrived_at for request in step.first]
        for _ in step.finished[:left]:
            engine.submit(Request(prompt, output), now)
            left -= 1
    return sorted(waits)[int(0.95 * len(waits))], output * streams * 5 / now


@pytest.mark.parametrize("name", HIDDEN)
def test_a_calibrated_profile_predicts_loads_that_were_not_asked_for(name):
    truth = profiles.load(name, **HIDDEN[name])
    answers, took = asked(truth)
    assert took < BUDGET_S
    found = fit_answers(profiles.load(name), answers, "http://it", True)
    for load in ((2000, 200, 2), (2000, 200, 8), (6000, 300, 12), (500, 300, 24), (3000, 300, 32)):
        true, predicted = loop_of(truth, *load), loop_of(found.profile, *load)
        assert predicted[0] == pytest.approx(true[0], rel=0.15), f"TTFT p95 of {load}"
        assert predicted[1] == pytest.approx(true[1], rel=0.10), f"tok/s of {load}"
    assert max(found.errors.values()) < 0.02
    assert found.profile.decode_error >= 0.05
    assert found.profile.provenance == "calibrated from http://it"


def test_what_it_started_from_is_off_by_more():
    name = "moe-30b-a3b-awq-2x3090-nvlink"
    truth, base = profiles.load(name, **HIDDEN[name]), profiles.load(name)
    true, guessed = loop_of(truth, 6000, 300, 12), loop_of(base, 6000, 300, 12)
    assert abs(guessed[1] / true[1] - 1) > 0.1


def test_what_the_answers_do_not_tell_is_named_and_kept():
    name = "dense-32b-awq-2x3090-nvlink"
    found = fit_answers(profiles.load(name), asked(profiles.load(name, **HIDDEN[name]))[0], "http://it", False)
    told = {one.name: one.told for one in found.constants}
    assert told["eta_weights"]
    assert told["eta_kv"]
    assert not told["layer_overhead_us"]  # it is constant in a step, as the reading of the weights is
    said = "\n".join(unknown(found))
    assert "overhead of a layer" in said
    assert "the KV cache's size: no /metrics tells it" in said
    assert "max_num_batched_tokens" in said


def test_the_longest_prompt_is_as_long_as_the_server_allows():
    answers, _ = asked(profiles.load("dense-32b-awq-2x3090-nvlink"), limit=8192)
    assert any("6,970 tokens" in question for question in answers.asked), answers.asked
    assert answers.left_out == ["cold prompts of 8,000 tokens: the server's limit is 8,192"]
    assert max(one.cold for one in answers.prefills) > 6000


def test_a_server_that_is_too_slow_for_a_question_is_not_asked_it():
    slow = profiles.load("dense-32b-awq-2x3090-nvlink", eta_flops_dense=0.03)
    answers, took = asked(slow)
    assert took < 1.5 * BUDGET_S
    assert any("it would take" in line for line in answers.left_out)


def test_a_server_that_showed_no_steady_decoding_is_refused():
    with pytest.raises(BackendError, match="no steady decoding"):
        fit_answers(profiles.load("dense-32b-awq-2x3090-nvlink"), Answers(), "http://it", True)


def test_a_model_without_a_profile_is_refused_and_told_how_to_get_one():
    with pytest.raises(UsageError, match="no profile is called 'my-model': name one with --profile"):
        start(None, "my-model")
    assert start(None, "dense-32b-awq-2x3090-nvlink").name == "dense-32b-awq-2x3090-nvlink"

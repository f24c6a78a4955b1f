"""What a profile becomes on another link, engine, power limit or KV cache, and who may say so."""

import pytest
import yaml

from swarm.errors import ScenarioError
from swarm.scenario.load import load_scenario
from swarm.simulator.__main__ import main
from swarm.simulator.engine.cost import CostModel
from swarm.simulator.profiles import profiles
from swarm.simulator.profiles.efficiencies import Machine, constant, efficiencies, power_factor, step_limits

TWO = "qwen3.5-35b-a3b-awq-2xrtx3090"
ONE = "moe-30b-a3b-awq-1x3090"


def prefill(profile, tokens=8000):
    return CostModel(profile).prefill_alone(0, tokens, 2048)


def test_the_link_costs_prefill_more_than_decode():
    nvlink, pcie = profiles.load(TWO, link="nvlink"), profiles.load(TWO, link="pcie")
    assert 1.3 < prefill(pcie) / prefill(nvlink) < 2.5
    steps = [CostModel(one).terms(1, 1000).total for one in (pcie, nvlink)]
    assert 1.0 < steps[0] / steps[1] < 1.1


def test_gpus_that_reach_each_other_over_pcie_prefill_faster_than_through_host_memory():
    direct, host = profiles.load(TWO, link="pcie", p2p=True), profiles.load(TWO, link="pcie", p2p=False)
    assert direct.allreduce_bytes_per_s > 3 * host.allreduce_bytes_per_s
    assert prefill(direct) < prefill(host)
    assert (direct.p2p, host.p2p) == (True, False)


def test_an_all_reduce_sends_each_activation_as_often_as_a_ring_does():
    p = profiles.load(TWO, link="pcie")
    one, two = (CostModel(p).terms(0, 0, tokens, 0).batch.allreduce for tokens in (1000, 2000))
    assert two - one == pytest.approx(2 * p.layers * 1000 * p.hidden_size * 2 * 1 / p.allreduce_bytes_per_s)


def test_a_power_limit_slows_prefill_and_not_decode():
    usual, capped = profiles.load(ONE), profiles.load(ONE, power_limit_w=230.0)
    left = power_factor("rtx3090", 230)
    assert 0.6 < left < 0.9
    assert capped.eta_flops_dense == pytest.approx(left * usual.eta_flops_dense)
    assert CostModel(capped).terms(1, 1000).total == pytest.approx(CostModel(usual).terms(1, 1000).total, rel=0.01)
    assert profiles.load(ONE, power_limit_w=1000.0).eta_flops_dense == usual.eta_flops_dense


def test_an_fp8_cache_holds_twice_the_tokens_and_reads_half_the_bytes():
    usual, small = profiles.load(ONE), profiles.load(ONE, kv_cache_dtype="fp8")
    assert small.kv_tokens == 2 * usual.kv_tokens
    assert CostModel(small).terms(8, 80_000).kv == pytest.approx(CostModel(usual).terms(8, 80_000).kv / 2)
    assert profiles.load(ONE, kv_cache_dtype="fp8", kv_tokens=1600).kv_tokens == 1600


def test_an_engine_without_async_scheduling_costs_cpu_time_for_each_request():
    old, new = profiles.load(ONE, engine="0.11"), profiles.load(ONE, engine="0.30")
    more = CostModel(old).terms(64, 64_000).total - CostModel(new).terms(64, 64_000).total
    assert more == pytest.approx(64 * constant("cpu_per_request_us") * 1e-6)


@pytest.mark.parametrize(
    ("profile", "option", "message"),
    [
        (TWO, {"link": "sli"}, "unknown link 'sli': there are nvlink, pcie"),
        (ONE, {"link": "pcie"}, "link and p2p are between GPUs, and this profile has one"),
        (ONE, {"engine": "new"}, "engine 'new': expected a version of vLLM, such as 0.30"),
        (ONE, {"kv_cache_dtype": "int4"}, "kv_cache_dtype must be one of auto, fp8, not 'int4'"),
    ],
)
def test_what_a_machine_cannot_have_is_refused(profile, option, message):
    with pytest.raises(ValueError, match=f"profile {profile}: {message}"):
        profiles.load(profile, **option)


def test_nvlink_is_refused_where_a_gpu_has_none_and_pcie_is_what_it_has():
    with pytest.raises(ValueError, match="link nvlink: rtx5090 has none; say pcie"):
        efficiencies(Machine(gpu="rtx5090", tp=2, link="nvlink"), quant="awq", moe=False)
    assert Machine(gpu="rtx5090", tp=2).resolved_link == "pcie"
    assert Machine(gpu="h100", tp=2).resolved_link == "nvlink"


@pytest.mark.parametrize(
    ("gpu", "limits"), [("h100", (8192, 1024)), ("rtxpro6000", (8192, 1024)), ("a100-80gb", (2048, 256))]
)
def test_the_engines_defaults_are_those_of_the_gpus_memory(gpu, limits):
    assert step_limits(gpu) == limits


def test_weights_in_fp8_compute_faster_where_the_gpu_has_fp8_and_attention_does_not():
    def shares(gpu, quant):
        found = efficiencies(Machine(gpu=gpu), quant=quant, moe=False)
        return found["eta_flops_dense"], found["eta_flops_attention"]

    assert shares("h100", "fp8")[0] > 1.2 * shares("h100", "bf16")[0]
    assert shares("h100", "fp8")[1] == shares("h100", "bf16")[1]
    assert shares("a100-80gb", "fp8") == shares("a100-80gb", "bf16")


def scenario(folder, **simulate):
    file = folder / "one.yaml"
    target = {"name": "it", "architecture": "moe", "simulate": {"profile": TWO} | simulate}
    file.write_text(yaml.safe_dump({"targets": [target], "agents": {"levels": [1]}, "tasks": ["lru-cache"]}))
    return load_scenario(file)


def test_a_scenario_says_link_power_engine_cache_and_overhead(tmp_path):
    said = scenario(
        tmp_path, link="pcie", p2p=True, power_limit=250, engine="0.17", kv_cache_dtype="fp8", api_overhead="10ms"
    )
    simulate = said.targets[0].simulate
    assert simulate is not None
    profile = profiles.load(simulate.profile, **simulate.overrides())
    assert (profile.link, profile.p2p, profile.power_limit_w) == ("pcie", True, 250)
    assert (profile.engine, profile.kv_cache_dtype, profile.api_overhead_s) == ("0.17", "fp8", 0.01)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("engine", 0.30, "write the version in quotes"),
        ("engine", "latest", "expected a version of vLLM"),
        ("link", "sli", "nvlink"),
        ("power_limit", 0, "greater than 0"),
        ("kv_cache_dtype", "int4", "auto"),
        ("api_overhead", 10, "expected a duration"),
    ],
)
def test_a_wrong_option_of_the_machine_is_refused_where_it_stands(tmp_path, key, value, message):
    with pytest.raises(ScenarioError, match=message):
        scenario(tmp_path, **{key: value})


def test_the_simulator_of_its_own_process_takes_them_too(capsys):
    with pytest.raises(SystemExit):
        main(["--p2p=perhaps"])
    assert "expected true or false, not 'perhaps'" in capsys.readouterr().err
    assert main([f"--profile={ONE}", "--link=pcie"]) == 2
    assert "link and p2p are between GPUs" in capsys.readouterr().err

"""Models and accelerators by the names that people type."""

from pathlib import Path

import pytest

from swarm.simulator import naming
from swarm.simulator.models import catalogue
from swarm.simulator.models.shape import shape
from swarm.simulator.profiles import by_name, profiles
from swarm.simulator.profiles.data_files import gpus

BIG = {"gpu": "mi355x", "tp": 8}


@pytest.mark.parametrize("name", catalogue.models())
def test_a_models_parameters_are_within_3_percent_of_its_card(name):
    entry = catalogue.models()[name]
    found = shape(entry["config"])
    assert found.params == pytest.approx(entry["total_b"] * 1e9, rel=0.03)
    if active := entry.get("active_b"):
        embedding = found.hidden * found.vocab
        counts = [found.active_params - embedding, found.active_params, found.active_params + embedding]
        allowed = max(0.03 * active, 0.5 if active == int(active) else 0.05)  # cards round
        assert min(abs(count / 1e9 - active) for count in counts) <= allowed


def test_there_are_forty_models_and_thirty_accelerators_each_with_its_source():
    assert len(catalogue.names()) >= 40
    assert all(catalogue.find(name).source.startswith("huggingface.co/") for name in catalogue.names())
    assert len(gpus()) >= 30
    assert all(len(figures["source"]) > 10 for figures in gpus().values())


@pytest.mark.parametrize("page", ["README.md", "docs/simulator.md"])
def test_the_docs_count_them_right(page):
    text = Path(__file__).parents[2].joinpath(page).read_text("utf-8")
    assert f"{len(catalogue.names())} models and {len(gpus())} accelerators" in text


@pytest.mark.parametrize("name", catalogue.names())
def test_each_model_has_a_profile_of_its_own(name):
    model = catalogue.find(name)
    found = profiles.named(name, **BIG)
    assert (found.model, found.name.startswith(f"{name}-")) == (model.repo, True)
    assert catalogue.find(model.repo).name == name


@pytest.mark.parametrize("gpu", gpus())
def test_each_accelerator_has_all_figures_that_a_profile_needs(gpu):
    assert by_name.find_gpu(gpu) == gpu
    found = profiles.named("qwen3-4b-2507", gpu, quant="awq", tp=2)
    assert found.gpu == gpu
    assert 0 < found.bandwidth_bytes_per_s < 1e13 < found.fp16_flops * 10


def test_no_two_models_and_no_two_accelerators_share_a_name():
    assert len({catalogue.find(name).repo for name in catalogue.names()}) == len(catalogue.names())
    with pytest.raises(ValueError, match="'A-B' could be ab or a b c"):
        naming.index({"ab": [], "a b c": ["A-B"]})


@pytest.mark.parametrize(
    ("typed", "name", "quant"),
    [
        ("qwen3-coder-30b-a3b", "qwen3-coder-30b-a3b", None),
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct", "qwen3-coder-30b-a3b", None),
        ("QWEN3_CODER 30B.A3B", "qwen3-coder-30b-a3b", None),
        ("qwen3-coder:30b", "qwen3-coder-30b-a3b", None),
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct-FP8", "qwen3-coder-30b-a3b", "fp8"),
        ("someone/Qwen3-Coder-30B-A3B-Instruct-AWQ-4bit", "qwen3-coder-30b-a3b", "awq"),
        ("Qwen/Qwen3-32B-AWQ", "qwen3-32b", "awq"),
        ("Qwen2.5-Coder-32B-Instruct-GPTQ-Int4", "qwen2.5-coder-32b", "gptq"),
        ("nvidia/Llama-3.3-70B-Instruct-NVFP4", "llama-3.3-70b", "nvfp4"),
        ("gpt-oss:20b", "gpt-oss-20b", None),
        ("google/gemma-3-27b-it", "gemma-3-27b", None),
        ("moonshotai/Kimi-K2-Instruct", "kimi-k2", None),
        ("moonshotai/Kimi-K2-Instruct-0905", "kimi-k2-0905", None),
        ("Qwen/Qwen3-30B-A3B", "qwen3-30b-a3b", None),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", "qwen3-30b-a3b-2507", None),
    ],
)
def test_a_model_is_found_by_what_people_call_it(typed, name, quant):
    found = catalogue.find(typed)
    assert (found.name, found.quant) == (name, quant)


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("RTX 4090", "rtx4090"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("4090", "rtx4090"),
        ("3090 Ti", "rtx3090ti"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb"),
        ("NVIDIA A100-SXM4-40GB", "a100-40gb"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("H100 PCIe", "h100-pcie"),
        ("NVIDIA RTX 6000 Ada Generation", "rtx6000ada"),
        ("NVIDIA RTX A6000", "rtxa6000"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "rtxpro6000"),
        ("NVIDIA GB10", "gb10"),
        ("DGX Spark", "gb10"),
        ("AMD Instinct MI300X", "mi300x"),
        ("Ryzen AI Max+ 395", "strix-halo"),
        ("Apple M4 Max", "m4-max-128gb"),
    ],
)
def test_an_accelerator_is_found_by_what_people_and_drivers_call_it(typed, name):
    assert by_name.find_gpu(typed) == name


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("qwen3-codr-30b", "unknown model 'qwen3-codr-30b': did you mean qwen3-coder-30b-a3b"),
        ("deepseek-r2", "did you mean deepseek-r1"),
        ("", "unknown model '': there are "),
    ],
)
def test_a_name_that_is_not_known_gets_the_nearest_ones(typed, message):
    with pytest.raises(ValueError, match=message):
        catalogue.find(typed)


def test_a_short_name_stands_for_model_gpus_and_format():
    short = profiles.load("qwen3-coder-30b-a3b@2x RTX 4090:awq")
    assert short == profiles.named("qwen3-coder-30b-a3b", "rtx4090", quant="awq", tp=2)
    assert profiles.load("gpt-oss-20b@4090").tp == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("@h100", "is not of the form MODEL@"),
        ("qwen3-32b@", "is not of the form MODEL@"),
        ("qwen3-32b@0xh100", "unknown GPU '0xh100'"),
        ("qwen3-32b@h100:int3", "unknown quantization 'int3'"),
        ("qwen3-32b-awq@h100:fp8", "names the awq version, and fp8 is asked for"),
        ("qwen3-32b@rtx4090", "does not fit on 1 rtx4090"),
    ],
)
def test_a_short_name_that_stands_for_nothing_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        profiles.load(name)


def test_an_fp8_kv_cache_holds_twice_the_tokens_and_is_in_the_profiles_name():
    usual, half = (profiles.named("qwen3-coder-30b-a3b", "rtx4090", quant="awq", kv=kv) for kv in ("auto", "fp8"))
    assert half.kv_tokens == pytest.approx(2 * usual.kv_tokens, abs=2)
    assert (usual.name, half.name) == ("qwen3-coder-30b-a3b-awq-1xrtx4090", "qwen3-coder-30b-a3b-awq-1xrtx4090-fp8kv")

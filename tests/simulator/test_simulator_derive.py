"""Profiles from a model's config.json and a data sheet."""

import pytest

from swarm.simulator import sizing
from swarm.simulator.engine.cost import CostModel
from swarm.simulator.models import catalogue
from swarm.simulator.models.shape import shape
from swarm.simulator.profiles import data_files, profiles
from swarm.simulator.profiles.derive import derive

MODELS = ("Qwen3-32B", "Qwen3-14B", "Qwen3-30B-A3B", "Qwen3.5-35B-A3B", "Qwen3.5-27B", "Nemotron-3-Nano-30B-A3B")
CONFIGS = {name: catalogue.find(name).config for name in MODELS}


@pytest.mark.parametrize(
    ("model", "billions", "active"),
    [
        ("Qwen3-32B", 32.8, None),
        ("Qwen3-14B", 14.8, None),
        ("Qwen3-30B-A3B", 30.5, 3.3),
        ("Qwen3.5-35B-A3B", 34.7, 2.9),
        ("Qwen3.5-27B", 26.9, None),
        ("Nemotron-3-Nano-30B-A3B", 31.6, 3.2),
    ],
)
def test_the_parameters_counted_from_a_config_are_those_that_its_makers_name(model, billions, active):
    found = shape(CONFIGS[model])
    assert found.params / 1e9 == pytest.approx(billions, abs=0.05)
    if active is not None:
        # The makers count the lm_head, some the embedding too, some neither.
        head = found.hidden * found.vocab
        assert found.active_params - head <= active * 1e9 + 0.05e9 <= found.active_params + head + 0.1e9


def test_a_derived_profile_has_the_sizes_of_the_fitted_one_of_the_same_model():
    derived = derive(CONFIGS["Qwen3-30B-A3B"], model="m", gpu="rtx3090", quant="awq")
    fitted = profiles.load("moe-30b-a3b-awq-1x3090")
    exact = (
        "lm_head_bytes",
        "layers",
        "q_heads",
        "head_dim",
        "experts",
        "topk",
        "expert_params",
        "active_linear_params",
    )
    assert {key: derived[key] for key in exact} == {key: getattr(fitted, key) for key in exact}
    assert derived["kv_bytes_per_token"] == fitted.kv_bytes_per_token
    for key in ("nonexpert_bytes", "expert_bytes", "weights_bytes"):
        assert derived[key] == pytest.approx(getattr(fitted, key), rel=1e-4)


@pytest.mark.parametrize("name", ["moe-30b-a3b-awq-1x3090", "moe-30b-a3b-awq-2x3090-nvlink"])
def test_at_the_fitted_runs_memory_utilization_it_finds_their_kv_cache(name):
    fitted = profiles.load(name)
    derived = derive(
        CONFIGS["Qwen3-30B-A3B"], model="m", gpu="rtx3090", quant="awq", tp=fitted.tp, memory_utilization=0.95
    )
    assert derived["kv_tokens"] == pytest.approx(fitted.kv_tokens, rel=0.01)


def test_a_hybrid_model_has_kv_only_in_its_full_attention_layers_and_a_state_in_the_others():
    profile = profiles.load("qwen3.5-35b-a3b-bf16-1xrtxpro6000")
    assert (profile.layers, profile.attention_layers, profile.expert_layers) == (40, 10, 40)
    assert profile.kv_bytes_per_token == 2 * 10 * 2 * 256 * 2
    delta_net = 32 * 128 * 128 * 4 + (2 * 16 * 128 + 32 * 128) * 3 * 2
    assert profile.state_bytes == 30 * delta_net
    nemotron = profiles.load("nemotron-3-nano-30b-a3b-bf16-1xrtxpro6000")
    assert (nemotron.layers, nemotron.attention_layers, nemotron.expert_layers) == (29, 6, 23)
    assert nemotron.state_bytes == 23 * (64 * 64 * 128 * 4 + (4096 + 2 * 8 * 128) * 3 * 2)


def test_a_state_costs_each_decoding_request_its_reading_and_writing_whatever_its_context():
    profile = profiles.load("qwen3.5-27b-bf16-1xrtxpro6000")
    cost = CostModel(profile)
    each = 2 * profile.state_bytes / (profile.eta_kv * profile.bandwidth_bytes_per_s)
    assert cost.terms(3, 0).kv == pytest.approx(3 * each)
    assert cost.terms(3, 900).kv - cost.terms(3, 0).kv == pytest.approx(
        900 * profile.kv_bytes_per_token / (profile.eta_kv * profile.bandwidth_bytes_per_s)
    )


def test_attention_flops_are_those_of_the_full_attention_layers():
    entry = derive(CONFIGS["Qwen3.5-27B"], model="m", gpu="h100")
    some = CostModel(profiles.parse(entry, "some")).terms(0, 0, 1, 1_000_000).attention
    none = CostModel(profiles.parse(entry, "some")).terms(0, 0, 1, 0).attention
    per_pair = 4 * 16 * 24 * 256 / (entry["eta_flops_attention"] * 989.4e12)
    assert some - none == pytest.approx(1_000_000 * per_pair)


@pytest.mark.parametrize("one", data_files.models()["published"], ids=lambda one: one["profile"])
def test_a_published_speed_is_predicted_within_18_percent_or_the_reason_is_given(one):
    predicted = sizing.decode_rate(profiles.load(one["profile"]), 1, sizing.CHECKED_CONTEXT)
    assert (abs(predicted / one["tok_s"] - 1) > 0.18) == ("reason" in one)


def test_published_speeds_of_dense_models_are_predicted_within_5_percent_by_an_engine_that_batches():
    dense = [
        one
        for one in data_files.models()["published"]
        if one["engine"] == "SGLang 0.5.8" and "a3b" not in one["profile"]
    ]
    assert len(dense) == 4
    for one in dense:
        predicted = sizing.decode_rate(profiles.load(one["profile"]), 1, sizing.CHECKED_CONTEXT)
        assert predicted == pytest.approx(one["tok_s"], rel=0.05)


def test_every_assumed_profile_says_so_and_is_simulated():
    assumed = [profiles.load(name) for name in profiles.names() if profiles.load(name).provenance == "assumed"]
    assert {profile.model for profile in assumed} == {catalogue.find(name).repo for name in CONFIGS}
    for profile in assumed:
        assert "fitted to published runs" in profile.note
        assert sizing.size(profile, 8000).agents >= 1


def test_memory_is_accounted_for_to_the_last_byte_and_agents_fit_by_whole_contexts():
    profile = profiles.load("moe-30b-a3b-awq-1x3090")
    found = sizing.size(profile, 8000)
    assert found.kv_bytes == 55648 * 98304
    assert found.weights_bytes + found.kv_bytes + found.state_bytes < found.memory_bytes == round(23.58 * 2**30)
    assert found.agents == 55648 // 8000
    one, four, eight, sixteen = found.levels
    assert four.decode_tokens_per_s == pytest.approx(1 / CostModel(profile).terms(4, 32000).total)
    assert four.total_tokens_per_s == pytest.approx(4 * four.decode_tokens_per_s)
    assert (eight.decode_tokens_per_s, sixteen.total_tokens_per_s, sixteen.ttft_s) == (None, None, None)
    assert one.ttft_s == pytest.approx(profile.api_overhead_s + 8000 / found.prefill_tokens_per_s)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gpu": "rtx9090"}, "unknown GPU 'rtx9090': there are rtx3090, rtx4090"),
        ({"quant": "int3"}, "unknown quantization 'int3': there are bf16, fp8, int8, awq"),
        (
            {"gpu": "rtx4090"},
            r"does not fit on 1 rtx4090: its weights take 61.0 GiB, and 19.9 GiB .*use 4 of them \(tp 4\)",
        ),
        ({"tp": 0}, "tp must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused_with_what_could(change, message):
    with pytest.raises(ValueError, match=message):
        derive(CONFIGS["Qwen3-32B"], **{"model": "Qwen3-32B", "gpu": "h100"} | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": None}, "missing hidden_size"),
        ({"hidden_size": "big"}, "hidden_size must be a whole number, not 'big'"),
        ({"kv_lora_rank": 512}, "missing qk_rope_head_dim"),
        ({"layer_types": ["sliding_attention", "full_attention"]}, "layer_types has 2 entries for 64 layers"),
    ],
)
def test_a_config_that_is_not_modelled_is_refused_by_its_key(change, message):
    with pytest.raises(ValueError, match=message):
        shape(CONFIGS["Qwen3-32B"] | change)

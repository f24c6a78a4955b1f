"""Sizes counted from public config.json files against what the models' cards say, and keys that must not be ignored."""

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nonsense import DEPTH, FUZZ, anything, places, replaced

from swarm.simulator.models.shape import shape
from swarm.simulator.models.weights import stored, weight_format
from swarm.simulator.profiles import profiles
from swarm.simulator.profiles.derive import derive, kv_fields

PUBLIC = json.loads((Path(__file__).parent / "data/public-configs.json").read_text("utf-8"))["models"]


def config(name):
    return PUBLIC[name]["config"]


def gigabytes(name, quant=None):
    return stored(shape(config(name)), weight_format(config(name), quant)).total / 1e9


@pytest.mark.parametrize("name", PUBLIC)
def test_parameters_are_within_3_percent_of_what_the_models_card_says(name):
    one, found = PUBLIC[name], shape(config(name))
    assert found.params == pytest.approx(one["total_b"] * 1e9, rel=0.03)
    if one["active_b"]:
        # Cards round, and count lm_head and embedding or leave them out.
        embedding = found.hidden * found.vocab
        counts = [found.active_params - embedding, found.active_params, found.active_params + embedding]
        rounding = 0.5 if one["active_b"] == int(one["active_b"]) else 0.05
        allowed = max(0.03 * one["active_b"], rounding)
        assert min(abs(count / 1e9 - one["active_b"]) for count in counts) <= allowed


@pytest.mark.parametrize("name", PUBLIC)
def test_kv_bytes_of_a_token_are_those_of_its_layers_and_heads(name):
    found = kv_fields(shape(config(name)), tp=1, number_bytes=2)
    expected = (PUBLIC[name]["kv_bytes"], PUBLIC[name]["window_kv_bytes"])
    assert (found["kv_bytes_per_token"], found["window_kv_bytes_per_token"]) == expected


def test_there_are_thirty_public_models_each_with_its_source():
    assert len(PUBLIC) >= 30
    assert all(one["source"].startswith("huggingface.co/") for one in PUBLIC.values())


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("openai/gpt-oss-120b", 65.2),  # its safetensors files
        ("openai/gpt-oss-20b", 13.8),
        ("deepseek-ai/DeepSeek-V3", 674),  # 688.6 with the draft layer, which vLLM loads only when asked to
        ("meta-llama/Llama-3.1-8B-Instruct", 16.06),
        ("MiniMaxAI/MiniMax-M2", 230),
    ],
)
def test_weights_take_what_the_checkpoints_files_take(name, size):
    assert gigabytes(name) == pytest.approx(size, rel=0.03)


def test_the_part_that_sees_takes_memory_and_no_time():
    seeing = config("google/gemma-3-4b-it")
    blind = {key: value for key, value in seeing.items() if key != "vision_config"}
    one, other = (derive(part, model="m", gpu="rtx4090") for part in (seeing, blind))
    assert one["weights_bytes"] - other["weights_bytes"] == pytest.approx(2 * 0.42e9, rel=0.05)
    assert one["nonexpert_bytes"] == other["nonexpert_bytes"]
    assert one["kv_tokens"] < other["kv_tokens"]
    assert shape(seeing | {"vision_config": {"hidden_size": "big", "depth": 10**9}}).vision_params == 0


def test_experts_alone_are_4_bit_in_gpt_oss():
    fmt = weight_format(config("openai/gpt-oss-20b"), None)
    assert (fmt.name, fmt.bytes_of(0, "self_attn.q_proj")) == ("mxfp4", 2.0)
    assert fmt.bytes_of(0, "mlp.experts.up_proj") == pytest.approx(4.25 / 8)


def llama(**change):
    return config("meta-llama/Llama-3.1-8B-Instruct") | change


FP8 = {"num_bits": 8, "type": "float", "strategy": "channel"}
INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128, "symmetric": True}
NVFP4 = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}


@pytest.mark.parametrize(
    ("quantization", "name", "bits"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8", 8.002),
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}, "awq", 4.156),
        ({"quant_method": "gptq", "bits": 4, "group_size": 32}, "gptq", 4.625),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, "int8", 8),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": FP8}}}, "fp8", 8),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": INT4}}}, "awq", 4.125),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": NVFP4}}}, "nvfp4", 4.5),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4", 4.5),
        ({"quant_method": "modelopt", "quantization": {"quant_algo": "FP8"}}, "fp8", 8),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True}, "awq", 4.125),
    ],
)
def test_a_stored_format_is_read_from_quantization_config(quantization, name, bits):
    fmt = weight_format(llama(quantization_config=quantization), None)
    assert fmt.name == name
    assert fmt.bytes_of(3, "mlp.up_proj") * 8 == pytest.approx(bits, abs=0.001)


@pytest.mark.parametrize(
    "pattern",
    [
        "model.layers.3.self_attn.q_proj",
        "language_model.model.layers.3.self_attn.q_proj",
        "model.layers.*.self_attn*",
        "model.layers.3.self_attn",
        "self_attn",
        "q_proj",
        "re:.*self_attn.*",
        r"re:.*\.q_proj$",
        "*self_attn*",
    ],
)
def test_modules_that_a_checkpoint_keeps_in_16_bits_are_counted_so(pattern):
    fmt = weight_format(llama(quantization_config={"quant_method": "fp8", "ignored_layers": [pattern]}), None)
    assert fmt.bytes_of(3, "self_attn.q_proj") == 2
    assert fmt.bytes_of(3, "mlp.gate_proj") == 1


def test_a_pattern_for_the_router_keeps_no_gate_projection():
    fmt = weight_format(llama(quantization_config={"quant_method": "fp8", "ignored_layers": ["gate", "lm_head"]}), None)
    assert fmt.bytes_of(0, "mlp.gate_proj") == 1


def test_a_pattern_that_could_run_for_ever_is_refused():
    with pytest.raises(ValueError, match="too complex"):
        weight_format(
            llama(quantization_config={"quant_method": "fp8", "ignored_layers": ["re:(a+)+$"]}), None
        ).bytes_of(0, "self_attn.q_proj")


def test_a_checkpoint_with_an_fp8_kv_cache_has_half_the_bytes():
    scheme = {"quant_method": "modelopt", "quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}
    entry = derive(llama(quantization_config=scheme), model="m", gpu="b200")
    assert entry["kv_bytes_per_token"] == 32 * 2 * 8 * 128
    assert entry["kv_cache_dtype"] == "fp8"


@pytest.mark.parametrize(
    ("quantization", "key"),
    [
        ({"quant_method": "quark"}, "quant_method = 'quark'"),
        ({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}, "quant_algo = 'MIXED_PRECISION'"),
        ({"quant_method": "gptq", "bits": 5}, "bits = 5"),
        ({"quant_method": "gptq", "bits": 4, "lm_head": True}, "lm_head"),
        ({"quant_method": "gptq", "bits": 4, "dynamic": {"+:.*mlp.*": {"bits": 8}}}, "dynamic"),
        ({"quant_method": "auto-round", "bits": 4, "extra_config": {"mlp": {"bits": 8}}}, "extra_config"),
        ({"quant_method": "compressed-tensors"}, "config_groups"),
        ({"quant_method": "fp8", "ignored_layers": "lm_head"}, "ignored_layers"),
        ("fp8", "quantization_config must be an object"),
    ],
)
def test_a_format_that_is_not_modelled_is_refused_by_its_key(quantization, key):
    with pytest.raises(ValueError, match=key):
        weight_format(llama(quantization_config=quantization), None)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_zero_experts", 4),
        ("expert_replicas", 2),
        ("moe_extra_width", 512),
        ("hidden_size_per_layer_input", 256),
        ("sliding_window_every", 3),
        ("attention_window_pattern", "LLG"),
        ("block_configs", [{"ffn": {"ffn_mult": 1}}]),
        ("layer_loops", 2),
        ("quantization_levels", {"q": 4}),
        ("mamba_d_ssm", 4096),
        ("compress_ratios", [4, 128]),
        ("ffn_config", {"moe_num_experts": 16}),
        ("ffn_dim_multiplier", 1.3),
        ("mlp_expansion_factor", 2),
        ("expert_dtype", "fp4"),
        ("dense_attention_every_n_layers", 2),
        ("use_cla", True),
    ],
)
def test_a_key_that_may_change_a_size_and_is_not_known_is_refused_by_name(key, value):
    with pytest.raises(ValueError, match=key):
        shape(llama(**{key: value}))
    assert shape(llama(**{key: None})).params == shape(llama()).params


def test_keys_of_what_sees_and_of_draft_layers_are_no_part_of_the_language_model():
    more = {"use_unified_vision_chunk": True, "image_token_index": 7, "mtp_share_layers": True, "select_layer": -1}
    assert shape({"text_config": llama(), **more}).params == shape(llama(mtp_num_hidden_layers=1)).params


@pytest.mark.parametrize("key", ["sliding_window_every", "num_zero_experts"])
def test_a_key_beside_a_nested_text_config_is_not_ignored_either(key):
    with pytest.raises(ValueError, match=key):
        shape({"text_config": llama(), key: 4, "vision_config": {"num_hidden_layers": 24}, "vision_feature_layer": -1})


@pytest.mark.parametrize("change", [{"model_type": "jetmoe"}, {"model_type": "t5"}, {"is_encoder_decoder": True}])
def test_a_model_that_is_no_plain_decoder_is_refused(change):
    with pytest.raises(ValueError, match="model_type = "):
        shape(llama(**change))


def test_an_unknown_kind_of_layer_is_refused_with_its_name():
    with pytest.raises(ValueError, match="layer_types has 'quantum_attention'"):
        shape(llama(layer_types=["quantum_attention"] * 32))


def test_a_window_of_an_unknown_model_type_is_refused_unless_it_says_which_layers_have_it():
    with pytest.raises(ValueError, match=r"sliding_window without layer_types.*newmodel"):
        shape(llama(model_type="newmodel", sliding_window=1024))
    kinds = ["sliding_attention", "full_attention"] * 16
    assert shape(llama(model_type="newmodel", sliding_window=1024, layer_types=kinds)).window == 1024


@pytest.mark.parametrize("off", [{"use_sliding_window": False}, {"max_window_layers": 28}, {"sliding_window": 200_000}])
def test_a_window_that_is_switched_off_or_as_long_as_any_context_is_none(off):
    found = shape(llama(model_type="qwen2", sliding_window=4096) | off)
    assert found.window == 0


def test_each_gpu_holds_whole_kv_heads():
    one = derive(config("Qwen/Qwen3-Next-80B-A3B-Instruct"), model="m", gpu="h100", quant="fp8", tp=2)
    eight = derive(config("Qwen/Qwen3-Next-80B-A3B-Instruct"), model="m", gpu="h100", quant="fp8", tp=8)
    assert eight["kv_bytes_per_token"] == 4 * one["kv_bytes_per_token"]
    latent = [derive(config("deepseek-ai/DeepSeek-V3"), model="m", gpu="b200", tp=tp) for tp in (8, 16)]
    assert latent[1]["kv_bytes_per_token"] == 2 * latent[0]["kv_bytes_per_token"] == 16 * 61 * 576 * 2


def test_windows_let_more_contexts_fit_and_short_ones_as_many_as_without():
    windowed = profiles.parse(derive(config("google/gemma-3-27b-it"), model="m", gpu="h100"), "m")
    per_token = 62 * 2 * 16 * 128 * 2
    pool = windowed.kv_tokens * per_token
    whole, short = windowed.kv_blocks // windowed.blocks_of(32_000), windowed.kv_blocks // windowed.blocks_of(1024)
    assert whole == pytest.approx(pool / (32_000 * per_token * 10 / 62 + 1024 * per_token * 52 / 62), abs=1)
    assert short == pytest.approx(pool / (1024 * per_token), abs=1)
    assert whole > 4 * windowed.kv_tokens // 32_000


def test_a_model_with_a_window_in_every_layer_keeps_no_more_than_the_window():
    profile = profiles.parse(derive(config("mistralai/Mistral-7B-v0.1"), model="m", gpu="rtx4090"), "m")
    assert profile.blocks_of(30_000) == profile.blocks_of(8_000) == (4096 + 16) // 16
    assert profile.max_context == 32_768


STORED = [
    {"quant_method": "compressed-tensors", "config_groups": {"g": {"targets": ["Linear"], "weights": INT4}}},
    {"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": {"-:a": {}}, "extra_config": {"a": {"bits": 16}}},
    {"quant_method": "modelopt", "quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "ignore": ["lm_head"]},
    {"quant_method": "fp8", "weight_block_size": [128, 128], "modules_to_not_convert": ["re:.*gate$", "*x*"]},
]


@settings(FUZZ, max_examples=300 * DEPTH)
@given(st.sampled_from(sorted(PUBLIC)), st.sampled_from(STORED), st.data())
def test_a_config_with_any_odd_values_is_read_or_refused_and_nothing_else(name, quantization, data):
    odd = {**config(name), "quantization_config": quantization}
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from([path for path in places(odd) if path]))
        odd = replaced(odd, path, data.draw(st.integers(-2, 3) | anything))
    with contextlib.suppress(ValueError):
        assert stored(shape(odd), weight_format(odd, None)).total > 0

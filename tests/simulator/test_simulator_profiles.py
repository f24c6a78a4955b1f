import json

import pytest

from swarm.simulator.profiles import profiles


def test_seven_of_the_packaged_profiles_are_fitted():
    every = {name: profiles.load(name) for name in profiles.names()}
    loaded = {name: profile for name, profile in every.items() if profile.provenance != "assumed"}
    assert set(loaded) == {
        "moe-30b-a3b-awq-1x3090",
        "dense-32b-awq-1x3090",
        "dense-32b-awq-1x3090-eager",
        "moe-30b-a3b-awq-2x3090-nvlink",
        "moe-30b-a3b-awq-2x3090-pcie",
        "dense-32b-awq-2x3090-nvlink",
        "dense-32b-awq-2x3090-nvlink-eager",
    }
    assert all("fitted" in profile.provenance for profile in loaded.values())
    assert {profile.architecture for name, profile in loaded.items() if name.startswith("moe")} == {"moe"}
    assert {profile.architecture for name, profile in loaded.items() if name.startswith("dense")} == {"dense"}


def test_a_profile_carries_the_figures_of_its_gpu():
    profile = profiles.load("moe-30b-a3b-awq-1x3090")
    assert profile.bandwidth_bytes_per_s == 936.2e9
    assert profile.fp16_flops == 71e12
    assert (profile.kv_tokens, profile.kv_blocks) == (55648, 3478)


def test_overrides_replace_fields_and_none_leaves_them():
    profile = profiles.load("moe-30b-a3b-awq-1x3090", max_num_seqs=4, kv_tokens=8000, admission=None)
    assert (profile.max_num_seqs, profile.kv_blocks, profile.admission) == (4, 500, "full_prompt")


def test_a_context_is_capped_by_the_model_and_by_the_cache():
    assert profiles.load("dense-32b-awq-1x3090").max_context == 12288
    assert profiles.load("dense-32b-awq-1x3090", kv_tokens=5000).max_context == 4992


def test_an_unknown_name_names_the_nearest_and_all_others():
    with pytest.raises(ValueError, match="did you mean 'moe-30b-a3b-awq-1x3090'") as error:
        profiles.load("moe-30b-awq-1x3090")
    assert "dense-32b-awq-2x3090-nvlink-eager" in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"max_num_seq": 4}, "unknown field 'max_num_seq' .did you mean 'max_num_seqs'"),
        ({"max_num_seqs": 0}, "max_num_seqs must be above 0, not 0"),
        ({"max_num_seqs": 4.5}, "max_num_seqs must be a whole number, not 4.5"),
        ({"max_num_seqs": True}, "max_num_seqs must be a whole number, not True"),
        ({"eta_kv": 1.2}, "eta_kv is a share of the data sheet's rate: at most 1, not 1.2"),
        ({"bandwidth_bytes_per_s": float("inf")}, "bandwidth_bytes_per_s must be a number, not inf"),
        ({"admission": "never"}, "admission must be one of full_prompt, first_chunk, not 'never'"),
        ({"topk": 200}, r"topk must be 1 to experts \(128\), not 200"),
        ({"kv_tokens": 31}, r"kv_tokens must hold 2 blocks at least \(32 tokens\), not 31"),
        ({"max_num_batched_tokens": 64}, r"max_num_batched_tokens \(64\) must be at least max_num_seqs \(256\)"),
        ({"capture_sizes": [1, 0]}, "capture_sizes must be a list of whole numbers above 0"),
        ({"layer_overhead_us": -1.0}, "layer_overhead_us must be at least 0, not -1.0"),
    ],
)
def test_a_wrong_value_is_refused_with_its_field(overrides, message):
    with pytest.raises(ValueError, match=message):
        profiles.load("moe-30b-a3b-awq-1x3090", **overrides)


def packaged_entry():
    return dict(profiles._packaged()["dense-32b-awq-1x3090"])


def test_a_profile_can_be_a_file(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(packaged_entry() | {"name": "mine", "provenance": "calibrated"}))
    profile = profiles.load(str(path), max_num_seqs=2)
    assert (profile.name, profile.provenance, profile.max_num_seqs) == ("mine", "calibrated", 2)
    assert profile.bandwidth_bytes_per_s == 936.2e9


def test_a_file_for_an_unknown_gpu_brings_the_gpus_figures(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(packaged_entry() | {"gpu": "abacus"}))
    with pytest.raises(ValueError, match="missing bandwidth_bytes_per_s, fp16_flops, memory_gib"):
        profiles.load(str(path))
    figures = {"bandwidth_bytes_per_s": 1e12, "fp16_flops": 1e14, "memory_gib": 32}
    path.write_text(json.dumps(packaged_entry() | {"gpu": "abacus"} | figures))
    assert profiles.load(str(path)).fp16_flops == 1e14


@pytest.mark.parametrize(
    ("text", "message"),
    [("[1, 2]", "expected one JSON object"), ("{", "is not JSON"), (None, "cannot be read: No such")],
)
def test_an_unusable_file_is_refused_with_its_path(tmp_path, text, message):
    path = tmp_path / "mine.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        profiles.load(str(path))
    assert str(path) in str(error.value)

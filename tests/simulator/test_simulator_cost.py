import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.simulator.engine.cost import CostModel, expected_experts, padded, prefill_attention
from swarm.simulator.profiles import profiles

DATA = Path(__file__).parent / "data"
MOE, DENSE, EAGER = "moe-30b-a3b-awq-1x3090", "dense-32b-awq-1x3090", "dense-32b-awq-1x3090-eager"


def rate(profile, decodes, context=1500):
    """Decode tokens per second of each of `decodes` requests."""
    return 1 / CostModel(profiles.load(profile)).terms(decodes, decodes * context).total


@pytest.mark.parametrize(
    ("profile", "rates"),
    [
        (MOE, {1: 167.7, 2: 128.8, 3: 98.2, 4: 95.7, 5: 70.1, 8: 66.4, 9: 49.5, 16: 45.4, 32: 32.4}),
        (DENSE, {1: 40.2, 2: 37.8, 4: 35.9, 8: 32.6, 16: 27.5}),
        (EAGER, {1: 38.9, 2: 36.7, 3: 35.7, 4: 34.9, 8: 31.7, 16: 26.9}),
    ],
)
def test_decode_rates_are_those_that_the_fit_predicts(profile, rates):
    for decodes, expected in rates.items():
        assert rate(profile, decodes) == pytest.approx(expected, abs=0.1), f"{decodes} decoding"


@pytest.mark.parametrize(("profile", "expected"), [(DENSE, 18.2), (EAGER, 17.9)])
def test_at_32_decoding_a_dense_model_is_bound_by_flops(profile, expected):
    # The fit's own table leaves the lm_head's FLOPs out: 1.3% here.
    assert rate(profile, 32) == pytest.approx(expected, rel=0.015)
    terms = CostModel(profiles.load(profile)).terms(32, 32 * 1500)
    assert terms.dense_flops > terms.weights


def test_decode_rates_are_within_three_percent_of_those_measured():
    with (DATA / "decode-rates.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 20
    for row in rows:
        name = f"{row['model']}-{row['gpus']}" + ("-eager" if row["mode"] == "eager" else "")
        measured = float(row["decode_tok_per_s_per_request"])
        predicted = rate(name, int(row["in_flight"]), int(row["context_tokens"]))
        assert predicted == pytest.approx(measured, rel=0.03), f"{name}, {row['in_flight']} in flight"


@pytest.mark.parametrize(("profile", "seconds", "within"), [(DENSE, 0.90, 0.04), (MOE, 0.13, 0.02)])
def test_a_thousand_cold_prompt_tokens_take_as_long_as_measured(profile, seconds, within):
    step = CostModel(profiles.load(profile)).terms(0, 0, 1000, prefill_attention(0, 1000), sampled=1)
    assert step.total == pytest.approx(seconds, abs=within)


@pytest.mark.parametrize(("profile", "seconds"), [(MOE, 0.36), (DENSE, 2.1)])
def test_a_prompt_chunk_beside_four_decoders_stalls_them(profile, seconds):
    # A chunk of 2048 from the middle of an 8K prompt.
    chunk = prefill_attention(3072, 2048)
    assert CostModel(profiles.load(profile)).terms(4, 4 * 8192, 2048, chunk).total == pytest.approx(seconds, rel=0.03)


def test_the_terms_of_one_moe_decode_step_are_the_bytes_over_the_bandwidth():
    p = profiles.load(MOE)
    terms = CostModel(p).terms(1, 1500)
    assert terms.weights == pytest.approx((495_817_064 + 622_329_856) / (0.878 * 936.2e9))
    assert terms.experts == pytest.approx(48 * 8 * 2_451_309 / (0.796 * 936.2e9))
    assert terms.kv == pytest.approx(1500 * 98304 / (0.595 * 936.2e9))
    assert terms.overhead == pytest.approx(48 * 64.1e-6)
    assert (terms.allreduce, terms.eager_gap, terms.eager_launch) == (0, 0, 0)
    assert terms.total == pytest.approx(terms.weights + terms.experts + terms.kv + terms.overhead)


def test_two_gpus_halve_what_is_read_and_add_two_allreduces_a_layer():
    one, two = profiles.load(MOE), profiles.load("moe-30b-a3b-awq-2x3090-nvlink")
    a, b = CostModel(one).terms(4, 6000), CostModel(two).terms(4, 6000)
    assert b.weights == pytest.approx(a.weights / 2)
    assert b.experts == pytest.approx(a.experts / 2)
    assert b.kv == pytest.approx(a.kv / 2)
    assert b.allreduce == pytest.approx(2 * 48 * 14.3e-6)


def test_eager_mode_on_two_gpus_is_bound_by_launching():
    terms = CostModel(profiles.load("dense-32b-awq-2x3090-nvlink-eager")).terms(1, 1500)
    assert terms.total == terms.eager_launch == pytest.approx(64 * 516e-6)


def test_without_cuda_graphs_rows_are_not_padded():
    graphs = CostModel(profiles.load(MOE))
    eager = CostModel(profiles.load(MOE, cuda_graphs=False))
    assert graphs.terms(3, 0).experts == graphs.terms(4, 0).experts
    assert eager.terms(3, 0).experts < eager.terms(4, 0).experts == graphs.terms(4, 0).experts


def test_rows_are_padded_to_the_next_captured_size_and_not_beyond_the_largest():
    sizes = (1, 2, 4, 8)
    assert [padded(rows, sizes) for rows in (0, 1, 3, 5, 8, 9)] == [1, 1, 4, 8, 8, 9]


def test_in_a_mixed_step_prompt_tokens_are_routed_too_and_not_padded():
    cost = CostModel(profiles.load(MOE))
    assert cost.terms(3, 0, prefill_tokens=2).experts == cost.terms(0, 0, prefill_tokens=5).experts
    assert cost.terms(3, 0, prefill_tokens=2).experts > cost.terms(3, 0).experts


def test_the_union_of_experts_grows_from_topk_to_all():
    assert expected_experts(128, 8, 1) == pytest.approx(8)
    assert expected_experts(128, 8, 2) == pytest.approx(15.5)
    assert expected_experts(128, 8, 2000) == pytest.approx(128)
    assert expected_experts(0, 0, 5) == 0


@given(st.integers(0, 5000), st.integers(1, 5000), st.integers(1, 5000))
def test_attention_of_a_prompt_is_the_same_in_one_chunk_or_two(computed, first, second):
    split = prefill_attention(computed, first) + prefill_attention(computed + first, second)
    assert split == prefill_attention(computed, first + second)


@given(
    st.sampled_from(profiles.names()),
    st.integers(0, 300),
    st.integers(0, 100_000),
    st.integers(0, 2048),
    st.integers(1, 50),
)
def test_more_work_never_takes_less_time(name, decodes, context, prompt, more):
    cost = CostModel(profiles.load(name))
    step = cost.terms(decodes, context, prompt, prefill_attention(0, prompt)).total
    assert cost.terms(decodes + more, context, prompt, prefill_attention(0, prompt)).total >= step
    assert cost.terms(decodes, context + more, prompt, prefill_attention(0, prompt)).total >= step
    if prompt:  # the first prompt token turns padding off, which can be a gain
        assert cost.terms(decodes, context, prompt + more, prefill_attention(0, prompt + more)).total >= step

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.simulator.engine.cost import CostModel, expected_experts, padded, prefill_attention, roofline
from swarm.simulator.profiles import profiles

DATA = Path(__file__).parent / "data"
MOE, DENSE, EAGER = "moe-30b-a3b-awq-1x3090", "dense-32b-awq-1x3090", "dense-32b-awq-1x3090-eager"


def rate(profile, decodes, context=1500):
    """Decode tokens per second of each of `decodes` requests."""
    return 1 / CostModel(profiles.load(profile)).terms(decodes, decodes * context).total


@pytest.mark.parametrize(
    ("profile", "rates"),
    [
        (MOE, {1: 168.9, 2: 129.6, 3: 99.0, 4: 96.5, 5: 71.3, 8: 67.5, 9: 50.2, 16: 46.0, 32: 31.6}),
        (DENSE, {1: 40.5, 2: 38.3, 4: 36.3, 8: 32.7, 16: 26.4}),
        (EAGER, {1: 39.2, 2: 37.2, 3: 36.2, 4: 35.3, 8: 31.9, 16: 25.9}),
    ],
)
def test_decode_rates_are_those_that_the_fit_predicts(profile, rates):
    for decodes, expected in rates.items():
        assert rate(profile, decodes) == pytest.approx(expected, abs=0.1), f"{decodes} decoding"


@pytest.mark.parametrize(("profile", "expected"), [(DENSE, 17.1), (EAGER, 16.9)])
def test_at_32_decoding_a_dense_model_is_bound_by_flops_as_much_as_by_reading(profile, expected):
    assert rate(profile, 32) == pytest.approx(expected, rel=0.01)
    batch = CostModel(profiles.load(profile)).terms(32, 32 * 1500).batch
    assert 1 < batch.dense_flops / batch.weights < 2
    # Neither hides the other wholly, as a hard roofline has it.
    assert roofline(batch.weights, batch.dense_flops, 3) > 1.05 * max(batch.weights, batch.dense_flops)


def test_the_roofline_lies_between_the_longer_one_and_the_sum():
    assert roofline(3, 4, 0) == 4
    assert roofline(3, 4, 1) == 7
    assert roofline(3, 4, 2) == pytest.approx(5)
    assert roofline(0, 4, 3) == 4
    assert roofline(4, 0, 3) == 4
    assert 4 < roofline(3, 4, 3) < 5
    assert roofline(1e-9, 1, 3) == pytest.approx(1)


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


@pytest.mark.parametrize(("profile", "seconds"), [(MOE, 0.376), (DENSE, 2.1)])
def test_a_prompt_chunk_beside_four_decoders_stalls_them(profile, seconds):
    # A chunk of 2048 from the middle of an 8K prompt.
    chunk = prefill_attention(3072, 2048)
    assert CostModel(profiles.load(profile)).terms(4, 4 * 8192, 2048, chunk).total == pytest.approx(seconds, rel=0.03)


def test_the_terms_of_one_moe_decode_step_are_the_bytes_over_the_bandwidth():
    p = profiles.load(MOE)
    terms = CostModel(p).terms(1, 1500)
    batch = terms.batch
    assert batch.weights == pytest.approx((495_817_064 + 622_329_856) / (p.eta_weights * 936.2e9))
    assert batch.experts == pytest.approx(48 * 8 * 2_451_309 / (p.eta_experts * 936.2e9))
    assert terms.kv == pytest.approx(1500 * 98304 / (p.eta_kv * 936.2e9))
    assert batch.overhead == pytest.approx(48 * p.layer_overhead_us * 1e-6)
    assert (batch.allreduce, batch.eager_gap, batch.eager_launch, terms.attention) == (0, 0, 0, 0)
    reading = roofline(batch.weights, batch.dense_flops, p.roofline_power)
    experts = roofline(batch.experts, batch.expert_flops, p.roofline_power)
    assert terms.total == pytest.approx(reading + experts + terms.kv + batch.overhead)


def test_two_gpus_halve_what_is_read_and_add_two_allreduces_a_layer():
    one, two = profiles.load(MOE), profiles.load("moe-30b-a3b-awq-2x3090-nvlink")
    a, b = CostModel(one).terms(4, 6000), CostModel(two).terms(4, 6000)
    assert b.batch.weights == pytest.approx(a.batch.weights / 2)
    assert b.batch.experts == pytest.approx(a.batch.experts / 2)
    assert b.kv == pytest.approx(a.kv / 2)
    sent = 4 * 2 * 48 * two.hidden_size * 2 / two.allreduce_bytes_per_s
    assert b.batch.allreduce == pytest.approx(2 * 48 * two.allreduce_us * 1e-6 + sent)


def test_tokens_that_are_routed_alike_reach_fewer_experts():
    alike = CostModel(profiles.load(MOE, routing_power=0.8)).terms(8, 0).batch.experts
    unlike = CostModel(profiles.load(MOE, routing_power=1.0)).terms(8, 0).batch.experts
    assert alike / unlike == pytest.approx(expected_experts(128, 8, 8**0.8) / expected_experts(128, 8, 8))


def test_a_prompts_attention_has_a_rate_of_its_own():
    slow, fast = (profiles.load(DENSE, eta_flops_attention=share) for share in (0.2, 0.4))
    pairs = prefill_attention(0, 2048)
    assert CostModel(slow).terms(0, 0, 2048, pairs).attention == pytest.approx(
        2 * CostModel(fast).terms(0, 0, 2048, pairs).attention
    )
    assert CostModel(slow).terms(0, 0, 2048, pairs).batch == CostModel(fast).terms(0, 0, 2048, pairs).batch


def test_a_file_of_before_means_what_it_meant():
    """Without the newer terms: the longer of reading and computing, experts independent, no bandwidth between GPUs."""
    old = profiles.load(MOE, roofline_power=0.0, routing_power=1.0, allreduce_bytes_per_s=0.0, eta_flops_attention=0.0)
    terms = CostModel(old).terms(4, 6000, 512, prefill_attention(0, 512))
    b = terms.batch
    assert terms.attention == pytest.approx(
        prefill_attention(0, 512) * 4 * 48 * 32 * 128 / (old.eta_flops_dense * old.fp16_flops)
    )
    step = max(b.weights, b.dense_flops) + max(b.experts, b.expert_flops) + terms.kv + b.overhead + terms.attention
    assert terms.total == pytest.approx(step)


def test_eager_mode_on_two_gpus_is_bound_by_launching():
    terms = CostModel(profiles.load("dense-32b-awq-2x3090-nvlink-eager")).terms(1, 1500)
    assert terms.total == terms.batch.eager_launch == pytest.approx(64 * 516e-6)


def test_without_cuda_graphs_rows_are_not_padded():
    graphs = CostModel(profiles.load(MOE))
    eager = CostModel(profiles.load(MOE, cuda_graphs=False))
    assert graphs.terms(3, 0).batch.experts == graphs.terms(4, 0).batch.experts
    assert eager.terms(3, 0).batch.experts < eager.terms(4, 0).batch.experts == graphs.terms(4, 0).batch.experts


def test_rows_are_padded_to_the_next_captured_size_and_not_beyond_the_largest():
    sizes = (1, 2, 4, 8)
    assert [padded(rows, sizes) for rows in (0, 1, 3, 5, 8, 9)] == [1, 1, 4, 8, 8, 9]


def test_in_a_mixed_step_prompt_tokens_are_routed_too_and_not_padded():
    cost = CostModel(profiles.load(MOE))
    assert cost.terms(3, 0, prefill_tokens=2).batch.experts == cost.terms(0, 0, prefill_tokens=5).batch.experts
    assert cost.terms(3, 0, prefill_tokens=2).batch.experts > cost.terms(3, 0).batch.experts


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

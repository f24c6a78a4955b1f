"""What a sliding window or an index of tokens changes in a step and in the KV cache."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual import drive, profile

from swarm.simulator.engine.cost import CostModel, bounded_attention, prefill_attention
from swarm.simulator.engine.scheduler import Engine, Request
from swarm.simulator.profiles import profiles

FULL = profile()
PART = FULL.kv_bytes_per_token * 3 // 4


def windowed(**change):
    return profile(window=512, window_kv_bytes_per_token=PART, **change)


@given(st.integers(0, 3000), st.integers(1, 3000), st.integers(1, 1000))
def test_bounded_pairs_are_the_sum_over_the_tokens_of_what_each_sees(computed, tokens, window):
    expected = sum(min(at + 1, window) for at in range(computed, computed + tokens))
    assert bounded_attention(computed, tokens, window) == expected


def test_reading_the_kv_cache_is_bounded_by_the_window_in_its_layers():
    full, cost = CostModel(FULL), CostModel(windowed())
    assert cost.terms(1, 512).kv == pytest.approx(full.terms(1, 512).kv)
    assert cost.terms(1, 8192).kv == pytest.approx(full.terms(1, 8192).kv * (1 / 4 + 3 / 4 * 512 / 8192))
    indexed = CostModel(profile(window=512, selected_kv_bytes_per_token=PART))
    assert indexed.terms(1, 8192).kv == cost.terms(1, 8192).kv


def test_attention_of_a_prompt_is_bounded_by_the_window_in_its_layers():
    layers = profile(window=512, attention_width=1000, bounded_attention_width=3000)
    whole = CostModel(profile(attention_width=4000))
    pairs, bounded = prefill_attention(0, 4096), bounded_attention(0, 4096, 512)
    found = CostModel(layers).terms(0, 0, 4096, pairs, 1, bounded_pairs=bounded).attention
    assert found == pytest.approx(whole.terms(0, 0, 4096, pairs, 1).attention * (1 / 4 + 3 / 4 * bounded / pairs))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 1500), st.integers(1, 900), st.floats(0, 2)), min_size=1, max_size=8))
def test_the_engine_sums_what_each_request_reads_whatever_comes_and_goes(requests):
    engine = Engine(windowed(kv_tokens=6000))
    sent = [(at, Request(prompt, output)) for prompt, output, at in requests]
    seen = []

    class Watching(CostModel):
        def terms(self, decodes, context, prefill_tokens=0, pairs=0, sampled=None, bounded=None, bounded_pairs=None):
            now = [r.computed + engine.steps - r.decoding_since + 1 for r in engine._decoding]
            if prefill_tokens or decodes:  # not the sum of a prompt's steps in an idle engine
                seen.append((context, bounded, sum(now), sum(min(length, 512) for length in now)))
            return super().terms(decodes, context, prefill_tokens, pairs, sampled, bounded, bounded_pairs)

    engine.cost = Watching(engine.profile)
    drive(engine, sorted(sent, key=lambda one: one[0]))
    told = [row for row in seen if row[1] is not None]
    assert told
    assert all(row[:2] == row[2:] for row in told)
    assert engine.kv.free == engine.kv.size


def test_requests_take_window_blocks_beside_those_of_the_whole_context():
    model = windowed(kv_tokens=4096)
    engine = Engine(model)
    engine.submit(Request(2000, 10), 0.0)
    engine.begin(1e9)
    assert engine.kv.size == 4096 * 4 // 16  # a block is of the layers that keep all
    assert engine.kv.size - engine.kv.free == model.blocks_of(2000) == 2000 // 16 + 3 * 512 // 16


def test_where_all_layers_have_a_window_old_blocks_are_given_back_and_still_found():
    model = profile(
        window=512, window_kv_bytes_per_token=FULL.kv_bytes_per_token, kv_tokens=6400, max_num_batched_tokens=1024
    )
    engine = Engine(model)
    hashes = list(range(4000 // 16))
    first, second = Request(4000, 40, hashes), Request(4000, 40, hashes)
    drive(engine, [(0.0, first)])
    assert engine.kv.free == engine.kv.size
    drive(engine, [(100.0, second)])
    assert second.cached_tokens == 3984
    engine.submit(Request(4000, 200, range(5000, 5250)), 200.0)
    while not engine._decoding:
        engine.begin(engine.next_event() if engine.next_event() > 0 else 200.0)
        engine.complete()
    assert engine.kv.size - engine.kv.free <= (512 + 1024) // 16 + 1


def test_a_prompt_longer_than_the_pool_is_served_where_all_layers_have_a_window():
    model = profile(
        window=512, window_kv_bytes_per_token=FULL.kv_bytes_per_token, kv_tokens=2400, max_num_batched_tokens=1024
    )
    request = Request(20_000, 400)
    drive(Engine(model), [(0.0, request)])
    assert request.preemptions == 0
    assert request.generated == 400


def test_an_fp8_kv_cache_halves_what_windows_and_indexes_keep_too():
    for name in ("gemma-3-27b@h100", "glm-5@8xb200:fp8"):
        usual, half = profiles.load(name), profiles.load(name, kv_cache_dtype="fp8")
        for field in ("kv_bytes_per_token", "window_kv_bytes_per_token", "selected_kv_bytes_per_token"):
            assert getattr(half, field) == getattr(usual, field) // 2
        assert half.kv_tokens == pytest.approx(2 * usual.kv_tokens, rel=0.01)

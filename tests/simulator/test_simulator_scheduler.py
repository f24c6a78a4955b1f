from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual import drive, profile

from swarm.simulator.engine.cost import CostModel, prefill_attention
from swarm.simulator.engine.scheduler import Engine, Request


def unique(name, tokens):
    """Hashes of the full blocks of `tokens` tokens that nobody else has."""
    return [hash((name, at)) for at in range(tokens // 16)]


def test_a_lone_request_takes_its_prefill_and_one_step_for_each_further_token():
    engine = Engine(profile())
    cost = CostModel(engine.profile)
    request = Request(1000, 3)
    steps = drive(engine, [(5.0, request)])
    prefill = cost.terms(0, 0, 1000, prefill_attention(0, 1000), 1).total
    decode = cost.terms(1, 1001).total + cost.terms(1, 1002).total
    assert [len(step.tokens) for step in steps] == [1, 1, 1]
    assert steps[0].first == steps[2].finished == [request]
    assert (request.queue_s, request.prefill_s) == (0, pytest.approx(prefill))
    assert request.decode_s == pytest.approx(decode)
    assert request.finished_at == pytest.approx(5.0 + prefill + decode)
    assert (engine.generation_tokens, engine.prompt_tokens) == (3, 1000)
    assert (engine.running, engine.waiting, engine.kv.usage) == (0, 0, 0)


def test_a_reply_of_one_token_ends_with_its_prefill():
    engine = Engine(profile())
    request = Request(10, 1)
    (step,) = drive(engine, [(0.0, request)])
    assert step.first == step.finished == [request]
    assert request.decode_s == 0


def test_the_queue_has_a_request_only_after_the_api_overhead():
    engine = Engine(profile(api_overhead_s=0.05))
    request = Request(10, 1)
    engine.submit(request, 1.0)
    assert engine.begin(1.04) is None
    assert engine.next_event() == pytest.approx(1.05)
    steps = drive(engine, [])
    assert steps[0].start == pytest.approx(1.05)
    assert request.queue_s == 0


def test_a_request_that_comes_during_a_step_waits_for_its_end():
    engine = Engine(profile())
    long, late = Request(2000, 10), Request(100, 1)
    steps = drive(engine, [(0.0, long), (0.01, late)])
    assert late.scheduled_at == steps[0].end
    assert late.queue_s == 0  # as in vLLM, which takes requests into its queue between two steps
    assert late.first_token_at - late.arrived_at == pytest.approx(steps[0].end - 0.01 + late.prefill_s)


def test_prompts_are_computed_in_chunks_beside_the_decoding_requests():
    engine = Engine(profile(max_num_batched_tokens=256))
    decoding, prompt = Request(50, 20), Request(1000, 2)
    steps = drive(engine, [(0.0, decoding), (0.001, prompt)])
    assert [step.prefill_tokens for step in steps[:7]] == [50, 255, 255, 255, 235, 0, 0]
    assert [len(step.tokens) for step in steps[:7]] == [1, 1, 1, 1, 2, 2, 1]
    stalled = sum(step.end - step.start for step in steps[1:5])
    undisturbed = sum(engine.cost.terms(1, 51 + at).total for at in range(4))
    assert decoding.prefill_stall_s == pytest.approx(stalled - undisturbed)
    assert prompt.prefill_stall_s == 0


def test_the_context_of_a_step_grows_by_one_for_each_decoding_request():
    engine = Engine(profile())
    steps = drive(engine, [(0.0, Request(100, 4)), (0.0, Request(200, 4))])
    kv = [step.terms.kv / engine.cost.terms(0, 1).kv for step in steps]
    assert kv == pytest.approx([0, 302, 304, 306])


def test_at_most_max_num_seqs_run_and_the_others_wait_in_order():
    engine = Engine(profile(max_num_seqs=2))
    requests = [Request(10, length) for length in (5, 9, 3, 3)]
    steps = drive(engine, [(0.0, request) for request in requests])
    assert max(len(step.tokens) for step in steps) == 2
    ends = [request.finished_at for request in requests]
    assert requests[2].scheduled_at == ends[0]
    assert requests[3].scheduled_at == ends[2]


def test_a_later_turn_finds_its_history_in_the_prefix_cache():
    engine = Engine(profile())
    first = Request(160, 33, unique("history", 193))
    drive(engine, [(0.0, first)])
    # 192 of the first turn's 193 tokens have keys and values: 12 full blocks.
    second = Request(300, 1, [*first.hashes, *unique("new", 108)])
    (step,) = drive(engine, [(10.0, second)])
    assert second.cached_tokens == 192
    assert step.prefill_tokens == 108
    assert (engine.cache_queries, engine.cache_hits, engine.cached_tokens) == (460, 192, 192)


def test_at_least_one_prompt_token_is_always_computed():
    engine = Engine(profile())
    hashes = unique("same", 160)
    drive(engine, [(0.0, Request(160, 1, hashes))])
    again = Request(160, 1, hashes)
    (step,) = drive(engine, [(10.0, again)])
    assert again.cached_tokens == 144
    assert step.prefill_tokens == 16


def test_requests_of_one_step_share_the_prefix_that_it_computes():
    engine = Engine(profile())
    shared = unique("system", 1600)
    requests = [Request(1616, 1, [*shared, hash(name)]) for name in "ab"]
    (step,) = drive(engine, [(0.0, request) for request in requests])
    assert [request.cached_tokens for request in requests] == [0, 1600]
    assert step.prefill_tokens == 1616 + 16


def test_when_blocks_run_out_the_youngest_is_preempted_and_computed_again():
    engine = Engine(profile(kv_tokens=16 * 8, max_num_seqs=4))
    old, young = Request(48, 60, unique("old", 108)), Request(48, 30, unique("young", 78))
    steps = drive(engine, [(0.0, old), (0.001, young)])
    preempting = [step for step in steps if step.preempted]
    assert [step.preempted for step in preempting] == [[young]]
    assert (old.preemptions, young.preemptions, engine.preemptions) == (0, 1, 1)
    assert young.finished_at > old.finished_at
    assert young.preempted_s > 0
    assert (old.generated, young.generated, engine.generation_tokens) == (60, 30, 90)
    # The first token came before the preemption, and the cache is asked once: neither counts again.
    assert (engine.prompt_tokens, engine.cache_queries) == (96, 96)
    (resuming,) = [step for step in steps if step.stalls]
    assert young in resuming.tokens
    assert resuming.end - preempting[0].start == resuming.stalls[0] == young.preempted_s


def test_a_preempted_request_is_the_first_to_run_again():
    engine = Engine(profile(kv_tokens=16 * 8))
    old, young, waiting = Request(48, 60), Request(48, 30), Request(100, 1)
    drive(engine, [(0.0, old), (0.001, young), (0.002, waiting)])
    assert young.preemptions == 1
    assert waiting.scheduled_at == young.finished_at


def test_full_prompt_admission_waits_until_the_whole_prompt_fits():
    engine = Engine(profile(kv_tokens=1600, max_num_batched_tokens=256))
    first, second = Request(600, 40), Request(1200, 5)
    drive(engine, [(0.0, first), (0.001, second)])
    assert second.scheduled_at == first.finished_at
    assert engine.preemptions == 0


def test_first_chunk_admission_lets_it_in_and_thrashes():
    engine = Engine(profile(kv_tokens=1600, max_num_batched_tokens=256, admission="first_chunk"))
    first, second = Request(600, 40), Request(1200, 5)
    drive(engine, [(0.0, first), (0.001, second)])
    assert second.scheduled_at < first.finished_at
    assert second.preemptions >= 1
    assert second.generated == 5


def test_a_request_that_can_never_fit_is_refused():
    engine = Engine(profile(kv_tokens=1600))
    with pytest.raises(ValueError, match="1601 tokens of prompt and reply, but a context holds 1600"):
        engine.submit(Request(1600, 1), 0.0)
    with pytest.raises(ValueError, match="at least one prompt token"):
        engine.submit(Request(0, 1), 0.0)
    assert engine.next_event() is None


def test_a_cancelled_request_frees_its_blocks_at_once_and_gets_no_token_of_the_current_step():
    engine = Engine(profile())
    stays, goes = Request(100, 5), Request(200, 5)
    engine.submit(stays, 0.0)
    engine.submit(goes, 0.0)
    end = engine.begin(0.0).end
    engine.complete()
    engine.begin(end)
    used = engine.kv.usage
    assert engine.cancel(goes, end + 0.001)
    assert engine.kv.usage < used
    step = engine.complete()
    assert step.tokens == [stays]
    assert (goes.generated, goes.finish_reason, goes.finished_at) == (1, "abort", end + 0.001)
    assert not engine.cancel(goes, end + 0.002)
    drive(engine, [])
    assert engine.generation_tokens == 6
    assert not engine.cancel(stays, 99.0)


@pytest.mark.parametrize("when", ["arriving", "waiting", "prefilling", "completing"])
def test_a_request_can_be_cancelled_wherever_it_is(when):
    engine = Engine(profile(max_num_batched_tokens=256, max_num_seqs=1, api_overhead_s=0.05))
    request, other = Request(400, 5), Request(10, 2)
    if when == "waiting":
        engine.submit(other, 0.0)
    engine.submit(request, 0.0)
    if when != "arriving":
        engine.begin(0.05)
    if when == "completing":
        engine.begin(engine.complete().end)
    assert engine.cancel(request, 0.06)
    drive(engine, [])
    assert (request.generated, request.first_token_at) == (0, None)
    assert (engine.running, engine.waiting, engine.kv.usage) == (0, 0, 0)
    assert engine.generation_tokens == (2 if when == "waiting" else 0)


@st.composite
def workload(draw):
    """Requests of conversations that share prefixes, some of them cancelled after a number of steps."""
    requests = []
    for _ in range(draw(st.integers(1, 8))):
        conversation = draw(st.integers(0, 2))
        prompt = draw(st.integers(1, 40))
        output = draw(st.integers(1, 24))
        hashes = [hash((conversation, at)) for at in range((prompt + output) // 4)]
        arrival = draw(st.floats(0, 0.3))
        requests.append((arrival, Request(prompt, output, hashes), draw(st.none() | st.integers(0, 12))))
    return requests


@settings(max_examples=200, deadline=None)
@given(workload(), st.sampled_from(["full_prompt", "first_chunk"]), st.integers(1, 4), st.integers(4, 24))
def test_whatever_comes_blocks_are_kept_apart_and_every_reply_is_complete(requests, admission, max_num_seqs, batch):
    limits = {"max_num_seqs": max_num_seqs, "max_num_batched_tokens": batch, "kv_tokens": 64, "block_size": 4}
    engine = Engine(profile(**limits, admission=admission))
    to_cancel = {request: after for _, request, after in requests if after is not None}
    received = dict.fromkeys((request for _, request, _ in requests), 0)

    def check(step):
        assert step.decodes + step.prefill_tokens <= batch
        assert engine.running <= max_num_seqs
        for request in step.tokens:
            received[request] += 1
        for request, after in list(to_cancel.items()):
            if request.scheduled_at is not None and step.number >= after:
                engine.cancel(request, step.end)
                del to_cancel[request]
        check_blocks(engine)

    steps = drive(engine, [(arrival, request) for arrival, request, _ in requests], on_step=check)
    for _, request, _ in requests:
        assert request.generated == received[request]
        assert (request.cached_tokens or 0) < request.prompt_tokens
        if request.finish_reason != "abort":
            assert received[request] == request.output_tokens
    assert engine.generation_tokens == sum(received.values())
    assert all(later.start >= earlier.end for earlier, later in pairwise(steps))
    assert (engine.running, engine.waiting, engine.kv.free) == (0, 0, engine.kv.size)
    assert engine._context == 0
    assert not any(engine._last_tokens.values())
    assert not any(engine._full_blocks)


def check_blocks(engine):
    """Between two steps: each block is free or held, by as many as it says, and what is written to by one only."""
    holders = {}
    for request in engine._running:
        assert len(set(request.blocks)) == len(request.blocks)
        for at, block in enumerate(request.blocks):
            holders.setdefault(block, []).append((request, at))
    assert engine.kv.free + len(holders) == engine.kv.size
    context = 0
    for request in engine._decoding:
        context += request.computed + engine.steps - request.decoding_since
    assert engine._context == context
    for held_by in holders.values():
        if len(held_by) > 1:
            assert len({(at, request.hashes[at]) for request, at in held_by}) == 1, "shared, but not the same tokens"
            for request, at in held_by:
                computed = request.computed
                if request.decoding_since is not None:
                    computed += engine.steps - request.decoding_since
                assert (at + 1) * engine.profile.block_size <= computed, "shared, but still written to"

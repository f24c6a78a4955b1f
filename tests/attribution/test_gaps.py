"""The gaps between chunks, told apart: worked out by hand."""

import random
from statistics import fmean
from typing import Any

import pytest

from swarm.analysis.slowdown.attribution import PrefillCost
from swarm.analysis.slowdown.gaps import MOST_PENDING, Gaps, Stalls, usual
from swarm.recording.records import Attempt

MS = 1_000_000


def attempt(agent: int, send: float, waits: list[float], **fields: Any) -> Attempt:
    """Times are milliseconds."""
    gaps = [round(wait * MS) for wait in waits]
    start = round(send * MS)
    given: dict[str, Any] = {
        "chunks": gaps,
        "first_token_ns": start + gaps[0],
        "last_token_ns": start + sum(gaps),
        "end_ns": start + sum(gaps),
        "prompt_tokens": 1000,
        "completion_tokens": len(waits),
    }
    header = {"id": "0.1", "run": "r", "target": "moe", "agents": 2, "trial": 1, "task": "t", "variant": "v"}
    return Attempt(**header, agent=agent, t_ns=start, intended_ns=start, **given | fields)


def alone() -> Gaps:
    gaps = Gaps(1)
    gaps.add(attempt(0, 0, [50] + [10] * 40), Stalls())
    gaps.close()
    return gaps


def accounted(*attempts: Attempt, agents: int = 2) -> tuple[list[Stalls], Gaps]:
    """Each attempt's stalls, after all have come in."""
    gaps, stalls = Gaps(agents), [Stalls() for _ in attempts]
    for each, account in zip(attempts, stalls, strict=True):
        gaps.add(each, account)
        gaps.heard(each.agent, each.end_ns)
    gaps.close()
    return stalls, gaps


def prefill_ms(stalls: Stalls, gaps: Gaps) -> float:
    return stalls.prefill_ns(gaps.steps(alone())) / MS


def test_a_long_gap_while_another_waits_for_its_first_token_is_prefill() -> None:
    writer = attempt(0, 0, [50] + [10] * 30 + [90] + [15] * 30)
    newcomer = attempt(1, 345, [95] + [15] * 30)
    (mine, its), gaps = accounted(writer, newcomer)
    assert prefill_ms(mine, gaps) == pytest.approx(90 - 10)
    assert prefill_ms(its, gaps) == 0
    assert (mine.preempted_ns, its.preempted_ns) == (0, 0)


def test_a_long_gap_while_nobody_waits_is_not_prefill() -> None:
    (mine,), gaps = accounted(attempt(0, 0, [50] + [10] * 30 + [90] + [10] * 30), agents=1)
    assert prefill_ms(mine, gaps) == 0


def test_more_streams_make_longer_steps_and_that_is_not_prefill() -> None:
    """The second one streams all along, so that both steps take 15 ms; a third waits in the queue all the time."""
    both = [attempt(agent, 0, [50] + [15] * 60) for agent in (0, 1)]
    queued = attempt(2, 0, [960, 10])
    stalls, gaps = accounted(*both, queued, agents=3)
    assert [prefill_ms(each, gaps) for each in stalls] == pytest.approx([0, 0, 0])


def test_a_stream_that_stands_still_while_another_goes_on_is_preempted() -> None:
    preempted = attempt(0, 0, [50] + [10] * 20 + [400] + [10] * 20)
    other = attempt(1, 0, [50] + [10] * 80)
    (mine, others), _ = accounted(preempted, other)
    assert (mine.preempted_ns / MS, others.preempted_ns) == (400, 0)


def test_a_chunk_of_many_tokens_is_no_preemption() -> None:
    tokens = [1] * 20 + [40] + [1] * 20
    hiding = attempt(0, 0, [50] + [10] * 19 + [400] + [10] * 20, chunk_tokens=tokens, completion_tokens=79)
    (mine, _), _ = accounted(hiding, attempt(1, 0, [50] + [10] * 80))
    assert mine.preempted_ns == 0


def test_it_does_not_matter_how_late_attempts_come_in() -> None:
    rng = random.Random(5)
    ended = []
    for agent in range(4):
        at = 0.0
        for _ in range(60):
            waits = [rng.uniform(20, 80), *(rng.uniform(8, 30) for _ in range(20))]
            ended.append(attempt(agent, at, waits))
            at += sum(waits) + rng.uniform(0, 50)
    by_end = sorted(ended, key=lambda each: each.end_ns)
    agents_one_by_one = sorted(ended, key=lambda each: (each.agent, each.end_ns))
    sums = []
    for order in (by_end, agents_one_by_one):
        stalls, gaps = accounted(*order, agents=4)
        steps = gaps.steps(alone())
        sums.append((sum(each.preempted_ns for each in stalls), sum(each.prefill_ns(steps) for each in stalls)))
    assert sums[0] == pytest.approx(sums[1])


def test_few_attempts_are_kept() -> None:
    gaps = Gaps(2)
    for number in range(2000):
        for agent in (0, 1):
            gaps.add(attempt(agent, number * 100, [50, 10, 10]), Stalls())
            gaps.heard(agent, (number * 100 + 70) * MS)
        assert len(gaps._pending) < 200
    assert gaps.complete


def test_when_an_agent_is_never_heard_of_it_is_said_and_memory_stays_bounded() -> None:
    gaps = Gaps(2)
    one = attempt(0, 0, [50, 10])
    for number in range(MOST_PENDING + 2):
        gaps.add(one, Stalls())
        gaps.heard(0, number)
    assert not gaps.complete
    assert len(gaps._pending) <= MOST_PENDING


def test_the_usual_gap_is_that_of_most_and_not_of_the_long_ones() -> None:
    gaps = [(ns, 0.0) for ns in [10.0] * 6 + [11.0] * 2 + [80.0, 200.0, 500.0]]
    assert usual(gaps) == pytest.approx(fmean([10.0] * 6 + [11.0] * 2))


def test_contexts_that_cost_more_than_the_whole_gap_are_taken_off_all_the_same() -> None:
    """A bug: the longest usual gap was then below all of them."""
    assert usual([(10.0, 100.0), (10.0, 110.0), (12.0, 120.0)], 1.0) == pytest.approx(fmean([-90, -100, -108]))


@pytest.mark.parametrize(("noise_ms", "least", "most"), [(0.0, 0.99, 1.01), (8.0, 0.0, 0.0)])
def test_what_contexts_cost_is_believed_only_where_it_is_no_chance(noise_ms: float, least: float, most: float) -> None:
    rng, gaps = random.Random(3), Gaps(1)
    for number in range(20):
        context = 1000 + 10 * number
        waits = [50, *(10 + context * 0.001 + rng.uniform(-noise_ms, noise_ms) for _ in range(10))]
        gaps.add(attempt(0, 1000 * number, waits, prompt_tokens=context, completion_tokens=0), Stalls())
    gaps.close()
    assert least <= gaps.steps(gaps).ns_per_context / (0.001 * MS) <= most


def test_what_prompt_tokens_cost_is_found_from_waits_alone() -> None:
    cost = PrefillCost()
    for cold, cached in ((3000, 0), (200, 3000), (100, 5000), (400, 1000), (50, 6000), (600, 2500)):
        pairs = cold * cached + cold * (cold + 1) // 2
        cost.add(cold, pairs, 30 * MS + 400_000 * cold + 50 * pairs)
    assert cost.ns(1000, 2_000_000) == pytest.approx(400_000 * 1000 + 50 * 2_000_000)
    assert cost.ns(0, 0) == 0


def test_what_prompt_tokens_cost_is_unknown_where_all_prompts_are_alike() -> None:
    cost = PrefillCost()
    assert cost.ns(100, 1000) is None
    for _ in range(5):
        cost.add(100, 1000, 7 * MS)
    assert cost.ns(100, 1000) is None
    assert cost.ns(0, 0) == 0

"""Sessions that are drawn: within their context, of one piece, and the same for the same seed."""

import itertools
from statistics import mean, median

import pytest
from hypothesis import assume, given
from shapes import shapes

from swarm.sessions.plan import MOST_STEPS, everything, plan
from swarm.sessions.presets import PRESETS


def planned(shape, seed=7, sessions=3):
    try:
        return plan(shape, seed, sessions)
    except ValueError:
        assume(False)


def prompts(session):
    """The pieces of each step's whole prompt."""
    held = []
    for step in session.steps:
        assert step.kept <= len(held)
        held = held[: step.kept] + list(step.added)
        yield step, held


@given(shapes())
def test_every_prompt_and_reply_fit_into_the_context_together(shape):
    for session in everything(planned(shape)):
        for step, held in prompts(session):
            assert step.prompt_tokens == sum(piece.tokens for piece in held)
            assert step.prompt_tokens + step.reply_tokens <= shape.context
            assert step.added


@given(shapes())
def test_every_call_is_answered_by_as_many_results_and_roles_take_turns(shape):
    for session in everything(planned(shape)):
        for _, held in prompts(session):
            assert held[0].role == "system"
            open_calls = 0
            for before, piece in itertools.pairwise(held):
                if piece.role == "tool":
                    open_calls -= 1
                elif piece.role == "assistant":
                    assert before.role in ("user", "tool")
                    assert not open_calls
                    open_calls = len(piece.calls)
                assert open_calls >= 0
            assert not open_calls
            assert held[-1].role in ("user", "tool")


@given(shapes())
def test_jobs_cover_a_session_without_gaps_and_end_with_a_reply_that_calls_no_tool(shape):
    for session in planned(shape):
        assert session.jobs
        ends = [0, *(job.behind for job in session.jobs)]
        assert [job.first for job in session.jobs] == ends[:-1]
        assert ends[-1] == len(session.steps)
        for job in session.jobs:
            assert job.behind > job.first
            assert not session.steps[job.behind - 1].tools
            assert session.steps[job.first].added[-1].role == "user"


@given(shapes())
def test_a_result_in_the_background_is_in_no_prompt_before_the_step_that_awaits_it(shape):
    for session in planned(shape):
        launched = {it.session: it.joins for step in session.steps for it in step.launches}
        awaited = [name for step in session.steps for name in step.awaits]
        assert len(awaited) == len(set(awaited))
        assert not [name for name in awaited if launched.get(name) is not False]
        for step in session.steps:
            if step.awaits:
                assert step.added[-1].role == "user"


@given(shapes())
def test_what_all_agents_share_is_one_system_prompt_for_each_kind_of_session(shape):
    shared = {}
    for session in everything(planned(shape)):
        for step in session.steps:
            for at, piece in enumerate(step.added):
                if piece.shared:
                    assert at == 0
                    shared.setdefault(piece.link, set()).add(piece.tokens)
    assert set(shared) <= {"system", "sub-system", "side-system"}
    assert all(len(sizes) == 1 for sizes in shared.values())


@given(shapes())
def test_links_of_a_session_are_its_own(shape):
    links = [
        piece.link
        for session in everything(planned(shape))
        for step in session.steps
        for piece in step.added
        if not piece.shared
    ]
    assert len(links) == len(set(links))


def test_the_same_seed_gives_the_same_sessions_and_another_one_others():
    shape = PRESETS["coding"]
    assert plan.__wrapped__(shape, 7) == plan.__wrapped__(shape, 7)
    assert plan.__wrapped__(shape, 7) != plan.__wrapped__(shape, 8)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_the_lengths_that_they_are_given_by(name):
    shape = PRESETS[name]
    steps = [step for session in plan(shape, 7) for step in session.steps if not step.launches]
    replies = [step.reply_tokens for step in steps]
    assert median(replies) == pytest.approx(shape.reply.median, rel=0.12)
    assert mean(replies) == pytest.approx(shape.reply.mean, rel=0.2)
    assert median(step.tool_s for step in steps if step.tools) == pytest.approx(shape.tools.median, rel=0.35)
    assert max(step.prompt_tokens + step.reply_tokens for step in steps) > 0.85 * shape.context


def test_sessions_of_swe_agents_are_as_long_as_those_that_were_published():
    sessions = plan(PRESETS["swe-agent"], 7)
    assert mean(len(session.steps) for session in sessions) == pytest.approx(64, rel=0.12)
    deepest = mean(session.steps[-1].prompt_tokens for session in sessions)
    assert deepest == pytest.approx(27_000, rel=0.15)


def test_a_compaction_leaves_nothing_but_the_system_prompt_and_is_asked_for_with_the_whole_history():
    found = 0
    for session in plan(PRESETS["coding"], 7):
        for before, step in zip(session.steps, session.steps[1:], strict=False):
            if step.kept == 1:
                found += 1
                assert before.reply_tokens == 1_600
                assert not before.tools
                assert step.prompt_tokens < before.prompt_tokens / 2 + 8_000
    assert found >= 10


def test_sessions_end_however_many_turns_are_asked_for():
    from dataclasses import replace

    from swarm.sessions.spread import Spread

    endless = replace(PRESETS["session-short"], messages=Spread(9_999, 9_999, 9_999, 9_999), compaction=True)
    (session,) = plan(endless, 7, 1)
    assert MOST_STEPS < len(session.steps) < MOST_STEPS + 50

"""Replies that came whole, and yet not as they should: a note says so, and the stage stays valid."""

from collections.abc import Callable
from typing import Any

from synthetic import Run

OnlyStage = Callable[[Run], dict[str, Any]]


def of_replies(only_stage: OnlyStage, **fields: Any) -> dict[str, Any]:
    """A stage of good replies, one in four of which has these fields."""
    run = Run()
    stage = run.stage()
    for number in range(16):
        odd = fields if number % 4 == 0 else {}
        attempt = stage.attempt(number / 2, **{"first_tokens": 1} | odd)
        stage.turn(number / 2, number / 2 + 0.4)
        assert attempt.error is None
    stage.end(counters=None)
    return only_stage(run)


def about(found: dict[str, Any], words: str) -> list[str]:
    return [note for note in found["notes"] if words in note]


def test_a_first_chunk_of_many_tokens_makes_ttft_an_upper_bound(only_stage: OnlyStage) -> None:
    (note,) = about(of_replies(only_stage, first_tokens=23), "TTFT is an upper bound")
    assert "in 25% of the replies the first chunk with text already held more than 8 tokens (up to 23)" in note
    assert not about(of_replies(only_stage, first_tokens=8), "TTFT is an upper bound")
    assert not about(of_replies(only_stage, first_tokens=None), "TTFT is an upper bound")


def test_counts_that_cannot_be_are_told_and_no_share_of_cached_tokens_is_above_one(only_stage: OnlyStage) -> None:
    doubts = {"cached_tokens": "10000000 of 1000 prompt tokens"}
    found = of_replies(only_stage, cached_tokens=None, doubts=doubts)
    (note,) = about(found, "impossible token counts")
    assert "came with 4 requests and are treated as unknown; the first: cached_tokens 10000000 of 1000" in note
    assert found["tokens"]["cached_prompt"] <= found["tokens"]["prompt"]
    assert not about(of_replies(only_stage), "impossible token counts")


def test_replies_that_a_filter_ended_are_told(only_stage: OnlyStage) -> None:
    (note,) = about(of_replies(only_stage, finish_reason="content_filter"), "filtered")
    assert note.startswith("filtered: 4 replies")


def test_empty_replies_are_errors_by_that_name(only_stage: OnlyStage) -> None:
    found = of_replies(only_stage)
    run = Run()
    stage = run.stage()
    stage.failed(1.0, 1.5, "empty", message="the reply was empty")
    stage.end(counters=None)
    found = only_stage(run)
    assert found["errors"] == {"empty": 1}
    assert any("1 empty (the reply was empty)" in reason for reason in found["invalid_reasons"])

"""What a run means in a sentence: honest also when it means little."""

from collections.abc import Callable
from typing import Any

from as_json import sentences
from synthetic import Run

Analysed = Callable[[Run], dict[str, Any]]
ONCE = "One trial: small differences may be noise. Use at least 3 trials before drawing conclusions."


def two(moe: tuple[float, ...], dense: tuple[float, ...], levels: list[int], trials: int = 1) -> Run:
    """`moe`, `dense`: how much slower the replies are, by level."""
    run = Run(targets={"moe": "moe", "dense": "dense"}, levels=levels, trials=trials)
    for trial in range(1, trials + 1):
        for index, level in enumerate(levels):
            run.healthy("moe", level, trial, slower=moe[index])
            run.healthy("dense", level, trial, slower=dense[index])
    return run


def test_two_models_that_contend(analysed: Analysed) -> None:
    results = analysed(two(moe=(0.25, 0.5), dense=(1.0, 1.25), levels=[1, 4]))
    assert sentences(results) == [
        "At 4 agents moe keeps 50% of its single-agent speed (33 tok/s per agent), "
        "dense 80% (13 tok/s); "
        "moe is still 2.5x as fast per agent.",
        "A job takes 1.9 s on moe (1.0x as long as alone), 1.9 s on dense (1.0x as long as alone).",
        ONCE,
    ]


def test_the_faster_model_that_also_keeps_more(analysed: Analysed) -> None:
    first, *_ = sentences(analysed(two(moe=(0.5, 0.5), dense=(1.0, 1.25), levels=[1, 2])))
    assert first == (
        "At 2 agents moe keeps 100% of its single-agent speed (33 tok/s per agent), "
        "dense 80% (13 tok/s); "
        "moe is 2.5x as fast per agent."
    )


def test_two_models_that_are_about_as_fast(analysed: Analysed) -> None:
    first, *_ = sentences(analysed(two(moe=(0.5, 1.0), dense=(1.0, 1.01), levels=[1, 2])))
    assert first.endswith("; both are about equally fast per agent.")


def test_three_trials_need_no_caveat(analysed: Analysed) -> None:
    assert ONCE not in sentences(analysed(two(moe=(0.5, 1.0), dense=(1.0, 1.0), levels=[1, 2], trials=3)))


def test_of_agents_that_a_model_drove_it_says_that_their_work_was_not_equal(analysed: Analysed) -> None:
    run = Run(levels=[1, 2], driver="model")
    run.healthy(agents=1)
    run.healthy(agents=2)
    results = analysed(run)
    assert results["driver"] == "model"
    assert sentences(results)[-2] == (
        "The model chose what its agents did, so levels and models did not do equal work; "
        "to compare them, use driver: script."
    )
    scripted = Run()
    scripted.healthy()
    assert not any("equal work" in sentence for sentence in sentences(analysed(scripted)))


def test_one_target(analysed: Analysed) -> None:
    run = Run(levels=[1, 2])
    run.healthy(agents=1)
    run.healthy(agents=2, slower=1.25, jobs=3)
    told = "At 2 agents moe keeps 80% of its single-agent speed (13 tok/s per agent)."
    assert sentences(analysed(run)) == [told, ONCE]


def test_a_single_level_says_nothing_about_contention(analysed: Analysed) -> None:
    results = analysed(two(moe=(0.5,), dense=(1.0,), levels=[4]))
    assert sentences(results)[0] == (
        "At 4 agents moe writes 33 tok/s per agent, dense 17; moe is 2.0x as fast per agent. "
        "How much agents slow each other down was not measured: add a valid stage of 1 agent."
    )


def test_one_agent_alone_says_nothing_about_contention(analysed: Analysed) -> None:
    run = Run()
    run.healthy(slower=2.5, period=2.0, window_s=20)
    assert sentences(analysed(run))[:2] == [
        "At 1 agent moe writes 6.7 tok/s per agent. "
        "How much agents slow each other down was not measured: add a valid stage of more agents.",
        "A job takes 3.9 s on moe.",
    ]


def test_an_invalid_stage_is_warned_of_and_not_spoken_of(analysed: Analysed) -> None:
    run = Run(levels=[1, 2, 4])
    run.healthy(agents=1)
    run.healthy(agents=2, slower=1.25)
    run.healthy(agents=4, until=5.0)
    found = sentences(analysed(run))
    assert found[0] == "1 of 3 stages is invalid: do not use its numbers."
    assert found[1] == "At 2 agents moe keeps 80% of its single-agent speed (13 tok/s per agent)."


def test_an_invalid_base_takes_contention_away(analysed: Analysed) -> None:
    run = Run(levels=[1, 2])
    run.healthy(agents=1, until=5.0)
    run.healthy(agents=2, slower=1.25)
    found = sentences(analysed(run))
    told = "At 2 agents moe writes 13 tok/s per agent. How much agents slow each other down"
    assert found[1].startswith(told)


def test_targets_without_a_common_valid_level_are_told_each_by_itself(analysed: Analysed) -> None:
    run = Run(targets={"moe": "moe", "dense": "dense"}, levels=[1, 2])
    run.healthy("moe", 1)
    run.healthy("dense", 1, until=5.0)
    run.healthy("moe", 2, until=5.0)
    run.healthy("dense", 2)
    found = sentences(analysed(run))
    assert found[0] == "2 of 4 stages are invalid: do not use their numbers."
    assert "At 1 agent moe writes 17 tok/s per agent." in found[1]
    assert "At 2 agents dense writes 17 tok/s per agent." in found[1]


def test_what_only_one_target_can_tell_of_contention_is_told(analysed: Analysed) -> None:
    run = Run(targets={"moe": "moe", "dense": "dense"}, levels=[1, 2])
    run.healthy("moe", 1)
    run.healthy("dense", 1)
    run.healthy("moe", 2, slower=1.25)
    run.healthy("dense", 2, until=5.0)
    found = sentences(analysed(run))
    assert found[1:] == [
        "At 2 agents moe keeps 80% of its single-agent speed (13 tok/s per agent). "
        "At 1 agent dense writes 17 tok/s per agent. "
        "How much agents slow each other down was not measured: add a valid stage of more agents.",
        ONCE,
    ]


def test_no_valid_stage_and_nothing_measured(analysed: Analysed) -> None:
    run = Run()
    run.healthy(until=5.0)
    assert sentences(analysed(run)) == [
        "The only stage is invalid: do not use its numbers.",
        "No stage is valid, so nothing can be concluded.",
    ]
    assert sentences(analysed(Run(levels=[1, 4])))[1:] == ["Nothing was measured."]


def test_a_prediction_is_called_one(analysed: Analysed) -> None:
    results = analysed(two(moe=(0.5, 1.0), dense=(1.0, 1.0), levels=[1, 2]))
    found = sentences(results | {"predicted": True})
    assert found[0] == "Predicted by the contention model, not measured."
    assert ONCE not in found


def test_a_prediction_with_an_invalid_stage_is_called_one_too(analysed: Analysed) -> None:
    run = Run(levels=[1, 2], predicted=True)
    run.healthy(agents=1)
    run.healthy(agents=2, until=5.0)
    assert sentences(analysed(run))[0] == (
        "Predicted by the contention model, not measured. 1 of 2 stages is invalid: do not use its numbers."
    )

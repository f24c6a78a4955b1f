"""How far off a prediction may be: by class, and widened where a class has too few points."""

import pytest

from swarm.simulator.profiles import accuracy, data_files, profiles
from swarm.simulator.profiles.accuracy import LEAST_POINTS, WIDENED, band, bands, expected

H100 = "qwen3-8b-bf16-1xh100"


def h100():
    from dataclasses import replace

    # Only the class counts here: one GPU, 16-bit weights.
    return replace(profiles.load("qwen3-14b-bf16-1xrtxpro6000"), name=H100)


def test_bands_are_closed_above():
    assert [band(value, (4, 32)) for value in (1, 4, 4.5, 32, 33)] == ["<=4", "<=4", "<=32", "<=32", ">32"]


def test_a_class_of_enough_points_has_its_own_error():
    known = [one for one in data_files.accuracy()["classes"] if one["points"] >= LEAST_POINTS]
    assert known
    for one in known:
        if (one["kind"], one["link"], one["quant"]) == ("decode", "", "bf16"):
            streams = {"<=4": 2, "<=32": 16, ">32": 64}[one["streams"]]
            context = {"<=4000": 1000, ">4000": 9000}[one["context"]]
            found = expected(h100(), streams, context)
            assert (found.decode, found.points, found.pooled) == (one["error"], one["points"], False)
            assert found.advice is None
            break
    else:
        pytest.fail("no class of decoding on one GPU in 16 bits")


def test_a_class_of_few_points_takes_the_error_of_all_widened_and_says_to_measure():
    pooled = data_files.accuracy()["pooled"]
    found = expected(profiles.load("qwen3.5-35b-a3b-awq-2xrtx3090", link="pcie"), 8, 20_000)
    assert found.decode == pytest.approx(WIDENED * pooled["decode"]["error"], abs=1e-3)
    assert found.pooled
    assert found.advice is not None
    assert "measure it" in found.advice


def test_what_was_measured_of_a_machine_says_its_own_errors():
    from dataclasses import replace

    calibrated = replace(h100(), decode_error=0.03, ttft_error=0.06)
    assert expected(calibrated, 64, 30_000) == accuracy.Expected(0.03, 0.06, 0, pooled=False)


def test_a_profile_that_was_fitted_to_runs_of_few_requests_is_no_better_beyond_them():
    fitted = profiles.load("moe-30b-a3b-awq-1x3090")
    assert expected(fitted, 4, 2000).decode == fitted.decode_error == 0.025
    assert expected(fitted, 16, 2000).decode > 0.025
    assert expected(fitted, 4, 20_000).decode > 0.025


def test_the_bands_of_a_profile_are_in_the_order_in_which_they_are_looked_up():
    found = bands(h100())
    assert [(one["streams"], one["context"]) for one in found] == [
        (4, 4000),
        (4, None),
        (32, 4000),
        (32, None),
        (None, 4000),
        (None, None),
    ]
    assert all(one["tokens_per_s"] > 0 and one["ttft_s"] > 0 for one in found)


def test_every_packaged_profile_has_errors_everywhere():
    for name in profiles.names():
        for one in bands(profiles.load(name)):
            assert 0 < one["tokens_per_s"] < 1, name
            assert 0 < one["ttft_s"] < 1, name

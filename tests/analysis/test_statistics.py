"""Batch means, MSER-5 and the scaling law, on series whose truth is known."""

import math
import random

import pytest
from as_json import objects
from hypothesis import given
from hypothesis import strategies as st

from swarm.analysis import compare_targets
from swarm.analysis.stats import usl
from swarm.analysis.stats.batch_means import batch_means, mser5
from swarm.analysis.stats.paired_ratio import paired_log_ratio, t_interval
from swarm.analysis.trial.warmup import Output
from swarm.analysis.window import Window
from swarm.recording.records import Attempt
from swarm.results import plain


def fit(rates):
    return plain(usl.fit(rates))


def crossings(rows):
    return plain(compare_targets.crossings(objects(rows)))


def follows(phi: float, count: int, rng: random.Random) -> list[float]:
    """A series around 10 in which each value resembles the last one (autocorrelation `phi`)."""
    value, series = rng.gauss(0, 1) / math.sqrt(1 - phi * phi), []
    for _ in range(count):
        value = phi * value + rng.gauss(0, 1)
        series.append(10 + value)
    return series


def coverage(phi: float, interval) -> float:
    series = (follows(phi, 400, random.Random(seed)) for seed in range(200))
    return sum(low < 10 < high for low, high in map(interval, series)) / 200


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.7])
def test_intervals_of_batch_means_hold_the_truth_where_those_of_single_values_do_not(phi):
    assert 0.89 < coverage(phi, lambda series: t_interval(batch_means(series))) <= 0.99
    if phi:
        assert coverage(phi, t_interval) < 0.8


def test_twenty_batches_are_the_means_of_neighbours():
    assert batch_means(list(range(41))) == [0.5 + 2 * number for number in range(20)]
    assert batch_means([1.0] * 19) == []


def starting_up(until: int, rng: random.Random) -> list[float]:
    """1000 values; the first `until` of them fall from 30 to 10."""
    noise = follows(0.3, 1000, rng)
    return [value + (20 * (1 - place / until) if place < until else 0) for place, value in enumerate(noise)]


@pytest.mark.parametrize("until", [100, 250])
def test_mser5_cuts_off_a_start_up_and_little_more(until):
    cuts = [mser5(starting_up(until, random.Random(seed))) for seed in range(60)]
    assert None not in cuts
    near = sum(0.7 * until <= cut <= 1.3 * until for cut in cuts)
    assert near >= 54


def test_mser5_finds_nothing_to_cut_in_steady_noise():
    cuts = [mser5(follows(0.3, 1000, random.Random(seed))) for seed in range(60)]
    assert sorted(cuts)[50] <= 50


def test_a_cut_beyond_half_of_the_data_is_rejected_and_so_are_too_few_data():
    late = [0.0] * 700 + [10.0] * 300
    assert mser5(late) is None
    assert mser5([1.0, 2.0] * 49) is None


@given(st.floats(0.001, 1e9), st.integers(100, 400))
def test_a_constant_series_has_no_start_up(value, count):
    assert mser5([value] * count) == 0


def test_one_of_twenty_pairs_without_a_difference_is_called_significant():
    """Drift that hits both of a pair, and noise of 5%, over three trials."""
    rng, found = random.Random(3), 0
    for _ in range(2000):
        drift = [rng.lognormvariate(0, 0.3) for _ in range(3)]
        one, other = ([value * rng.lognormvariate(0, 0.05) for value in drift] for _ in range(2))
        found += bool(paired_log_ratio(one, other).significant)
    assert 0.035 < found / 2000 < 0.065


def law(contention: float, coherency: float, noise: float = 0.0, seed: int = 0, levels=(1, 2, 4, 8, 16, 32)):
    rng = random.Random(seed)
    return {
        n: 50 * n / (1 + contention * (n - 1) + coherency * n * (n - 1)) * rng.lognormvariate(0, noise) for n in levels
    }


def test_the_scaling_law_gives_back_what_made_the_curve_and_its_peak():
    found = fit(law(0.05, 0.002))
    assert found["alone"]["value"] == pytest.approx(50)
    assert found["contention"]["value"] == pytest.approx(0.05)
    assert found["coherency"]["value"] == pytest.approx(0.002)
    assert found["peak_agents"]["value"] == pytest.approx(math.sqrt(0.95 / 0.002))
    assert (found["reason"], found["misfit"]) == (None, pytest.approx(0, abs=1e-9))


@pytest.mark.parametrize(("contention", "coherency"), [(0.05, 0.002), (0.1, 0.0), (0.3, 0.001)])
def test_its_intervals_hold_the_truth(contention, coherency):
    fits = [fit(law(contention, coherency, 0.03, seed)) for seed in range(200)]
    for key, truth in (("contention", contention), ("coherency", coherency), ("alone", 50)):
        held = sum(low <= truth <= high for low, high in (fit[key]["ci95"] for fit in fits))
        assert held >= 180


def test_without_six_levels_or_with_a_cliff_the_law_is_refused_with_the_reason():
    few = fit(law(0.05, 0.002, levels=(1, 4, 8)))
    assert few["contention"] is None
    assert few["reason"].startswith("the Universal Scalability Law needs 6 valid levels, and there are 3")
    cliff = fit({1: 50, 2: 100, 4: 200, 8: 400, 16: 40, 32: 40})
    assert cliff["contention"] is None
    assert "does not follow the Universal Scalability Law" in cliff["reason"]


def test_a_curve_that_nothing_bends_down_has_no_peak():
    found = fit(law(0.1, 0.0, 0.01))
    assert found["peak_agents"] is None
    assert found["coherency"]["ci95"][0] == 0


def row(agents, ratio, significant=True):
    return {
        "agents": agents, "metric": "job_s.p50", "baseline": "dense", "candidate": "moe",
        "ratio": ratio, "significant": significant,
    }  # fmt: skip


def test_curves_cross_where_the_ratio_passes_one_on_logarithmic_axes():
    (found,) = crossings([row(1, 2.0), row(4, 2.0), row(16, 0.5), row(64, 0.4)])
    assert found["between"] == [4, 16]
    assert found["agents"] == pytest.approx(8)
    assert found["significant"] is True


def test_curves_that_do_not_cross_and_those_that_may_have_by_chance():
    assert crossings([row(1, 2.0), row(4, 1.5), row(8, None)]) == []
    (found,) = crossings([row(1, 2.0), row(4, 0.99, significant=False)])
    assert found["significant"] is False


def test_what_sums_leave_where_nothing_was_written_is_no_rate():
    output = Output(0, Window(0, 600_000_000_000))
    rng = random.Random(3)
    for _ in range(40):
        first, last, tokens = rng.randrange(10**9), rng.randrange(2 * 10**9, 9 * 10**9), rng.randrange(1, 50)
        output.add(
            Attempt(
                id="0.1",
                run="r",
                target="moe",
                agents=1,
                trial=1,
                task="t",
                variant="v",
                t_ns=0,
                intended_ns=0,
                first_token_ns=first,
                last_token_ns=last,
                end_ns=last,
                completion_tokens=tokens,
            )
        )
    assert sum(output.rates()) > 0
    assert sum(output.rates()[100:]) == 0.0

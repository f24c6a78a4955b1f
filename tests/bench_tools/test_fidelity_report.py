"""What the fidelity bench makes of its runs; the runs themselves need a quiet machine."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def root_on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


def run(case="32 x 200 tok/s", route="direct", p99=10.0, others=0.0, slip=1.0, realtime=False, **fields):
    return {
        "case": case,
        "route": route,
        "itl_error_us": {"p50": 1.0, "p99": p99, "max": 2 * p99},
        "ttft_error_us": {"p50": 5.0, "p99": 20.0},
        "others_share": others,
        "server_slip_p99_us": slip,
        "slip_limit_us": 100.0,
        "realtime": realtime,
        "cpu_us_per_chunk": 50.0,
        "streams": 32,
        "rate": 200,
        "bursts": True,
        "chunks": 1000,
        "chunks_per_s": 6400.0,
        "coalesced": 1,
        "lag_us": {"p99": 100.0},
        "rss_mb": 60.0,
        "failed": 0,
    } | fields


def test_only_quiet_runs_count_and_their_median_is_shown():
    from bench.fidelity.report import medians

    (result,) = medians([run(p99=10), run(p99=30), run(p99=20), run(p99=900, others=0.2), run(p99=900, slip=101)])
    assert (result["itl_error_us"]["p99"], result["rounds"], result["quiet"]) == (20, 3, True)


def test_where_no_run_was_quiet_the_quietest_is_shown_and_marked():
    from bench.fidelity.report import medians, own_table

    (result,) = medians([run(p99=900, others=0.5, slip=3), run(p99=40, others=0.3, slip=2)])
    assert (result["itl_error_us"]["p99"], result["quiet"]) == (40, False)
    assert own_table([result]).splitlines()[-1] == (
        "| 32 x 200 tok/s | direct | 1.0 / 40.0 / 80.0 | 5.0 / 20.0 | 50 | 100 | 0.1% | 60 | 1 (machine busy) |"
    )


def test_what_goes_before_all_else_does_not_mind_others_but_a_late_server():
    from bench.fidelity.report import is_quiet

    assert is_quiet(run(others=0.5, realtime=True))
    assert not is_quiet(run(slip=101, realtime=True))


def test_the_rounds_go_on_where_they_were_stopped_and_interleave():
    from bench.fidelity.__main__ import BURSTS, STAGGERED, next_of

    wanted = [(STAGGERED, "direct"), (STAGGERED, "litellm"), (BURSTS, "direct")]
    runs = [run(STAGGERED.name, "direct"), run(STAGGERED.name, "litellm"), run(BURSTS.name, "direct", others=0.9)]
    assert next_of(wanted, runs[:1], 1) == (STAGGERED, "litellm")
    assert next_of(wanted, runs, 1) == (BURSTS, "direct")  # that one was not quiet
    assert next_of(wanted, [*runs, runs[2]], 1) is None  # tried often enough
    assert next_of(wanted, runs[:2], 2) == (BURSTS, "direct")


def test_the_page_is_written_between_its_marks_with_both_plots(tmp_path):
    from bench.fidelity.report import medians, write

    page = tmp_path / "fidelity.md"
    page.write_text("Before.\n\n<!-- results -->\nold\n<!-- end of results -->\n\nAfter.\n")
    peer = {"load_after_s": 12.0, "processes": 3, "cpu_share": 0.9, "itl_of_means": True}
    runs = [
        run(),
        run(streams=64, p99=1500.0, case="64 x 200 tok/s"),
        run(route="GuideLLM", cpu_us_per_chunk=500.0, **peer),
    ]
    swarm = peer | {"itl_of_means": False, "load_after_s": 1.5}
    write(page, medians([*runs, run(route="swarm run, direct", cpu_us_per_chunk=100.0, **swarm)]))
    text = page.read_text()
    assert text.startswith("Before.\n\n<!-- results -->\n\nMeasured on: ")
    assert text.endswith("<!-- end of results -->\n\nAfter.\n")
    assert "\nold\n" not in text
    assert "p99 error is below 1 ms: direct with 32 streams (6,400 chunks/s)." in text
    assert "- 32 x 200 tok/s: swarm run, direct takes 1/5.0 of the CPU per token of GuideLLM" in text
    for plot in ("fidelity-errors.svg", "fidelity-load.svg"):
        assert f"]({plot})" in text
        assert (tmp_path / plot).read_text().startswith("<svg")


def test_requests_of_a_whole_run_are_found_again_by_when_they_were_sent(tmp_path):
    """Two requests of swarm's probe come first; the two time lines are 5 s apart, and requests take 40 us to arrive."""
    from bench.fidelity.peers import read_swarm

    sends = [1_000_000, 3_000_000, 3_500_000, 9_000_000]
    lines = [
        {"type": "attempt", "t_ns": send, "aborted": False, "chunks": [50_000_000, 5_000_000 + number]}
        for number, send in enumerate(sends)
    ]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "events.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    arrived = [-900_000, -800_000, *sends]
    log = {f"r{place}": {"received_ns": 5_000_000_000 + at + 40_000} for place, at in enumerate(arrived)}
    assert list(read_swarm(tmp_path, log)) == [
        (f"r{number + 2}", 0.05, [(5_000_000 + number) / 1e9]) for number in range(4)
    ]


def test_what_a_bench_prints_replaces_what_it_printed_before(monkeypatch):
    from bench.__main__ import BENCHES, put

    monkeypatch.setattr("bench.__main__.machine", lambda: "a machine")
    page = "A\n<!-- one -->\nold\n<!-- end of one -->\nB\n"
    once = put(page, "one", "new")
    assert once == "A\n<!-- one -->\n```text\nnew\n```\n\na machine\n<!-- end of one -->\nB\n"
    assert put(once, "one", "new") == once
    with pytest.raises(ValueError, match="two"):
        put(page, "two", "new")
    for name, bench in BENCHES.items():
        assert bench.writes_it or f"<!-- {name} -->" in bench.page.read_text()


def test_every_bench_can_be_started():
    from bench.__main__ import BENCHES

    for bench in BENCHES.values():
        first, *rest = bench.command
        assert importlib.util.find_spec(rest[0]) if first == "-m" else (ROOT / first).exists(), bench

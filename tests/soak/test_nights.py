"""The history of runs, and the gates that a night is held against."""

import csv
import io
import json
import random
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from as_json import objects
from soaks import Soaks

from swarm.analysis.compare.gates import ENOUGH_NIGHTS, Check, judge, summary
from swarm.analysis.headline import digest, entry_of, load_of
from swarm.errors import UsageError
from swarm.recording import history
from swarm.recording.history import Entry, StageEntry
from swarm.report.checks import to_junit, to_markdown
from swarm.report.history import rows, to_csv, to_plot, to_svg, to_table
from swarm.results import read_results

USUAL = {"output_tokens_per_s": 340.0, "ttft_s.p50": 0.1, "ttft_s.p95": 0.2, "itl_s.p50": 0.009, "job_s.p50": 20.0}


NOTHING = objects({"targets": [], "thresholds": [], "soak": None})


def entry(day: int, valid: bool = True, **numbers: float) -> Entry:
    usual = USUAL | {name.replace("_p", ".p"): value for name, value in numbers.items()}
    stage = StageEntry("moe", "qwen", "0.11", 4, valid, usual)
    started = f"2026-{1 + day // 28:02d}-{1 + day % 28:02d}T02:00:00+00:00"
    verdict = "valid" if valid else "invalid"
    kinds = {"name": "nightly", "kind": "soak", "verdict": verdict, "predicted": False, "directory": f"/runs/{day}"}
    return Entry(
        id=f"{started} {day}",
        started_at=started,
        scenario="s1",
        hardware="cpu x 4",
        swarm="1",
        stages=(stage,),
        **kinds,
    )


def nights(values: list[float]) -> dict[str, Check]:
    """The checks of the last night; the values are of the ITL p50."""
    entries = [entry(day, itl_s_p50=value) for day, value in enumerate(values)]
    checks = judge(NOTHING, None, entries[-1], entries[:-1])
    return {check.name.partition(": ")[2]: check for check in checks}


def test_the_second_night_in_a_row_fails_and_the_first_only_warns():
    usual = [0.009, 0.00905, 0.00895, 0.009, 0.009, 0.00902]
    first, second = nights([*usual, 0.0097])["ITL p50"], nights([*usual, 0.0097, 0.0096])["ITL p50"]
    assert (first.status, second.status) == ("passed", "failed")
    assert "a second in a row fails" in first.text
    assert "9.6 ms; median of 6 runs 9 ms, limit 9.45 ms" in second.text
    assert nights([*usual, 0.0097, 0.0093])["ITL p50"].status == "passed"
    assert nights([*usual, 0.0080, 0.0080])["ITL p50"].status == "passed"


def test_one_slow_night_does_not_move_the_limit_and_too_few_nights_judge_nothing():
    assert nights([0.009] * 6 + [0.02] + [0.009] * 3 + [0.0099, 0.0099])["ITL p50"].status == "failed"
    few = nights([0.009] * ENOUGH_NIGHTS + [0.02])["ITL p50"]
    assert few.status == "skipped"
    assert "needs 6 comparable valid earlier runs, found 5" in few.text


def test_quiet_months_seldom_see_a_false_alarm_and_a_tenth_slower_is_found_on_the_second_night():
    pick = random.Random(11)
    bad = found = 0
    for _ in range(100):
        values = [0.009 * (1 + pick.gauss(0, 0.02)) for _ in range(45)]
        entries = [entry(day, itl_s_p50=value) for day, value in enumerate(values)]
        bad += any(
            check.status == "failed"
            for day in range(15, 45)
            for check in judge(NOTHING, None, entries[day], entries[:day])
        )
        slower = nights([*values[:20], *(value * 1.12 for value in values[20:22])])
        found += slower["ITL p50"].status == "failed"
    assert (bad <= 2, found >= 95) == (True, True)


def test_only_valid_runs_of_the_same_load_model_engine_and_hardware_are_compared():
    past = [entry(day) for day in range(10)]
    tonight = entry(11, itl_s_p50=0.02)

    def compared(changed: list[Entry]) -> str:
        checks = judge(NOTHING, None, tonight, changed)
        return next(check.text for check in checks if check.name.endswith("ITL p50"))

    assert "median of 9 runs" in compared(past)
    others: list[dict[str, Any]] = [{"scenario": "s2"}, {"hardware": "gpu"}, {"predicted": True}]
    stages = [{"engine": "0.12"}, {"model": "other"}, {"agents": 8}, {"valid": False}, {"target": "dense"}]
    for change in others:
        assert "found 0" in compared([replace(each, **change) for each in past])
    for change in stages:
        assert "found 0" in compared([replace(each, stages=(replace(each.stages[0], **change),)) for each in past])


def test_an_invalid_night_is_neither_a_regression_nor_a_pass():
    results = {
        "targets": [{"name": "moe", "stages": [{"agents": 4, "valid": False, "invalid_reasons": ["requests failed"]}]}],
        "thresholds": [{"target": "moe", "expression": "x < 1", "value": 2.0, "passed": False, "reason": None}],
        "soak": {"drift": [{"metric": "itl_s_p50", "worse": True, "why_not": None, "text": "ITL p50 rose"}]},
    }
    past = [entry(day) for day in range(8)] + [entry(8, itl_s_p50=0.02)]
    checks = judge(objects(results), None, entry(9, itl_s_p50=0.02), past)
    assert {check.gate: check.status for check in checks} == {
        "validity": "invalid", "threshold": "skipped", "drift": "skipped", "nights": "skipped",
    }  # fmt: skip
    assert summary("nightly", None, checks) == "INVALID nightly: moe at 4 agents: requests failed"


def stage(**values: Any) -> dict[str, Any]:
    numbers = {"ttft_s": 0.1, "itl_s": 0.009, "job_s": 20.0} | {k: v for k, v in values.items() if k.endswith("_s")}
    return {
        "agents": 4, "valid": True, "invalid_reasons": [], "status": "run", "achieved": {}, "client": {},
        "throughput": {"output_tokens_per_s": values.get("rate", 340.0)},
        "latency": {name: {"p50": value, "p95": 2 * value} for name, value in numbers.items()},
    }  # fmt: skip


def trials(*itl: float) -> Any:
    details = [stage(itl_s=value) for value in itl]
    whole = stage(itl_s=sorted(itl)[len(itl) // 2]) | {"trials_detail": details}
    return objects({"targets": [{"name": "moe", "stages": [whole]}], "thresholds": [], "soak": None})


@pytest.mark.parametrize(
    ("candidate", "status"),
    [
        ((0.0100, 0.0099, 0.0101), "failed"),
        ((0.0092, 0.0093, 0.0093), "passed"),  # worse, but by less than 5%
        ((0.0100, 0.0101, 0.0089), "passed"),  # one trial as fast as the baseline's
        ((0.0080, 0.0081, 0.0080), "passed"),
    ],
)
def test_against_a_baseline_it_must_be_worse_by_more_than_the_tolerance_and_surely(candidate, status):
    checks = judge(trials(*candidate), trials(0.009, 0.0091, 0.0089))
    (found,) = (check for check in checks if check.name.endswith("ITL p50"))
    assert found.status == status
    if status == "failed":
        assert "10 ms, baseline 9 ms: +11.1% (limit 5%)" in found.text


@pytest.mark.parametrize(
    ("tolerance", "status", "text"),
    [
        (None, "skipped", "one trial each is too few; run at least 2 of both, or pass --tolerance 5%"),
        (0.05, "failed", "10 ms, baseline 9 ms: +11.1% (limit 5%)"),
        (0.2, "passed", "10 ms, baseline 9 ms: +11.1% (limit 20%)"),
    ],
)
def test_one_trial_against_one_is_judged_only_by_a_tolerance_that_was_asked_for(tolerance, status, text):
    checks = judge(trials(0.0100), trials(0.009), tolerance=tolerance)
    (found,) = (check for check in checks if check.name.endswith("ITL p50"))
    assert (found.status, found.text) == (status, text)


def test_what_makes_runs_comparable_is_the_load_and_not_where_the_server_is():
    base = {"agents": {"levels": [4]}, "tasks": ["x"], "stage": {"duration": "8h"}, "soak": {"window": "60s"}}
    elsewhere = base | {"targets": [{"api_base": "http://elsewhere"}], "thresholds": ["y"], "name": "other"}
    assert load_of(elsewhere) == load_of(base)
    assert load_of(base | {"agents": {"levels": [8]}}) != load_of(base)
    assert load_of(base | {"soak": {"window": "30s"}}) != load_of(base)


def test_the_history_gives_back_what_it_was_given_and_takes_a_run_once(tmp_path: Path):
    path = tmp_path / "history.sqlite"
    assert history.entries(path) == []
    for day in (2, 1, 2):
        history.add(path, entry(day))
    assert history.entries(path) == [entry(1), entry(2)]


WRITER = """
import sys; sys.path[:0] = sys.argv[3:]
from pathlib import Path
from test_nights import entry
from swarm.recording import history
for day in range(int(sys.argv[2]), int(sys.argv[2]) + 20):
    history.add(Path(sys.argv[1]), entry(day))
"""


def test_a_load_whose_keys_are_of_several_types_has_a_digest_too():
    biased = [{"sampling": {"extra_body": {"logit_bias": {50256: bias, "198": 1, None: 0}}}} for bias in (-100, 100)]
    assert len({digest(scenario) for scenario in (*biased, *biased, {})}) == 3


def test_two_writers_at_once_lose_nothing(tmp_path: Path):
    path = tmp_path / "history.sqlite"
    here = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, path, first, *here], stderr=subprocess.PIPE)
        for first in ("0", "20")
    ]
    for writer in writers:
        assert (writer.wait(60), writer.stderr.read()) == (0, b"")
    assert len(history.entries(path)) == 40


def test_a_crash_while_writing_loses_nothing_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "history.sqlite"
    history.add(path, entry(1))
    broken = replace(entry(1), stages=(*entry(1).stages, *entry(1).stages))  # fails half-way: the same key twice
    with pytest.raises(UsageError, match="cannot be used as the history"):
        history.add(path, broken)
    assert history.entries(path) == [entry(1)]


def test_a_newer_schema_is_left_as_it_is_and_another_database_too(tmp_path: Path):
    path = tmp_path / "history.sqlite"
    history.add(path, entry(1))
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 2")
    before = path.read_bytes()
    for use in (lambda: history.add(path, entry(2)), lambda: history.entries(path)):
        with pytest.raises(UsageError, match="written by a newer swarm"):
            use()
    assert path.read_bytes() == before
    with sqlite3.connect(tmp_path / "mine.sqlite") as database:
        database.execute("CREATE TABLE mine (x)")
    with pytest.raises(UsageError, match="something else"):
        history.add(tmp_path / "mine.sqlite", entry(1))
    (tmp_path / "text.sqlite").write_text("not a database at all" * 100)
    with pytest.raises(UsageError, match="cannot be used"):
        history.entries(tmp_path / "text.sqlite")


def test_a_finished_soak_becomes_an_entry_with_its_numbers(soaks: Soaks):
    results = soaks.run()
    found = entry_of(soaks.folder / "night", read_results(results))
    (stage,) = results["targets"][0]["stages"]
    assert (found.kind, found.verdict, found.predicted) == ("soak", "valid", True)
    assert found.stages[0].numbers["itl_s.p50"] == stage["latency"]["itl_s"]["p50"]
    assert found.stages[0].numbers["errors"] == 0
    history.add(soaks.folder / "history.sqlite", found)
    assert history.entries(soaks.folder / "history.sqlite") == [found]


def test_lists_filters_and_exports():
    entries = [entry(1), entry(2, valid=False), entry(3, itl_s_p50=0.01)]
    assert len(rows(entries)) == 3
    assert len(rows(entries, valid=True)) == 2
    assert len(rows(entries, since="2026-01-03")) == 2
    assert rows(entries, model="other") == rows(entries, agents=9) == rows(entries, name="x") == []
    table = to_table(rows(entries)).splitlines()
    assert table[0].split()[:3] == ["started", "run", "kind"]
    assert "INVALID" in table[2]
    assert "9" in table[1].split()
    read = list(csv.DictReader(io.StringIO(to_csv(rows(entries)))))
    assert [float(row["itl_s.p50"]) for row in read] == [0.009, 0.009, 0.01]
    assert [row["valid"] for row in read] == ["1", "0", "1"]


def test_a_plot_is_of_valid_comparable_runs():
    entries = [entry(day, itl_s_p50=0.009 + day / 1e4) for day in range(8)]
    assert to_plot(rows(entries), "itl_s.p50") == "nightly: moe at 4  ▁▂▃▄▅▆▇█  0.009 to 0.0097, last 0.0097"
    other = replace(entries[0], scenario="s2")
    assert "nightly: moe at 4 (2)" in to_plot(rows([*entries, other]), "itl_s.p50")
    assert ElementTree.fromstring(to_svg(rows(entries), "itl_s.p50")).tag.endswith("svg")
    with pytest.raises(UsageError, match="no such number; known are output_tokens_per_s"):
        to_plot(rows(entries), "itl")


CHECKS = [
    Check("validity", "moe", "passed", "valid"),
    Check("threshold", "a < 1", "failed", "it is 2 \x00 & <more> | ✓"),
    Check("drift", "itl", "skipped", "too short"),
    Check("validity", "dense", "invalid", "died"),
]


def test_junit_says_failure_error_and_skipped_in_xml_that_parses():
    suite = ElementTree.fromstring(to_junit(("night", CHECKS)).encode()).find("testsuite")
    assert {key: suite.get(key) for key in ("name", "tests", "failures", "errors", "skipped")} == {
        "name": "night", "tests": "4", "failures": "1", "errors": "1", "skipped": "1",
    }  # fmt: skip
    outcomes = [[child.tag for child in case] for case in suite]
    assert outcomes == [["system-out"], ["failure"], ["skipped"], ["error"]]
    assert suite[1][0].get("message") == "it is 2 ? & <more> | ✓"
    assert suite[1].get("classname") == "swarm.threshold"


def test_markdown_is_a_table_that_no_message_breaks():
    lines = to_markdown(summary("night", "2026-01-02", CHECKS), CHECKS).splitlines()
    assert lines[0] == "**INVALID night of 2026-01-02: dense: died**"
    assert len({line.count("|") - line.count("\\|") for line in lines[2:]}) == 1


def test_a_summary_counts_what_passed():
    assert summary("n", None, CHECKS[:1] + CHECKS[2:3]) == "PASSED n: 1 check, 1 skipped (1 of 1 drift)"
    assert json.dumps(summary("n", None, CHECKS[:3])).startswith('"FAILED n: a < 1: it is 2')

"""`swarm compare`, and the page that `swarm report` writes: options, output and exit codes, in memory."""

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from typer.testing import CliRunner

from swarm.cli import app
from swarm.errors import UsageError
from swarm.recording.records import StageEnd

sys.path.insert(0, str(Path(__file__).parent.parent / "analysis"))

from synthetic import Run


def write(directory: Path, *, slower: float = 1.0, window_s: float = 12.0) -> Path:
    run = Run()
    run.healthy(slower=slower, window_s=window_s)
    return run.write(directory)


@pytest.fixture
def two(tmp_path: Path) -> list[str]:
    return [str(write(tmp_path / "before")), str(write(tmp_path / "after", slower=1.5))]


def test_compare_prints_a_table_and_exits_with_0(two):
    done = CliRunner().invoke(app, ["compare", *two])
    assert done.exit_code == 0
    assert "moe (after) against moe (before)" in done.stdout
    (ttft,) = (line.split() for line in done.stdout.splitlines() if "ttft_s.p50" in line)
    assert ttft[2:5] == ["0.2000", "0.3002", "1.501"]  # buckets of 0.1%


def test_compare_prints_json_for_scripts_and_markdown_for_people(two):
    found = json.loads(CliRunner().invoke(app, ["compare", *two, "--json"]).stdout)
    assert [run["name"] for run in found["runs"]] == ["before", "after"]
    assert set(found) == {"runs", "differences", "comparison", "unpaired"}
    assert "| --: | --- |" in CliRunner().invoke(app, ["compare", *two, "--markdown"]).stdout


def test_compare_exits_with_3_when_a_stage_is_invalid(two, tmp_path):
    short = write(tmp_path / "short", window_s=3.0)
    done = CliRunner().invoke(app, ["compare", two[0], str(short)])
    assert done.exit_code == 3
    assert "Invalid at level 1: not compared there." in done.stdout


@pytest.mark.parametrize("count", [1, 2])
def test_compare_refuses_one_run_and_the_same_run_twice(two, count):
    done = CliRunner().invoke(app, ["compare", *[two[0]] * count])
    assert isinstance(done.exception, UsageError)
    assert done.exception.exit_code == 2


def test_report_writes_one_page_of_all_runs(two, tmp_path):
    page = tmp_path / "both.html"
    done = CliRunner().invoke(app, ["report", *two, "--html", str(page)])
    assert done.exit_code == 0
    text = page.read_text(encoding="utf-8")
    assert "moe (before)" in text
    assert "moe (after)" in text


def test_report_says_which_run_is_which_and_prints_one_document_of_several(two):
    shown = CliRunner().invoke(app, ["report", *two]).stdout.splitlines()
    assert [line for line in shown if line in two] == two
    assert two[0] not in CliRunner().invoke(app, ["report", two[0]]).stdout
    listed = json.loads(CliRunner().invoke(app, ["report", *two, "--json"]).stdout)
    assert [results["verdict"] for results in listed] == ["valid", "valid"]
    assert json.loads(CliRunner().invoke(app, ["report", two[1], "--json"]).stdout) == listed[1]


@pytest.mark.parametrize("command", ["report", "compare"])
def test_json_and_markdown_at_once_are_refused(two, command):
    done = CliRunner().invoke(app, [command, *two, "--json", "--markdown"])
    assert isinstance(done.exception, UsageError)
    assert str(done.exception) == "--json and --markdown: choose one"


def test_the_run_directory_has_its_page_beside_the_results(two):
    CliRunner().invoke(app, ["report", two[0]])
    text = (Path(two[0]) / "report.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "http://" not in text.replace("http://127.0.0.1", "")


def test_report_writes_a_junit_suite_a_run_with_invalid_stages_as_errors_and_thresholds_as_failures(tmp_path):
    thresholds = ["moe.agents=1.ttft_s.p95 < 0.1", "moe.agents=1.ttft_s.p95 < 1"]
    slow = Run(thresholds=thresholds)
    slow.healthy(window_s=12.0)
    runs = [str(slow.write(tmp_path / "slow")), str(write(tmp_path / "short", window_s=3.0))]
    file = tmp_path / "junit.xml"
    assert CliRunner().invoke(app, ["report", *runs, "--junit", str(file)]).exit_code == 3
    suites = ElementTree.parse(file).getroot()
    counts = {suite.get("name"): [suite.get(key) for key in ("tests", "failures", "errors")] for suite in suites}
    assert counts == {"slow": ["3", "1", "0"], "short": ["1", "0", "1"]}
    assert [[child.tag for child in case] for case in suites[0]] == [["system-out"], ["failure"], ["system-out"]]
    assert "too few turns" in suites[1][0][0].get("message")


def test_report_exits_as_the_run_did_and_with_0_for_one_that_broke_off(tmp_path):
    def report(name: str, thresholds: list[str], ended: str | None = "", **healthy: float) -> int:
        run = Run(thresholds=thresholds)
        run.healthy(**{"window_s": 12.0} | healthy)
        (end,) = (record for record in run.published if isinstance(record, StageEnd))
        run.published.remove(end)
        if ended is not None:
            run.published.append(msgspec.structs.replace(end, interrupted=ended or None))
        return CliRunner().invoke(app, ["report", str(run.write(tmp_path / name))]).exit_code

    missed = ["moe.agents=1.ttft_s.p95 < 0.1"]
    assert report("whole", []) == 0
    assert report("slow", missed) == 4
    assert report("short", missed, window_s=3.0) == 3
    assert report("spent", missed, "budget: 5 requests spent") == 3
    assert report("interrupted", missed, "SIGTERM") == 0
    assert report("killed", missed, None) == 0

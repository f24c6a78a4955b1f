"""Runs by a label, by `latest`, and by the folder they are in."""

import json
import os

import pytest
from small_runs import called, results, write_project


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Two predictions in `runs`: the second with another label."""
    folder = write_project(tmp_path_factory.mktemp("named"))
    for name, label, moment in (("a", "before", 1000), ("b", "after: 16 seqs", 2000)):
        options = ("--label", label, "--note", f"Run {name}.", "--out", f"runs/{name}", "--quiet", "--agents", "1")
        done = called("predict", "small.yaml", *options, cwd=folder)
        assert done.returncode == 0, done.stderr
        os.utime(folder / "runs" / name / "environment.json", (moment, moment))
    return folder


def test_labels_and_notes_are_kept_with_the_run_and_shown_where_runs_are_compared(project):
    said = (project / "runs/b/scenario.yaml").read_text()
    assert "label: 'after: 16 seqs'" in said
    assert "note: Run b." in said
    done = called("compare", "runs/a", "runs/b", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "before, valid, predicted" in done.stdout
    assert "after: 16 seqs" in done.stdout.split("These settings differ")[1]
    assert "configured alike" not in done.stdout


def test_latest_and_a_folder_of_runs_name_the_newest(project):
    for named in ("latest", "runs", "runs/b"):
        done = called("report", named, "--json", cwd=project)
        assert done.returncode == 0, done.stderr
        assert called("check", named, "--summary", cwd=project).returncode == 0
    text = called("compare", "runs/a", "latest", cwd=project).stdout
    assert "after: 16 seqs" in text
    assert results(project / "runs/b")["name"] == "small"


def test_latest_is_refused_where_there_is_no_run(tmp_path):
    done = called("report", "latest", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "error: latest: no run directory in runs/ yet; name one\n")


def test_a_check_says_first_what_the_run_was_checked_against(project):
    alone = called("check", "runs/b", cwd=project).stdout.splitlines()[0]
    assert alone == "Checked runs/b for validity only: no thresholds, no --baseline, too few earlier runs."
    held = called("check", "latest", "--baseline", "runs/a", "--tolerance", "50%", cwd=project).stdout.splitlines()[0]
    assert held.startswith("Checked runs/b against ")
    assert held.endswith("(runs/a).")


def test_the_history_shows_where_each_run_lies(project):
    assert called("report", "runs/a", cwd=project).returncode == 0
    done = called("history", "runs", "--add", "runs/a", cwd=project)
    assert done.returncode == 0, done.stderr
    assert str(project / "runs/a") in done.stdout
    rows = json.loads(called("history", "runs", "--json", cwd=project).stdout)
    assert {row["directory"] for row in rows} >= {str(project / "runs/a")}
    assert all(row["valid"] is True and row["ttft_s.p50"] > 0 for row in rows)


@pytest.mark.parametrize("options", [("--label", ""), ("--label", "x" * 61), ("--note", "x" * 1001)])
def test_a_label_that_is_empty_or_too_long_is_refused(project, options):
    done = called("predict", "small.yaml", *options, cwd=project)
    assert done.returncode == 2
    assert f"{options[0].removeprefix('--')}: " in done.stderr

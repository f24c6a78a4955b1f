from xml.etree import ElementTree

import pytest
from small_runs import called, write_project


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = write_project(tmp_path_factory.mktemp("picture"))
    done = called("predict", "small.yaml", "--out", "run", "--quiet", cwd=folder)
    assert done.stdout == "run\n", done.stderr
    return folder / "run"


def test_the_picture_shows_the_table_and_the_verdict_and_fetches_nothing(run):
    done = called("report", run, "--svg", "run.svg", cwd=run.parent)
    assert done.returncode == 0, done.stderr
    text = (run.parent / "run.svg").read_text()
    shown = "".join(ElementTree.fromstring(text).itertext()).replace("\xa0", " ")
    assert " VALID " in shown
    assert "TTFT" in shown
    assert "url(http" not in text
    assert "@font-face" not in text


def test_one_picture_cannot_show_two_runs(run):
    done = called("report", run, run, "--svg", "two.svg", cwd=run.parent)
    assert done.returncode == 2
    assert "--svg draws one run" in done.stderr
    assert not (run.parent / "two.svg").exists()

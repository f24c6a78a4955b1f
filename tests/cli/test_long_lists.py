"""What a server, a scenario or a trace has ten thousand of is told in a line that people read."""

from pathlib import Path

import pytest
from small_runs import swarm

from swarm.scenario.load import load_scenario
from swarm.text import listed, shortened

MANY = [f"m{number}" for number in range(1, 10_001)]


def test_few_names_are_all_named():
    assert listed(["a", "b"]) == "a, b"
    assert listed(MANY[:8]) == "m1, m2, m3, m4, m5, m6, m7, m8"
    assert listed([]) == ""


def test_many_names_are_counted_and_long_ones_cut():
    assert listed(MANY) == "m1, m2, m3, m4, m5, m6, m7, m8, ... and 9,992 more"
    assert listed(["x" * 1000]) == "x" * 50 + " [900 characters] " + "x" * 50
    assert shortened("x" * 100) == "x" * 100


def test_a_target_that_is_none_of_very_many_is_told_in_a_line(tmp_path: Path):
    path = tmp_path / "many.yaml"
    targets = "".join(
        f"  - {{name: {name}, architecture: moe, api_base: 'http://127.0.0.1:1/v1'}}\n" for name in MANY[:100]
    )
    path.write_text(f"targets:\n{targets}")
    with pytest.raises(Exception, match=r"has m1, m2, .*, \.\.\. and 92 more$") as refused:
        load_scenario(path).only(["other"])
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("key", ["name", "route", "agents.levels", "stage.duration", "x" * 5000])
def test_a_huge_value_or_key_is_told_in_lines_that_people_read(tmp_path: Path, key: str):
    path = tmp_path / "huge.yaml"
    path.write_text("targets: [{name: moe, architecture: moe, simulate: moe-30b-a3b-awq-1x3090}]\n")
    done = swarm("validate", path, "--set", f"{key}={'?' * 50_000}", cwd=tmp_path)
    assert done.returncode == 2
    assert max(map(len, done.stderr.splitlines())) < 1100
    assert len(done.stderr) < 3000

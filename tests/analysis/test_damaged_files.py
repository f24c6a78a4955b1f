"""A run directory's files damaged in any way: a line costs that line, a scenario is read, or refused in one line."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from nonsense import DEPTH, FUZZ, NESTED, attempt, damaged, dumped, spoilt
from synthetic import Run

from swarm.analysis.report_data import read_view
from swarm.analysis.results import analyse
from swarm.errors import SwarmError
from swarm.exporter.replay import openmetrics
from swarm.recording import rundir
from swarm.report.html import to_html
from swarm.results import plain


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, dict[str, bytes]]:
    """A small run directory, and the bytes of its files."""
    run = Run()
    stage = run.stage()
    stage.work()
    stage.failed(2.6, 2.7)
    stage.server(1, running=1.0, prompt_tokens=10.0, started_at=5.0)
    stage.end()
    directory = run.write(tmp_path_factory.mktemp("damaged") / "run")
    (directory / rundir.ENVIRONMENT).write_text(
        json.dumps({"predicted": False, "started_at": "2026-01-02T03:04:05+00:00", "targets": {"moe": {"model": "m"}}})
    )
    return directory, {path.name: path.read_bytes() for path in directory.iterdir()}


@settings(FUZZ, max_examples=30 * DEPTH)
@given(data=st.data())
@pytest.mark.parametrize("name", [rundir.EVENTS, rundir.HISTOGRAMS, rundir.SERVER, rundir.SCENARIO, rundir.ENVIRONMENT])
def test_a_damaged_file_of_a_run_is_analysed_or_refused_with_its_name(written, name, data) -> None:
    directory, files = written
    whole = files[name]
    lines = whole.splitlines(keepends=True)
    if name in (rundir.EVENTS, rundir.SERVER):
        at = data.draw(st.integers(0, len(lines) - 1))
        line = spoilt(json.loads(lines[at])).map(lambda value: json.dumps(value).encode() + b"\n")
        other = line.map(lambda line: b"".join([*lines[:at], line, *lines[at + 1 :]]))
    elif name == rundir.HISTOGRAMS:
        other = st.sampled_from(lines).map(lambda line: whole + line)
    elif name == rundir.ENVIRONMENT:
        other = spoilt(json.loads(whole)).map(lambda value: json.dumps(value).encode())
    else:
        other = spoilt(yaml.safe_load(whole)).map(dumped).map(str.encode)
    for path, content in files.items():
        (directory / path).write_bytes(content)
    (directory / name).write_bytes(data.draw(damaged(whole) | other))
    if name in (rundir.SCENARIO, rundir.ENVIRONMENT):
        said = attempt(lambda: json.dumps(plain(analyse(directory)), allow_nan=False), SwarmError, str(directory))
        assert "\n" not in said or said.startswith("{")
    else:
        results = analyse(directory)
        json.dumps(plain(results), allow_nan=False)
        to_html([read_view(directory, results)])
        "".join(openmetrics(directory))


@pytest.mark.parametrize("name", [rundir.SCENARIO, rundir.ENVIRONMENT])
def test_a_file_that_is_nested_too_deeply_is_refused(written, name) -> None:
    directory, files = written
    for path, content in files.items():
        (directory / path).write_bytes(content)
    (directory / name).write_text('{"v":1,"type":"attempt","x":' + NESTED + "\n" + files[name].decode())
    assert isinstance(attempt(lambda: analyse(directory), SwarmError, str(directory)), str)


@pytest.mark.parametrize(
    "environment", [{"targets": [1]}, {"targets": {"moe": 3}}, {"targets": "x"}, {"targets": {"moe": {"model": [1]}}}]
)
def test_an_environment_of_other_types_is_refused(written, environment) -> None:
    directory, files = written
    for path, content in files.items():
        (directory / path).write_bytes(content)
    (directory / rundir.ENVIRONMENT).write_text(json.dumps({"predicted": False} | environment))
    assert "not the resolved scenario" in attempt(lambda: analyse(directory), SwarmError, str(directory))


@pytest.mark.parametrize("gpus", ["null", "0", "many"])
def test_a_scenario_of_other_types_is_refused(written, gpus) -> None:
    directory, files = written
    for path, content in files.items():
        (directory / path).write_bytes(content)
    scenario = yaml.safe_load(files[rundir.SCENARIO])
    scenario["targets"][0]["gpus"] = yaml.safe_load(gpus)
    (directory / rundir.SCENARIO).write_text(yaml.safe_dump(scenario))
    assert "gpus" in attempt(lambda: analyse(directory), SwarmError, str(directory))

"""Results come from the files alone: the same every time, and true to the events."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from as_json import analyse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic import Run

from swarm.analysis.stats.distribution import rank
from swarm.recording import rundir
from swarm.recording.observations import observations
from swarm.recording.records import ServerSample


def mixed_run() -> Run:
    """Two targets, three levels, two trials, several templates, failures and cut-off requests."""
    run = Run(targets={"moe": "moe", "dense": "dense"}, levels=[1, 2, 3], trials=2, max_error_share="50%")
    for trial in (1, 2):
        for level in run.levels:
            for target in run.targets:
                stage = run.stage(target, level, trial)
                for agent in range(level):
                    stage.work(agent, slower=1 + agent / 7 + trial / 11, variant=f"v{(agent + trial) % 3}")
                    stage.failed(9.7, 9.8, agent=agent, kind="timeout" if agent else "reset")
                    stage.attempt(9.8, agent=agent, waits=[0.1, 0.05], aborted=True, end=10.0)
                stage.end(counters=None)
    return run


def test_the_same_files_give_the_same_results_whatever_python_does(tmp_path: Path) -> None:
    """Byte by byte, with sets and dictionaries in another order each time."""
    directory = mixed_run().write(tmp_path / "run")
    program = "import sys, json, pathlib; from swarm.analysis.results import analyse; from swarm.results import plain\n"
    program += "print(json.dumps(plain(analyse(pathlib.Path(sys.argv[1])))))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program, str(directory)],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1
    assert json.loads(outputs.pop()) == analyse(directory)


def test_results_do_not_depend_on_an_earlier_results_file(tmp_path: Path) -> None:
    directory = mixed_run().write(tmp_path / "run")
    results = analyse(directory)
    rundir.write_results(directory, results)
    assert analyse(directory) == results == json.loads((directory / rundir.RESULTS).read_text())
    (directory / rundir.RESULTS).write_text("not ours")
    assert analyse(directory) == results


seconds = st.floats(0.0005, 3)
requests = st.lists(
    st.tuples(st.floats(-2, 10), st.lists(seconds, min_size=1, max_size=8), st.integers(1, 40), st.booleans()),
    min_size=1,
    max_size=12,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests)
def test_percentiles_are_within_a_thousandth_of_those_of_the_events(
    tmp_path_factory: pytest.TempPathFactory, given_requests: list[Any]
) -> None:
    run = Run()
    stage = run.stage()
    for send, waits, tokens, aborted in given_requests:
        stage.attempt(send, waits=waits, tokens=tokens, aborted=aborted)
        stage.tool(send, send + waits[0])
    stage.end()
    exact: dict[str, list[int]] = {}
    for record in run.published:
        assert not isinstance(record, ServerSample)
        for metric, value, end in observations(record):
            if stage.at(0) <= end < stage.at(10):
                exact.setdefault(f"{metric}_s", []).append(value)
    (found,) = analyse(run.write(tmp_path_factory.mktemp("run")))["targets"][0]["stages"]
    for metric, stats in found["latency"].items():
        values = sorted(exact.get(metric, []))
        assert stats["count"] == len(values)
        if not values or metric in ("job_s", "ttfat_s"):
            continue
        for percent in (50, 90, 95, 99):
            expected = values[rank(percent, len(values)) - 1] / 1e9
            assert stats[f"p{percent}"] == pytest.approx(expected, rel=1e-3, abs=1e-6)
        assert stats["max"] == pytest.approx(values[-1] / 1e9, rel=1e-3, abs=1e-6)
        assert stats["mean"] == pytest.approx(sum(values) / len(values) / 1e9, rel=1e-3, abs=1e-6)

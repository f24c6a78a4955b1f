"""`swarm predict`, and whether a run in real time does what was predicted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.realtime

SWARM = Path(sys.executable).with_name("swarm")
REPLY = {"median": 40, "spread": 1, "min": 40, "max": 40}
LOOK = {"tool": "read_file", "arguments": {"path": "notes.txt"}, "takes": "100ms"}
SCENARIO = {
    "name": "twice",
    "targets": [{"name": "moe", "architecture": "moe", "simulate": "moe-30b-a3b-awq-1x3090"}],
    "route": "direct",
    "client": {"max_lag": "1s", "max_cpu": "100%"},  # other tests share this machine
    "agents": {"levels": [3], "system_tokens": 1500, "context": "4k"},
    "tasks": {"path": "tasks"},
    "stage": {"warmup": "2s", "duration": "10s", "trials": 1},
}


def write(folder: Path) -> None:
    """A scenario and a task of nine short turns, whose tools never take longer than planned."""
    (folder / "twice.yaml").write_text(yaml.safe_dump(SCENARIO))
    home = folder / "tasks" / "small" / "notes"
    (home / "repo").mkdir(parents=True)
    (home / "repo" / "notes.txt").write_text("A note.\n" * 30)
    turns = [{"say": f"Reading, for time {n}.", "calls": [LOOK]} for n in range(8)] + [{"say": "Done."}]
    task = {"title": "Read", "issue": "Read the notes.", "reply_tokens": REPLY, "turns": turns}
    (home / "task.yaml").write_text(yaml.safe_dump(task))


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """The same stage in real time and predicted."""
    folder = tmp_path_factory.mktemp("twice")
    write(folder)
    found = {}
    for command in ("run", "predict"):
        done = subprocess.run(
            [SWARM, command, "twice.yaml", "--quiet", "--out", command],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (done.returncode, done.stdout) == (0, f"{command}\n"), done.stderr
        results = json.loads((folder / command / "results.json").read_text())
        assert results["predicted"] is (command == "predict")
        found[command] = results["targets"][0]["stages"][0]
    return found["run"], found["predict"]


def test_a_prediction_needs_no_client_that_watches_itself(stages):
    _, predicted = stages
    assert predicted["client"]["timing_error_p99_s"] is None
    assert not [note for note in predicted["notes"] if "itself" in note]


def test_a_run_writes_as_many_tokens_as_predicted(stages):
    measured, predicted = (stage["throughput"]["output_tokens_per_s"] for stage in stages)
    assert measured == pytest.approx(predicted, rel=0.1)


@pytest.mark.parametrize(("metric", "statistic", "within"), [("ttft_s", "p50", 0.2), ("itl_s", "p50", 0.15)])
def test_its_latencies_are_the_predicted_ones(stages, metric, statistic, within):
    """A test machine is busy, so medians are compared here; `python -m bench.prediction` compares the tails."""
    measured, predicted = (stage["latency"][metric][statistic] for stage in stages)
    assert measured == pytest.approx(predicted, rel=within)

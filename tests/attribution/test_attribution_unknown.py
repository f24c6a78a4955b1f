"""What the server does not tell is unknown; and a run in real time, whose simulated server counts its own truth."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from as_json import analyse
from provoked import CAUSE_OF, Provoked, provoke
from small_runs import PROFILE, results, swarm, write_project

Edit = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture(scope="module")
def queueing(tmp_path_factory: pytest.TempPathFactory) -> Provoked:
    return provoke(tmp_path_factory.mktemp("queueing"), agents=4, seconds=40, model={"max_num_seqs": 2})


@pytest.fixture
def edited(queueing: Provoked, tmp_path: Path) -> Callable[[Edit, Edit], dict[str, float]]:
    """The attribution at 4 agents after every attempt and every sample of the server was edited."""

    def edit(attempts: Edit, samples: Edit) -> dict[str, float]:
        directory = shutil.copytree(queueing.directory, tmp_path / "edited")
        for name, kind, change in (("events.jsonl", "attempt", attempts), ("server.jsonl", None, samples)):
            lines = map(json.loads, (directory / name).read_text().splitlines())
            changed = (change(line) if line.get("type") == kind else line for line in lines)
            (directory / name).write_text("".join(f"{json.dumps(line)}\n" for line in changed))
        (target,) = analyse(directory)["targets"]
        return target["stages"][1]["attribution"]

    return edit


def as_it_is(line: dict[str, Any]) -> dict[str, Any]:
    return line


def without(*names: str) -> Edit:
    return lambda line: line | {"metrics": {key: value for key, value in line["metrics"].items() if key not in names}}


def test_one_agent_is_compared_with_nobody(queueing: Provoked) -> None:
    assert queueing.stage(1)["attribution"] is None
    assert queueing.stage(4)["attribution"]["queue"] > 0.25


def test_without_queue_times_the_wait_for_the_first_token_is_unknown(queueing: Provoked, edited) -> None:
    told, shares = queueing.stage(4)["attribution"], edited(as_it_is, without("queue_time_sum"))
    assert shares["queue"] == 0
    assert shares["unknown"] > told["queue"]
    assert shares["decode"] == pytest.approx(told["decode"])
    assert sum(shares.values()) == pytest.approx(1)


def test_without_cached_tokens_the_servers_own_count_of_hits_tells_that_none_were_missed(
    queueing: Provoked, edited
) -> None:
    uncounted: Edit = lambda line: line | {"cached_tokens": None}  # noqa: E731
    assert edited(uncounted, as_it_is) == pytest.approx(queueing.stage(4)["attribution"], abs=0.01)


def test_without_any_count_of_cached_tokens_what_the_queue_leaves_is_unknown(queueing: Provoked, edited) -> None:
    told = queueing.stage(4)["attribution"]
    shares = edited(lambda line: line | {"cached_tokens": None}, without("prefix_hits"))
    assert (shares["cache"], shares["queue"]) == (0, pytest.approx(told["queue"]))
    assert 0 < shares["unknown"] < told["prefill"] + 0.01


def test_without_recorded_chunks_what_the_stream_took_is_unknown(queueing: Provoked, edited) -> None:
    told = queueing.stage(4)["attribution"]
    shares = edited(lambda line: line | {"chunks": None, "chunk_tokens": None}, as_it_is)
    assert (shares["decode"], shares["queue"]) == (0, pytest.approx(told["queue"], abs=0.01))
    assert shares["unknown"] >= told["decode"]


@pytest.mark.realtime
def test_a_run_in_real_time_agrees_with_what_the_simulated_server_counts(tmp_path: Path) -> None:
    target = {"name": "moe", "architecture": "moe", "simulate": {"profile": PROFILE, "max_num_seqs": 1}}
    agents = {"levels": [1, 4], "system_tokens": 1500, "context": "4k"}
    stage = {"warmup": "500ms", "duration": "5s", "trials": 1}
    client = {"max_lag": "1s", "max_cpu": "100%"}  # other tests share this machine
    project = write_project(tmp_path, targets=[target], agents=agents, stage=stage, client=client)
    done = swarm("run", "small.yaml", "--out", "out", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Why moe slows down at 4 agents: " in " ".join(done.stdout.split())
    shares = results(project / "out")["targets"][0]["stages"][1]["attribution"]
    assert max(shares, key=shares.__getitem__) == "queue"
    ours = {cause: shares[cause] for cause in CAUSE_OF.values()}
    ours = {cause: share / sum(ours.values()) for cause, share in ours.items()}
    assert ours == pytest.approx(counted_by_the_server(project / "out", 4), abs=0.1)
    assert ours["queue"] > 0.8


def counted_by_the_server(directory: Path, agents: int) -> dict[str, float]:
    """Shares of the growth of seconds per request, from the counters between the borders of each stage."""
    samples = [json.loads(line) for line in (directory / "server.jsonl").read_text().splitlines()]
    each = {}
    for level in (1, agents):
        before, after = (
            next(s["metrics"] for s in samples if (s["agents"], s["border"]) == (level, border))
            for border in ("before", "after")
        )
        count = after["decode_count"] - before["decode_count"]
        each[level] = {part: (after[f"true_{part}"] - before[f"true_{part}"]) / count for part in CAUSE_OF}
    grown = {cause: max(0.0, each[agents][part] - each[1][part]) for part, cause in CAUSE_OF.items()}
    return {cause: seconds / sum(grown.values()) for cause, seconds in grown.items()}

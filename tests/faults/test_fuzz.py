"""Whatever bytes come in: an answer or one of our own errors, never anything else."""

import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from nonsense import FUZZ, NESTED, anything, attempt, damaged, dumped, spoilt
from small_runs import write_task

from swarm.client.target.metrics import pick
from swarm.errors import ScenarioError, UsageError
from swarm.scenario.load import load_scenario
from swarm.scenario.schema import Scenario
from swarm.simulator.server.faults import MEANING, Fault, parse
from swarm.tasks.load import load_task

SCENARIO = {
    "name": "fuzzed",
    "targets": [
        {
            "name": "moe",
            "architecture": "moe",
            "simulate": {"profile": "moe-30b-a3b-awq-1x3090", "faults": [{"kind": "reset", "rate": "2%", "at": []}]},
        }
    ],
    "client": {"timeout": "60s", "max_cpu": "80%"},
    "agents": {"levels": [1, 2], "context": "8k", "seed": 7},
    "sampling": {"temperature": 0.7, "extra_body": {"top_k": 1}},
    "tasks": ["lru-cache"],
    "stage": {"warmup": "1s", "duration": "10s", "trials": 1},
    "thresholds": ["moe.agents=1.ttft_s.p95 < 2"],
}


@FUZZ
@given(text=st.text() | anything.map(dumped) | spoilt(SCENARIO).map(dumped))
def test_a_scenario_is_loaded_or_refused(tmp_path, text) -> None:
    path = tmp_path / "fuzzed.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    assert isinstance(attempt(lambda: load_scenario(path), ScenarioError, str(path)), Scenario | str)


@FUZZ
@given(data=damaged(yaml.safe_dump(SCENARIO).encode()), setting=st.text(max_size=20))
def test_the_bytes_of_a_scenario_and_any_setting_are_taken_or_refused(tmp_path, data, setting) -> None:
    path = tmp_path / "fuzzed.yaml"
    path.write_bytes(data)
    for settings_given in ([], [setting], [f"agents.{setting}"]):
        attempt(lambda given=settings_given: load_scenario(path, given), UsageError, "")


@pytest.mark.parametrize("text", [NESTED, "{a: " * 5_000, "- " * 5_000, "? " * 5_000, "[\n" * 5_000, "- [\n" + NESTED])
def test_what_is_nested_too_deeply_is_refused_in_our_words_and_not_in_those_of_a_yaml_reader(tmp_path, text) -> None:
    path = tmp_path / "deep.yaml"
    path.write_text(text)
    refusal = attempt(lambda: load_scenario(path), ScenarioError, str(path))
    assert refusal == f"{path}: nested too deeply, or an alias inside itself"


def test_a_setting_that_is_nested_too_deeply_is_refused(tmp_path) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_text(dumped(SCENARIO))
    assert "not readable" in attempt(lambda: load_scenario(path, [f"name={NESTED}"]), UsageError, "--set")


@pytest.fixture(scope="module")
def task_file(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    write_task(folder, "alpha")
    return folder / "small/alpha/task.yaml"


@FUZZ
@given(data=st.data())
def test_a_task_is_loaded_or_refused(task_file, data) -> None:
    whole = task_file.read_text()
    task = yaml.safe_load(whole)
    text = data.draw(st.text() | anything.map(dumped) | spoilt(task).map(dumped))
    try:
        task_file.write_text(text, encoding="utf-8", errors="surrogatepass")
        attempt(lambda: load_task(task_file), ScenarioError, str(task_file))
    finally:
        task_file.write_text(whole)


@FUZZ
@given(
    st.binary()
    | st.lists(st.sampled_from([b"vllm:num_requests_running", b'{a="}"} ', b" ", b"1e5", b"\n", b"-", b"NaN"])).map(
        b"".join
    )
)
def test_any_metrics_page_gives_finite_numbers(page) -> None:
    assert all(math.isfinite(value) for value in pick(page).values())


@FUZZ
@given(
    anything
    | st.lists(
        st.fixed_dictionaries(
            {"kind": st.sampled_from(sorted(MEANING))},
            optional=dict.fromkeys(("rate", "at", "count", "seed", "duration", "tokens", "other"), anything),
        ),
        max_size=3,
    )
)
def test_any_list_of_faults_is_taken_or_refused_by_place(value) -> None:
    for fault in attempt(lambda: parse(value), ValueError, "faults"):
        assert isinstance(fault, Fault | str)

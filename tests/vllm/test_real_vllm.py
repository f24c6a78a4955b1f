"""swarm against a real vLLM: the scheduler, the paged KV cache and the counters are vLLM's, the weights are random.

Each model is served and loaded once, with 1, 4 and 8 agents through LiteLLM; the tests look at what came of it.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from server import run_swarm, serve

pytestmark = pytest.mark.vllm

SCENARIO = Path(__file__).parent / "scenario.yaml"
LEVELS = (1, 4, 8)
WINDOW = {"moe": "90s", "dense": "210s"}
"""What 80 turns of 8 agents take on one core, and half as much again: 74 s, and 156 s where others used the machine."""
SHARE = 0.01
"""How far our token counts may be from the server's own."""
PROBE_PROMPT, PROBE_COMPLETION = 2000, 200
"""The most tokens that asking the target what it can do may cost, before the first stage."""


@dataclass(frozen=True)
class Measured:
    """One model's run: what swarm says, and how far vLLM's own counters moved meanwhile."""

    exit_code: int
    last_line: str
    directory: Path
    prompt_tokens: float
    generation_tokens: float

    @property
    def results(self) -> dict[str, Any]:
        return json.loads((self.directory / "results.json").read_text())

    @property
    def stages(self) -> dict[int, dict[str, Any]]:
        return {stage["agents"]: stage for stage in self.results["targets"][0]["stages"]}

    def events(self, kind: str, agents: int | None = None) -> list[dict[str, Any]]:
        lines = (json.loads(line) for line in (self.directory / "events.jsonl").read_text().splitlines())
        return [line for line in lines if line["type"] == kind and agents in (None, line["agents"])]


@pytest.fixture(scope="module", params=["moe", "dense"])
def measured(request: pytest.FixtureRequest) -> Measured:
    model = request.param
    with serve(model) as vllm:
        before = vllm.counter("vllm:prompt_tokens_total"), vllm.counter("vllm:generation_tokens_total")
        target = "--target", model, "--set", f"targets.{model}.api_base={vllm.url}/v1"
        run, directory = run_swarm(SCENARIO, model, *target, "--duration", WINDOW[model], timeout_s=1200)
        after = vllm.counter("vllm:prompt_tokens_total"), vllm.counter("vllm:generation_tokens_total")
    lines = run.stdout.splitlines() or [""]
    return Measured(run.returncode, lines[-1], directory, after[0] - before[0], after[1] - before[1])


def test_the_run_is_valid_and_says_where_its_results_are(measured: Measured) -> None:
    assert (measured.exit_code, measured.results["verdict"]) == (0, "valid"), measured.results["invalid_reasons"]
    assert measured.last_line == str(measured.directory)
    assert sorted(measured.stages) == list(LEVELS)


@pytest.mark.parametrize("agents", LEVELS)
def test_all_agents_were_alive_and_enough_turns_ended(measured: Measured, agents: int) -> None:
    stage = measured.stages[agents]
    assert stage["achieved"]["agents_alive_mean"] >= 0.95 * agents
    assert stage["latency"]["e2e_s"]["count"] >= 10 * agents
    assert stage["errors"] == {}


@pytest.mark.parametrize("agents", LEVELS)
def test_a_stages_token_counts_are_those_of_vllms_own_counters(measured: Measured, agents: int) -> None:
    [end] = measured.events("stage_end", agents)
    attempts = measured.events("attempt", agents)
    completion = sum(attempt["completion_tokens"] or 0 for attempt in attempts)
    # A request that was cut off before its first token has told nothing; vLLM may have counted its prompt by then.
    prompt = sum(attempt["prompt_tokens"] or 0 for attempt in attempts)
    untold = sum(attempt["prompt_tokens"] is None for attempt in attempts)
    largest = max(attempt["prompt_tokens"] or 0 for attempt in attempts)
    cut_off = sum(attempt["aborted"] for attempt in attempts)
    assert completion * (1 - SHARE) <= end["counters"]["completion_tokens"] <= completion * (1 + SHARE) + 4 * cut_off
    assert prompt * (1 - SHARE) <= end["counters"]["prompt_tokens"] <= prompt * (1 + SHARE) + untold * largest


def test_over_the_whole_run_vllm_counted_what_the_stages_say_and_little_more(measured: Measured) -> None:
    ends = measured.events("stage_end")
    prompt = sum(end["counters"]["prompt_tokens"] for end in ends)
    completion = sum(end["counters"]["completion_tokens"] for end in ends)
    assert 0 < measured.prompt_tokens - prompt <= PROBE_PROMPT
    assert 0 < measured.generation_tokens - completion <= PROBE_COMPLETION


@pytest.mark.parametrize("agents", LEVELS)
def test_replies_have_exactly_the_length_that_the_script_asks_for(measured: Measured, agents: int) -> None:
    finished = [attempt for attempt in measured.events("attempt", agents) if not attempt["aborted"]]
    assert finished
    assert [attempt["completion_tokens"] for attempt in finished] == [attempt["planned_tokens"] for attempt in finished]
    assert {attempt["finish_reason"] for attempt in finished} == {"length"}


@pytest.mark.parametrize("agents", LEVELS)
def test_the_prefix_cache_works_and_vllm_says_so(measured: Measured, agents: int) -> None:
    tokens = measured.stages[agents]["tokens"]
    assert 0.5 < tokens["cached_prompt"] / tokens["prompt"] < 1


def test_agents_share_the_server_fairly_and_slow_each_other_down_more_the_more_there_are(measured: Measured) -> None:
    stages = measured.stages
    each = {agents: stages[agents]["agent_output_tokens_per_s"]["p50"] for agents in LEVELS}
    decode = {agents: stages[agents]["decode_tokens_per_s"]["p50"] for agents in LEVELS}
    assert each[1] > each[4] > each[8] > 0
    assert decode[1] > decode[4] > decode[8] > 0
    assert stages[1]["contention"] in (None, 0)
    assert 0 < stages[4]["contention"] < stages[8]["contention"] < 1
    assert all(stages[agents]["fairness_jain"] > 0.9 for agents in LEVELS)


def test_vllm_really_ran_the_requests_of_several_agents_at_a_time(measured: Measured) -> None:
    running = {agents: measured.stages[agents]["achieved"]["server_running_mean"] for agents in LEVELS}
    assert running[1] <= 1
    assert 1.5 < running[4] <= 4
    assert 4 < running[8] <= 8

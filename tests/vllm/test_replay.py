"""A recorded agent replayed against a real vLLM: its `/tokenize` tells how long a prompt is, and its `usage` agrees."""

import json
from pathlib import Path

import pytest
from server import run_swarm, serve

from swarm.trace.read import load_trace

pytestmark = pytest.mark.vllm

SCENARIO = Path(__file__).parent / "replay.yaml"
BLOCK = 128
"""Tokens that vLLM caches together on a CPU."""
TRACE = Path(__file__).parents[2] / "scenarios" / "traces" / "three-jobs.jsonl"


@pytest.fixture(scope="module")
def directory():
    """The run directory; the run itself may be invalid, as a machine without a GPU makes few turns."""
    with serve("moe") as vllm:
        run, directory = run_swarm(SCENARIO, "replay", "--set", f"targets.moe.api_base={vllm.url}/v1")
    assert run.returncode in (0, 3)
    return directory


@pytest.fixture(scope="module")
def replayed(directory):
    """(session, turn) -> the first whole attempt at it."""
    lines = [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]
    whole = {line["parent"]: line for line in lines if line["type"] == "attempt" and not line["aborted"]}
    found = {}
    for turn in lines:
        if turn["type"] == "turn" and (sent := whole.get(turn["id"])):
            found.setdefault((sent["variant"], turn["number"]), sent)
    return found


def test_prompts_and_replies_have_the_recorded_tokens_by_vllms_own_count(replayed):
    told = {(turn.session, turn.number): turn for turn in load_trace(TRACE).turns}
    assert len(replayed) >= 20
    assert {sent["error"] for sent in replayed.values()} == {None}
    off = {
        place: (
            sent["prompt_tokens"],
            told[place].prompt_tokens,
            sent["completion_tokens"],
            told[place].completion_tokens,
        )
        for place, sent in replayed.items()
        if (sent["prompt_tokens"], sent["completion_tokens"])
        != (told[place].prompt_tokens, told[place].completion_tokens)
    }
    assert off == {}


def test_the_prefix_cache_finds_the_prompt_before_but_for_the_block_in_which_it_ends(replayed):
    later = {place: sent for place, sent in replayed.items() if (place[0], place[1] - 1) in replayed}
    lacking = {
        (session, number): replayed[session, number - 1]["prompt_tokens"] - sent["cached_tokens"]
        for (session, number), sent in later.items()
    }
    assert len(later) >= 10
    assert max(lacking.values()) < BLOCK + 8

"""The driver `model` against a real vLLM: what it calls is carried out, and what it calls badly is answered.

The weights are random, so the texts in the calls are too; that they are calls at all is `tool_choice: required`. Left
to themselves such weights hardly ever end a text, and nearly every call is cut at its longest; so a few tokens are made
likely, and many texts end: enough to write files and run the tests.
"""

import json
from collections import Counter
from pathlib import Path

import pytest
from server import HOME, run_swarm, serve

pytestmark = pytest.mark.vllm

SCENARIO = Path(__file__).parent / "model-driver.yaml"
LIKELY = {'"': 15, ".": 15, "null": 8, "\u0120null": 8}
"""By how much the logits of tokens are raised; the fourth begins with a space."""
TOOLS = {"list_files", "read_file", "search", "edit_file", "write_file", "run_tests"}


@pytest.fixture(scope="module")
def directory():
    """The run directory; the run itself may be invalid, as a machine without a GPU makes few turns."""
    vocabulary = json.loads((HOME / "models/moe/tokenizer.json").read_text())["model"]["vocab"]
    bias = {str(vocabulary[token]): by for token, by in LIKELY.items()}
    with serve("moe") as vllm:
        settings = f"targets.moe.api_base={vllm.url}/v1", "sampling.extra_body=" + json.dumps({"logit_bias": bias})
        run, directory = run_swarm(SCENARIO, "model-driver", *(f"--set={setting}" for setting in settings))
    assert run.returncode in (0, 3)
    return directory


@pytest.fixture(scope="module")
def events(directory):
    lines = [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]
    return lambda kind: [line for line in lines if line["type"] == kind]


def test_every_complete_reply_is_a_tool_call(events):
    complete = [attempt for attempt in events("attempt") if not attempt["aborted"]]
    assert len(complete) >= 10
    assert {attempt["error"] for attempt in complete} == {None}
    assert all(attempt["tool_calls"] >= 1 for attempt in complete if attempt["finish_reason"] != "length")


def test_the_calls_are_carried_out_and_those_that_no_tool_takes_are_answered(events, directory):
    tools = events("tool")
    carried_out = [tool for tool in tools if tool["mistake"] is None]
    print(Counter((tool["name"], tool["ok"], tool["mistake"]) for tool in tools))
    assert {tool["name"] for tool in carried_out} <= TOOLS
    assert len(carried_out) >= 3
    assert len({tool["name"] for tool in carried_out}) >= 2
    stages = json.loads((directory / "results.json").read_text())["targets"][0]["stages"]
    assert sum(sum(stage["tool_errors"].values()) for stage in stages) <= sum(not tool["ok"] for tool in tools)


def test_tokens_that_vllm_held_back_while_it_parsed_a_call_are_no_disagreement(directory):
    """A chunk of a tool call may bring a hundred tokens, so that one that was cut off has made more than it showed."""
    stages = json.loads((directory / "results.json").read_text())["targets"][0]["stages"]
    reasons = [reason for stage in stages for reason in stage["invalid_reasons"]]
    assert not [reason for reason in reasons if reason.startswith("token counts disagree")]


def test_jobs_go_on_after_a_call_was_carried_out_and_after_one_was_not(events):
    """vLLM refuses a history that it cannot read: each later turn shows that it could."""
    turns = events("turn")
    tools = {turn["id"]: [tool for tool in events("tool") if tool["parent"] == turn["id"]] for turn in turns}
    followed = {(turn["parent"], turn["number"] - 1) for turn in turns if turn["ok"]}
    before = [tool for turn in turns if (turn["parent"], turn["number"]) in followed for tool in tools[turn["id"]]]
    assert any(tool["mistake"] is None for tool in before)
    assert {job["outcome"] for job in events("job")} <= {"turn_limit", "context_limit", "answered", "censored"}

"""The agents' work in one line."""

from pathlib import Path

import pytest

from swarm.engine.workloads.in_one_line import tokens, workload
from swarm.scenario.load import load_scenario

SCENARIOS = Path(__file__).parents[2] / "scenarios"


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        (
            "four-agents",
            [],
            "sessions: 2k shared + 200-1k, 18 turns, replies 110 (median), tools 0.095 s, contexts to 8k",
        ),
        (
            "moe-vs-dense",
            ["agents.session.pause.max=10s", "agents.session.sub_agents.share=20%"],
            "4 sub-agents in 20% of the jobs, pauses 10 s, contexts to 32k",
        ),
        ("many-agents", [], "scripts: 3k shared, 8-10 turns, replies 150 (median), tools 0.085 s, contexts to 8k"),
        ("many-agents", ["agents.script=quick", "agents.reply_scale=0.1"], "4 turns, replies"),
        ("model-driver", [], "model's choice: 1.5k shared, up to 12 turns, replies to 400, contexts to 6k"),
        ("replay", [], "trace three-jobs.jsonl: 8 sessions, prompts 204-2.1k, 3-9 turns, replies 9 (median)"),
    ],
)
def test_it_says_the_lengths_the_turns_the_tools_and_the_contexts(name, settings, said):
    assert said in workload(load_scenario(SCENARIOS / f"{name}.yaml", settings))


@pytest.mark.parametrize(
    ("number", "shown"), [(7, "7"), (999, "999"), (1000, "1k"), (1234, "1.2k"), (9999, "10k"), (32_768, "33k")]
)
def test_lengths_are_short(number, shown):
    assert tokens(number) == shown

"""What a conversation begins with."""

import json
import re

import pytest

from swarm.agents.prompt import SALT_BYTES, opening, rendered_schemas, system_prompt
from swarm.errors import ScenarioError
from swarm.tasks import load_tasks
from swarm.tasks.calls import tool_schemas

SALT = "0123456789abcdef"
TASKS = load_tasks(["lru-cache", "merge-sort", "cron-tests", "flask-layers", "rate-limiter"])


@pytest.mark.parametrize("tokens", [1500, 2000, 3000, 4000, 8000, 16_000, 30_000, 60_000])
def test_prompt_and_tools_come_to_the_tokens_asked_for(tokens):
    size = len((system_prompt(tokens, SALT) + rendered_schemas()).encode()) / 4
    assert 0.975 * tokens <= size <= tokens


def test_a_size_that_the_tools_alone_exceed_is_refused_with_the_smallest_that_works():
    with pytest.raises(ScenarioError, match=r"agents.system_tokens: 300 is below \d+") as caught:
        system_prompt(300, SALT)
    least = int(re.search(r"below (\d+)", str(caught.value))[1])
    assert 1000 < least < 1600
    assert len((system_prompt(least, SALT) + rendered_schemas()).encode()) / 4 <= least
    with pytest.raises(ScenarioError):
        system_prompt(least - 1, SALT)


def test_the_salt_opens_the_prompt_and_changes_nothing_else():
    first, second = system_prompt(3000, SALT), system_prompt(3000, "f" * SALT_BYTES)
    assert first.splitlines()[0] == f"Session {SALT}"
    assert first.splitlines()[1:] == second.splitlines()[1:]
    assert len(first.encode()) == len(second.encode())


@pytest.mark.parametrize("salt", ["", "short", "x" * 17, "ä" * 16])
def test_a_salt_of_another_length_is_refused(salt):
    with pytest.raises(ValueError, match="16 bytes"):
        system_prompt(3000, salt)


def test_a_prompt_is_the_same_every_time_and_grows_by_adding():
    assert system_prompt(9000, SALT) == system_prompt(9000, SALT)
    assert system_prompt(9000, SALT).startswith(system_prompt(4000, SALT))


def test_a_prompt_has_the_parts_that_agents_send_and_ends_with_a_whole_line():
    prompt = system_prompt(3000, SALT)
    for heading in (
        "How you work",
        "Using tools",
        "Editing",
        "Style of the code",
        "Tests",
        "Safety",
        "The final answer",
    ):
        assert f"# {heading}\n" in prompt
    assert system_prompt(1700, SALT).splitlines()[-1] in prompt.splitlines()


def test_long_prompts_repeat_no_section():
    sections = re.findall(r"^## .*$", system_prompt(60_000, SALT), flags=re.MULTILINE)
    assert len(sections) > 400
    assert len(set(sections)) == len(sections)


def test_schemas_are_rendered_one_a_line():
    assert [json.loads(line) for line in rendered_schemas().splitlines()] == tool_schemas()


def test_no_two_openings_are_equal():
    tickets = [f"{agent:02}-{job:03}" for agent in range(8) for job in range(3)]
    openings = {opening(task, ticket) for task in TASKS for ticket in tickets}
    assert len(openings) == len(TASKS) * len(tickets)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_an_opening_has_ticket_title_issue_and_what_lies_in_the_root(task):
    text = opening(task, "03-007")
    assert text.splitlines()[0] == "Ticket 03-007"
    assert text.splitlines()[2] == f"# {task.title}"
    assert task.issue in text
    named = text.splitlines()[-1].partition(" holds ")[2].partition(". ")[0].split(", ")
    assert {"README.md", "tests/"} <= set(named)
    assert {name.rstrip("/") for name in named} == {path.name for path in task.repository.iterdir()}
    assert 600 <= len(text.encode()) <= 1200

"""`record.content` end to end: what was said is in events.jsonl, and no key is in any file of the run."""

import os

import pytest
from small_runs import records, served, swarm, write_project

pytestmark = pytest.mark.realtime

KEY, TOKEN, LOOKS_LIKE_ONE = "key-0f-this-t3st", 't0ken "of" th/s t3st', "sk-proj-4f9aB7c2D1e8F6a5b3C9"


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """The directory of a run whose task holds the secrets that its server is reached with."""
    with served("--api-key", KEY) as base:
        target = {"name": "mine", "architecture": "moe", "api_base": base, "api_key_env": "TEST_KEY"}
        target["headers"] = {"X-Team": "team ${TEST_TOKEN}"}
        folder = tmp_path_factory.mktemp("project")
        project = write_project(folder, targets=[target], record={"content": True})
        for notes in project.glob("tasks/small/*/repo/notes.txt"):
            notes.write_text(f"Use {KEY} and {TOKEN}, not {LOOKS_LIKE_ONE}.\n")
        environment = os.environ | {"TEST_KEY": KEY, "TEST_TOKEN": TOKEN}
        options = ["--agents", "1", "--duration", "2s", "--out", "spoken"]
        done = swarm("run", "small.yaml", *options, cwd=project, env=environment)
        assert "spoken" in done.stdout, done.stderr
    return project / "spoken"


def test_no_secret_is_in_any_file_of_the_run_and_a_placeholder_is(spoken):
    for path in spoken.iterdir():
        text = path.read_text()
        assert KEY not in text, path
        assert TOKEN not in text, path
        assert TOKEN.replace('"', '\\"') not in text, path
        assert LOOKS_LIKE_ONE not in text, path
    said = [message["content"] for one in records(spoken, "content") for message in one["messages"]]
    assert any("Use [redacted] and [redacted], not [redacted]." in text for text in said)


def test_every_attempt_says_what_was_asked_and_answered(spoken):
    said, attempts = records(spoken, "content"), records(spoken, "attempt")
    assert [one["parent"] for one in said] == [attempt["id"] for attempt in attempts]
    first = said[0]
    assert [message["role"] for message in first["messages"]] == ["system", "user"]
    assert {schema["function"]["name"] for schema in first["schemas"]} >= {"read_file", "run_tests"}
    assert all(one["content"] for one, attempt in zip(said, attempts, strict=True) if not attempt["aborted"])

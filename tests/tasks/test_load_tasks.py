"""Tasks from files, and what a user is told about a file that is wrong."""

import pickle
import random
import re
import statistics
from pathlib import Path

import pytest
import yaml

from swarm.errors import ScenarioError
from swarm.tasks import ReplyLength, load_tasks
from swarm.tasks.calls import ARGUMENTS

KINDS = ["lru-cache", "merge-sort", "cron-tests", "flask-layers", "rate-limiter"]
GOOD = """
title: A title

issue: |
  Something is wrong.

reply_tokens: {median: 100, spread: 1.5, min: 10, max: 400}
quick_reply_tokens: {median: 20, spread: 1.2, min: 10, max: 40}

turns:
  - say: I look.
    calls:
      - {tool: read_file, arguments: {path: a.py, start_line: null, end_line: null}, takes: 30ms}
  - say: I run the tests.
    quick: true
    reply_tokens: {median: 50, spread: 1, min: 50, max: 50}
    calls:
      - {tool: run_tests, arguments: {path: null, keyword: null}, takes: 1.5s, expect: fail}
  - say: That is all.
    quick: true
"""


@pytest.fixture
def write(tmp_path):
    """Puts a task into a folder; returns the folder and the task's file."""

    def write(text: str) -> tuple[Path, Path]:
        home = tmp_path / "tasks" / "own" / "first"
        (home / "repo").mkdir(parents=True, exist_ok=True)
        (home / "repo" / "a.py").write_text("x = 1\n")
        (home / "task.yaml").write_text(text)
        return tmp_path / "tasks", home / "task.yaml"

    return write


def mistakes(folder: Path) -> str:
    with pytest.raises(ScenarioError) as caught:
        load_tasks(folder)
    return str(caught.value)


def test_a_file_becomes_a_task_with_both_scripts(write):
    folder, file = write(GOOD)
    (task,) = load_tasks(folder)
    assert task.name == "own/first"
    assert task.title == "A title"
    assert task.issue == "Something is wrong."
    assert task.repository == file.parent / "repo"
    assert [turn.say for turn in task.turns] == ["I look.", "I run the tests.", "That is all."]
    call = task.turns[1].calls[0]
    assert (call.tool, call.arguments, call.takes_s, call.expect) == (
        "run_tests",
        {"path": None, "keyword": None},
        1.5,
        "fail",
    )
    assert [turn.reply_tokens.median for turn in task.turns] == [100, 50, 100]
    assert [turn.say for turn in task.quick_turns] == ["I run the tests.", "That is all."]
    assert [turn.reply_tokens.median for turn in task.quick_turns] == [20, 20]


def test_without_marks_the_quick_script_is_the_whole_one_with_its_own_lengths(write):
    folder, _ = write(GOOD.replace("    quick: true\n", "").replace("quick_reply_tokens: {median: 20, ", "#"))
    (task,) = load_tasks(folder)
    assert task.quick_turns == task.turns


def test_a_task_survives_pickling(write):
    (task,) = load_tasks(write(GOOD)[0])
    assert pickle.loads(pickle.dumps(task)) == task


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("title: A title", "tilte: A title", r"task.yaml:2: tilte: unknown key; did you mean title\?"),
        ("title: A title", "", r"task.yaml:\d+: title: missing; this key has no default"),
        ("say: I look.", "says: I look.", r"task.yaml:11: turns\[0\].says: unknown key; did you mean say\?"),
        ("tool: read_file", "tool: readfile", r":13: .*\.tool: expected .* not 'readfile'; did you mean read_file\?"),
        ("path: a.py,", "pth: a.py,", r":13: .*arguments.pth: unknown key; did you mean path\?"),
        ("path: a.py,", "path: 7,", r":13: .*arguments.path: expected a valid string, not 7"),
        (
            "start_line: null",
            "start_line: 0",
            r":13: .*arguments.start_line: expected greater than or equal to 1, not 0",
        ),
        ("takes: 30ms", "takes: 30", r":13: .*takes: expected a duration such as 500ms"),
        ("expect: fail", "expect: failure", r":18: .*expect: expected ok or fail, not 'failure'; did you mean fail\?"),
        ("spread: 1.5", "spread: 0.5", r":7: reply_tokens.spread: expected greater than or equal to 1, not 0.5"),
        ("max: 400", "max: 40", r":7: reply_tokens: expected min <= median <= max, not 10, 100, 40"),
        ("median: 20", "medium: 20", r":8: quick_reply_tokens.medium: unknown key; did you mean median\?"),
        ("  - say: That is all.\n    quick: true\n", "", r":14: turns\[1\]: expected a last turn without calls"),
        ("That is all.\n    quick: true", "That is all.", r":19: turns\[2\]: expected `quick: true`"),
        (
            "say: I look.\n    calls:\n",
            "say: I look.\n  - say: More.\n    calls:\n",
            r":11: turns\[0\]: no calls, which ends a script",
        ),
        ("title: A title", "title: A title\ntitle: B", r"task.yaml:3: title: given twice \(first on line 2\)"),
        ("title: A title", "title: [", r"task.yaml:\d+: not readable as YAML"),
        ("title: A title", "title: 2024-99-99", r"not readable as YAML"),
        ("issue: |", "issue: ''\nother: |", r":4: issue: "),
    ],
)
def test_mistakes_name_file_line_key_and_the_nearest_valid_name(write, old, new, expected):
    assert old in GOOD
    assert re.search(expected, mistakes(write(GOOD.replace(old, new, 1))[0]))


def test_every_mistake_of_a_file_is_reported_at_once(write):
    said = mistakes(write(GOOD.replace("title:", "tilte:").replace("takes: 30ms", "takes: x"))[0])
    assert len(said.splitlines()) == 3


@pytest.mark.parametrize("text", ["", "[]", "text", "3"])
def test_a_file_that_is_no_mapping_is_refused(write, text):
    assert "task.yaml:1: expected" in mistakes(write(text)[0])


def test_a_file_that_is_not_text_is_refused(write):
    folder, file = write(GOOD)
    file.write_bytes(b"title: \xff\xfe")
    assert f"{file}: cannot be read: it is not UTF-8 text" in mistakes(folder)


def test_a_task_without_a_repository_is_refused(write):
    folder, file = write(GOOD)
    (file.parent / "repo" / "a.py").unlink()
    assert f"{file.parent / 'repo'}: expected the task's repository" in mistakes(folder)


def test_a_folder_without_tasks_is_refused(tmp_path):
    assert "no task found; expected files named <kind>/<variant>/task.yaml" in mistakes(tmp_path)
    assert "no task found" in mistakes(tmp_path / "missing")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("lru-cahce", "did you mean lru-cache?"),
        ("lru-cache/tll", "did you mean lru-cache/ttl?"),
        ("zzz", "expected one of"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_one(name, hint):
    with pytest.raises(ScenarioError, match=re.escape(hint)):
        load_tasks([name])


def test_a_selection_keeps_its_order_and_takes_each_task_once():
    names = [task.name for task in load_tasks(["merge-sort/external", "lru-cache", "lru-cache/ttl"])]
    assert names == [
        "merge-sort/external",
        "lru-cache/capacity",
        "lru-cache/stats",
        "lru-cache/ttl",
        "lru-cache/weighted",
    ]


BUNDLED = load_tasks(KINDS)


def test_there_are_four_variants_of_each_kind():
    assert [sum(task.kind == kind for task in BUNDLED) for kind in KINDS] == [4, 4, 4, 4, 4]
    assert len({task.issue for task in BUNDLED}) == 20


@pytest.mark.parametrize("task", BUNDLED, ids=lambda task: task.name)
def test_bundled_scripts_have_their_shape(task):
    assert 7 <= len(task.turns) <= 10
    assert 3 <= len(task.quick_turns) <= 4
    full_says = [turn.say for turn in task.turns]
    assert [say for say in full_says if say in {turn.say for turn in task.quick_turns}] == [
        turn.say for turn in task.quick_turns
    ]
    runs = [call.expect for turn in task.turns for call in turn.calls if call.tool == "run_tests"]
    assert (runs[0], runs[-1]) == ("fail", "ok")
    assert any(call.tool in {"edit_file", "write_file"} for turn in task.quick_turns for call in turn.calls)
    for turn in task.turns:
        for call in turn.calls:
            assert 0.01 <= call.takes_s <= 2.0
            assert set(call.arguments) == set(ARGUMENTS[call.tool].model_fields)


@pytest.mark.parametrize("task", BUNDLED, ids=lambda task: task.name)
def test_bundled_repositories_are_small_and_real(task):
    files = [path for path in task.repository.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert 6 <= len(files) <= 12
    assert (task.repository / "README.md").is_file()
    assert any(path.name.startswith("test_") for path in files)
    assert not any(path.is_symlink() for path in task.repository.rglob("*"))
    assert yaml.safe_load((task.repository.parent / "task.yaml").read_text())["quick_reply_tokens"]["max"] <= 64


def test_reply_lengths_follow_the_stated_distribution():
    length = ReplyLength(median=200, spread=1.5, min=1, max=100_000)
    rng = random.Random(1)
    lengths = sorted(length.sample(rng) for _ in range(20_000))
    assert statistics.median(lengths) == pytest.approx(200, rel=0.02)
    within = sum(200 / 1.5 <= value <= 200 * 1.5 for value in lengths) / len(lengths)
    assert within == pytest.approx(0.683, abs=0.01)


def test_reply_lengths_are_clipped_and_repeatable():
    length = ReplyLength(median=100, spread=3, min=90, max=110)
    first = [length.sample(random.Random(seed)) for seed in range(200)]
    assert (min(first), max(first)) == (90, 110)
    assert first == [length.sample(random.Random(seed)) for seed in range(200)]


def test_a_spread_of_one_is_a_fixed_length():
    assert {ReplyLength(50, 1, 1, 99).sample(random.Random(seed)) for seed in range(20)} == {50}

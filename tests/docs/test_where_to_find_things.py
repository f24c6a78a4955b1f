"""CONTRIBUTING's answers to "where is ...?" name files and definitions that there are."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = re.findall(r"^\| .+\? \| `(\S+\.py)`, `(\w+)` \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.M)


def test_the_table_answers_the_questions_of_a_stranger() -> None:
    assert len(ROWS) >= 25


@pytest.mark.parametrize(("file", "name"), ROWS)
def test_what_an_answer_names_is_there(file: str, name: str) -> None:
    text = (ROOT / file).read_text()
    assert re.search(rf"^\s*(?:async )?(?:def|class) {name}\b|^{name}\b", text, re.M), (file, name)

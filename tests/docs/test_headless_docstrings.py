"""No docstring or comment of ours begins without saying what it is about, as "Of address space." would."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "swarm/tasks/library"  # the tasks' code is not ours to speak in
FILES = sorted(
    file
    for folder in ("swarm", "bench", "grafana")
    for file in (ROOT / folder).rglob("*.py")
    if not file.is_relative_to(LIBRARY)
)
HEADLESS = re.compile(r"Of\b|What\b(?![^.]*\?)")


def headless(source: str) -> Iterator[str]:
    """The docstrings and comments of `source` that begin so. A docstring is any string that is a statement."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str() as text)) if HEADLESS.match(text.lstrip()):
                yield text
    lines = ["", *source.splitlines()]
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and HEADLESS.match(token.string.lstrip("# ")):
            row, column = token.start
            goes_on = not lines[row][:column].strip() and lines[row - 1].lstrip().startswith("#")
            if not goes_on:
                yield token.string


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_docstrings_and_comments_make_sense_on_their_own(file: Path) -> None:
    assert not list(headless(file.read_text()))


def test_what_has_no_head_is_found_wherever_it_stands() -> None:
    source = '''"""What it does."""
# Of a constant.
LIMIT = 1  # What is kept.
"""Of address space."""
class A:
    """What is it? Then it has a head."""
    size: int
    """Size of it.
    Of more than one line."""
# A comment goes on,
# Of the line before.
'''
    assert len(list(headless(source))) == 4

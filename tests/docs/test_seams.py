"""Tests exchange parts of swarm through parameters; they patch names of other libraries alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
OURS = ("swarm",)
PATCHING = {"setattr", "delattr", "setitem", "delitem", "object"}


def ours(name: str) -> bool:
    return name.split(".")[0] in OURS


def imported(tree: ast.AST) -> dict[str, bool]:
    """Names that a module imports, and whether they are swarm's."""
    found: dict[str, bool] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found |= {one.asname or one.name: ours(node.module or "") for one in node.names}
        elif isinstance(node, ast.Import):
            found |= {(one.asname or one.name).split(".")[0]: ours(one.name) for one in node.names}
    return found


def root(node: ast.expr) -> str | None:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def patched(source: str) -> Iterator[str]:
    """Attributes of swarm's modules and classes that a test patches."""
    tree = ast.parse(source)
    names = imported(tree)
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        place = node.args[0]
        if node.func.attr in PATCHING and root(node.func) in ("monkeypatch", "patch"):
            if isinstance(place, ast.Constant) and isinstance(place.value, str) and ours(place.value):
                yield place.value
            elif names.get(root(place) or "", False):
                yield ast.unparse(place)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import os\nmonkeypatch.setattr(os, 'write', f)", []),
        ("monkeypatch.setattr('shutil.disk_usage', f)", []),
        ("monkeypatch.setattr('swarm.commands.run.probe', f)", ["swarm.commands.run.probe"]),
        ("from swarm.commands import run\nmonkeypatch.setattr(run, 'probe', f)", ["run"]),
        ("from swarm.client.stamps import Line\nmonkeypatch.setattr(Line, 'bind', f)", ["Line"]),
        ("from swarm.agents import workspace as module\nmonkeypatch.delattr(module.Box, 'a')", ["module.Box"]),
        ("from unittest.mock import patch\npatch.object(sys, 'argv', [])", []),
        ("from swarm import text\nfrom unittest.mock import patch\npatch.object(text, 'listed')", ["text"]),
    ],
)
def test_a_patch_of_swarm_is_found(source: str, found: list[str]) -> None:
    assert list(patched(source)) == found


def test_no_test_patches_swarm() -> None:
    found = {
        str(path.relative_to(TESTS)): names
        for path in TESTS.rglob("*.py")
        if (names := list(patched(path.read_text(encoding="utf-8"))))
    }
    assert found == {}, "give the function a parameter for what the test exchanges (see CONTRIBUTING.md, Seams)"

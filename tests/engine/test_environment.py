"""What is recorded of the machine and of swarm itself, and that looking changes nothing."""

import os
import subprocess
from pathlib import Path

import pytest

from swarm.engine.environment import commit


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=tester", "-c", "user.email=tester@example.org")
    done = subprocess.run(["git", "-C", folder, *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository that swarm runs from."""
    ours = tmp_path / "environment.py"
    ours.write_text("1")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ours.name)
    git(tmp_path, "commit", "--quiet", "--message=first")
    return tmp_path


def test_a_changed_checkout_is_told_from_its_commit(checkout: Path):
    made = git(checkout, "rev-parse", "--short", "HEAD")
    assert commit(checkout / "environment.py") == made
    (checkout / "environment.py").write_text("2")
    assert commit(checkout / "environment.py") == f"{made}-dirty"


def test_the_repository_of_somebody_else_is_none_of_ours(checkout: Path):
    git(checkout, "rm", "--quiet", "--cached", "environment.py")
    assert commit(checkout / "environment.py") is None


def test_looking_at_the_checkout_writes_nothing_into_it(checkout: Path):
    index = checkout / ".git" / "index"
    os.utime(checkout / "environment.py", (1, 1))  # so that git would like to write down that it is unchanged
    before = index.read_bytes(), index.stat().st_mtime_ns
    assert commit(checkout / "environment.py") == git(checkout, "rev-parse", "--short", "HEAD")
    assert (index.read_bytes(), index.stat().st_mtime_ns) == before

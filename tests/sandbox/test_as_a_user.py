"""Root's sandbox and a user's are not built alike: where these tests are root's, they are run once more by a user."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from swarm.agents.sandbox.bubblewrap import _seen

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
USER = "60577"

_BECOME = "import os, sys; os.setgroups([]); os.setgid({0}); os.setuid({0}); os.execv(sys.argv[1], sys.argv[1:])"


def world() -> Iterator[str]:
    """All of this machine as it is, but that the user can reach this interpreter and these tests wherever they lie."""
    needed = [Path(sys.prefix), Path(sys.base_prefix), ROOT]
    closed = {Path("/tmp")}
    for path in needed:
        closed |= {above for above in path.parents if not above.stat().st_mode & 0o001}
    yield from ("--dev-bind", "/", "/")
    outermost = [path for path in closed if not closed & set(path.parents)]
    for path in outermost:
        yield from ("--perms", "1777", "--tmpfs", str(path))
    for path in needed:
        if any(path.is_relative_to(hidden) for hidden in outermost):
            yield from _seen(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="these tests have been run by a user already")
def test_all_of_it_holds_for_an_unprivileged_user_too(sandbox):
    tests = [str(HERE / name) for name in ("test_attacks.py", "test_walls.py", "test_runs.py", "test_escapes.py")]
    pytest_run = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-o",
        "addopts=",
        "-rs",
        "-k",
        "not tool and not hangs and not flood and not together",
        *tests,
    ]
    done = subprocess.run(
        [
            *(sandbox.bwrap, *world(), "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--chdir", str(ROOT)),
            *(sys.executable, "-c", _BECOME.format(USER), *pytest_run),
        ],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/tmp", "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"= \d+ passed, \d+ deselected in", done.stdout), done.stdout  # and none was skipped

"""While a long run is read again a terminal is told so; a pipe is not."""

import os
import subprocess
from pathlib import Path

from small_runs import SWARM


def test_a_terminal_is_told_what_takes_so_long(recorded: Path):
    terminal, its_end = os.openpty()
    done = subprocess.run(
        [SWARM, "report", "."],
        cwd=recorded,
        stdout=subprocess.PIPE,
        stderr=its_end,
        env=os.environ | {"TERM": "xterm"},
        check=True,
    )
    os.close(its_end)
    said = os.read(terminal, 65536).decode()
    os.close(terminal)
    assert "reading ." in said
    assert "drawing report.html" in said
    assert b"reading" not in done.stdout


def test_a_pipe_is_not(recorded: Path):
    done = subprocess.run([SWARM, "report", "."], cwd=recorded, capture_output=True, text=True, check=True)
    assert done.stderr == ""

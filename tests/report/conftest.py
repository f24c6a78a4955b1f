"""The builders of synthetic runs are shared with the tests of the analysis."""

import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "analysis"))

from synthetic import Run

from swarm.analysis.report_data import View, read_view
from swarm.analysis.results import analyse


@pytest.fixture
def viewed(tmp_path: Path) -> Callable[[Run], View]:
    """Writes a run and reads it as a page shows it; each run into a directory of its own."""
    numbers = count(1)

    def view(run: Run) -> View:
        directory = run.write(tmp_path / f"run-{next(numbers)}")
        return read_view(directory, analyse(directory))

    return view

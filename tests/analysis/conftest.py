"""From synthetic runs to results."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from as_json import analyse
from synthetic import Run

Analysed = Callable[[Run], dict[str, Any]]


@pytest.fixture
def analysed(tmp_path: Path) -> Analysed:
    """Writes a run and analyses its directory, a new one for each."""
    numbers = count()
    return lambda run: analyse(run.write(tmp_path / f"run-{next(numbers)}"))


@pytest.fixture
def only_stage(analysed: Analysed) -> Analysed:
    """The results of the only stage of a run."""

    def stage(run: Run) -> dict[str, Any]:
        ((only,),) = (target["stages"] for target in analysed(run)["targets"])
        return only

    return stage

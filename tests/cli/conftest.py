import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "analysis"))

from synthetic import Run


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """The directory of a valid run."""
    return written(tmp_path, window_s=12.0)


@pytest.fixture
def recorded_invalid(tmp_path: Path) -> Path:
    """Of a run that is invalid, as its window was too short."""
    return written(tmp_path, window_s=3.0)


def written(folder: Path, window_s: float) -> Path:
    run = Run()
    run.healthy(window_s=window_s)
    return run.write(folder / "run")

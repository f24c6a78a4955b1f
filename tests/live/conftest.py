"""Synthetic runs, which the tests of the analysis have too."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "analysis"))

"""The builders of synthetic runs are shared with the tests of the analysis."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "analysis"))

"""Results as JSON has them, which is what users read and most tests assert."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from swarm.analysis import results, summary
from swarm.analysis.compare import runs
from swarm.results import plain, read_results


def analyse(directory: Path) -> dict[str, Any]:
    return plain(results.analyse(directory))


def compare_runs(directories: list[Path]) -> dict[str, Any]:
    return plain(runs.compare_runs(directories))


def sentences(found: dict[str, Any]) -> list[str]:
    return summary.sentences(read_results(found))


MAPPINGS = {"latency", "errors", "tool_errors", "ci95", "attribution"}
"""Keys of the results that hold mappings, and no objects."""


def objects(value: Any, key: str = "") -> Any:
    """A few keys of the results as their objects have them, for functions that need no more."""
    if isinstance(value, list):
        return [objects(one) for one in value]
    if not isinstance(value, dict):
        return value
    inner = {name: objects(one, name) for name, one in value.items()}
    return inner if key in MAPPINGS else SimpleNamespace(**inner)

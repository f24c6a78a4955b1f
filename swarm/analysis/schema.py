"""The published JSON Schema (draft 2020-12) of `results.json`: made from `swarm.results` and the catalogue.

`python -m swarm.analysis.schema` writes the file anew.
"""

import json
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import msgspec

from swarm.catalogue import latencies, metric_of, numbers
from swarm.results import Cause, Results

FILE = "results.schema.json"


def results_schema() -> dict[str, Any]:
    """The schema as it is published in the package."""
    schema: dict[str, Any] = json.loads(resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8"))
    return schema


def made_schema() -> dict[str, Any]:
    """The schema as the classes and the catalogue make it: nothing beyond their keys is allowed."""
    (root,), parts = msgspec.json.schema_components([Results], ref_template="#/$defs/{name}")
    for part in parts.values():
        part.pop("title", None)
        part["additionalProperties"] = False
        for key, value in part["properties"].items():
            if "description" not in value and (found := _meaning(key)):
                value["description"] = found
    for name in ("StageResults", "TrialResults"):
        measured = parts[name]["properties"]
        measured["latency"] = _keys([metric.key for metric in latencies()], measured["latency"])
        for metric in latencies():
            measured["latency"]["properties"][metric.key]["description"] = metric.help
        shares = next(one for one in measured["attribution"]["anyOf"] if "additionalProperties" in one)
        shares.pop("propertyNames", None)
        shares |= _keys(list(get_args(Cause)), dict(shares))
    of_stage = parts["StageResults"]["properties"]
    intervals = [number.name for number in numbers(lambda metric: metric.interval)]
    of_stage["ci95"] = _keys(intervals, of_stage["ci95"])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root, "$defs": dict(sorted(parts.items()))}


def _meaning(key: str) -> str | None:
    try:
        return metric_of(key).help
    except KeyError:
        return None


def _keys(names: list[str], mapping: dict[str, Any]) -> dict[str, Any]:
    """A mapping whose keys the catalogue knows."""
    inner = mapping.pop("additionalProperties")
    return {
        **mapping,
        "properties": {name: dict(inner) for name in names},
        "required": names,
        "additionalProperties": False,
    }


def to_text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name(FILE).write_text(to_text(made_schema()), encoding="utf-8")

"""The published JSON Schema (draft 2020-12) of `results.json`."""

import json
from importlib import resources
from typing import Any


def results_schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(
        resources.files(__package__).joinpath("results.schema.json").read_text(encoding="utf-8")
    )
    return schema

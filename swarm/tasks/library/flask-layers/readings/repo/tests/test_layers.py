import ast
import importlib
from datetime import date
from pathlib import Path

import pytest

import meters
from meters.store import Reading, ReadingStore

ALLOWED = {
    "routes": {"meters.csvfile", "meters.service", "meters.store", "meters.views", "meters.web"},
    "service": {"meters.consumption", "meters.csvfile", "meters.store"},
    "views": set(),
    "consumption": {"meters.store", "typing"},
    "csvfile": {"datetime", "meters.store"},
}


@pytest.mark.parametrize("layer", ALLOWED)
def test_a_layer_imports_only_what_is_below_it(layer):
    tree = ast.parse((Path(meters.__file__).parent / f"{layer}.py").read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert imported <= ALLOWED[layer]


def test_consumption_is_a_pure_function():
    by_month = importlib.import_module("meters.consumption").by_month
    readings = [Reading(date(2024, 1, 31), 10), Reading(date(2024, 2, 10), 12.5), Reading(date(2024, 2, 29), 20)]
    assert by_month(readings) == {"2024-02": 10}
    assert by_month(readings[:1]) == by_month([]) == {}


def test_both_views_show_the_same():
    views = importlib.import_module("meters.views")
    months = {"2024-02": 10.04, "2024-03": 0.04}
    assert views.as_json(months) == {"months": [{"month": "2024-02", "kwh": 10.0}, {"month": "2024-03", "kwh": 0.0}], "total": 10.1}
    assert views.as_text(months).splitlines()[-1] == "total          10.1"


def test_the_service_gives_months_and_not_readings():
    service = importlib.import_module("meters.service").MeterService(ReadingStore())
    service.take_in("a", "date,kwh\n2024-01-31,1\n2024-02-01,3\n")
    assert service.months("a") == {"2024-02": 2}
    assert not hasattr(service, "readings")

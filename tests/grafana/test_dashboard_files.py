"""The committed dashboards: current, whole, and of what Grafana needs to show them well."""

import json
import re
from pathlib import Path

import pytest
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.__main__ import DASHBOARDS, FOLDER
from grafana.panels import to_json

ROOT = Path(__file__).parents[2]
BOARD = pytest.mark.parametrize("name", DASHBOARDS)


def board(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text())


def panels(name: str) -> list[dict]:
    return [panel for panel in board(name)["panels"] if panel["type"] != "row"]


@BOARD
def test_the_committed_file_is_what_the_code_makes(name):
    assert (FOLDER / f"{name}.json").read_text() == to_json(DASHBOARDS[name]()), "run: python -m grafana"


@BOARD
def test_the_sdk_reads_it_back_without_loss(name):
    assert json.loads(to_json(Dashboard.from_json(board(name)))) == board(name)


@BOARD
def test_ids_are_unique_and_every_query_has_a_reference_of_its_own(name):
    for panel in panels(name):
        references = [target["refId"] for target in panel["targets"]]
        assert references
        assert all(references)
        assert len(set(references)) == len(references), panel["title"]
    titles = [panel["title"] for panel in panels(name)]
    assert len(set(titles)) == len(titles)


@BOARD
def test_every_panel_has_a_unit_a_description_thresholds_and_the_chosen_data_source(name):
    for panel in panels(name):
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"], panel["title"]
        assert panel["description"].endswith((".", ")")), panel["title"]
        assert defaults["thresholds"]["steps"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]


@BOARD
def test_panels_fit_a_row_of_24_and_do_not_overlap(name):
    taken: set[tuple[int, int]] = set()
    for panel in board(name)["panels"]:
        at = panel["gridPos"]
        x, y = at.get("x", 0), at.get("y", 0)
        cells = {(column, line) for column in range(x, x + at["w"]) for line in range(y, y + at["h"])}
        assert x + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


@BOARD
def test_dashboards_lead_to_each_other(name):
    (link,) = board(name)["links"]
    assert link["tags"] == board(name)["tags"] == ["swarm"]
    assert link["includeVars"]


def test_units_are_those_of_the_metric():
    """A metric's name ends with its unit; a panel that shows it as it is must say the same."""
    units = {"_seconds": "s", "_bytes": "bytes", "_watts": "watt", "_celsius": "celsius", "_hertz": "hertz"}
    checked = 0
    for name in DASHBOARDS:
        for panel in panels(name):
            for target in panel["targets"]:
                found = re.fullmatch(r"(swarm_\w+?)\{[^}]*\}", target["expr"])
                for suffix, unit in units.items():
                    if found and found[1].endswith(suffix):
                        assert panel["fieldConfig"]["defaults"]["unit"] == unit, panel["title"]
                        checked += 1
    assert checked >= 5


def test_a_real_vllm_has_the_metrics_that_are_asked_of_it():
    """Those of before 0.10 stand behind an `or`."""
    page = (ROOT / "tests/vllm/recorded/metrics.http").read_text()
    asked = {
        metric
        for panel in panels("live")
        for target in panel["targets"]
        for metric in re.findall(r"vllm:\w+", target["expr"])
    }
    assert len(asked) >= 8
    old = {metric for metric in asked if metric.startswith("vllm:gpu_")}
    assert [metric for metric in sorted(asked - old) if f"\n{metric}{{" not in page] == []
    assert old == {
        "vllm:gpu_cache_usage_perc",
        "vllm:gpu_prefix_cache_hits_total",
        "vllm:gpu_prefix_cache_queries_total",
    }

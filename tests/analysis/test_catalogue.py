"""One description of a metric is all that the rest of swarm needs to show, judge, compare and export it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from as_json import objects
from synthetic import Run

from swarm.analysis.compare.gates import judge
from swarm.analysis.compare_targets import compare
from swarm.analysis.headline import entry_of
from swarm.analysis.report_data import read_view
from swarm.analysis.results import analyse
from swarm.analysis.soak.drift import drift
from swarm.catalogue import METRICS, ONE, Column, Drift, Metric, better_is_lower, numbers
from swarm.exporter.results import result_families
from swarm.report.compared import verdict
from swarm.report.html import to_html
from swarm.report.markdown import to_markdown
from swarm.scenario.schema import Until
from swarm.scenario.thresholds import parse_slo

ROOT = Path(__file__).parents[2]
NEW = Metric(
    key="coalesced_share",
    block="client",
    label="coalesced",
    title="Chunks that came together",
    help="Coalesced chunks / all chunks.",
    unit="%",
    scale=100,
    better="lower",
    interval=ONE,
    compared=ONE,
    gated=ONE,
    until=ONE,
    drift={None: Drift(floor=0.05)},
    panels=ONE,
    columns=(Column(head="chunks", unit="together"),),
    series={None: "swarm_result_coalesced_ratio"},
)


@pytest.fixture
def described() -> Iterator[None]:
    """The catalogue with one metric more, whose value the results hold already."""
    METRICS.append(NEW)
    yield
    METRICS.remove(NEW)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    """Two targets, three trials each, with a load generator that read as many chunks together as asked for."""

    def write(name: str, coalesced: int = 10) -> Path:
        run = Run(
            targets={"moe": "moe", "dense": "dense"}, trials=3, thresholds=["moe.agents=1.coalesced_share < 0.04"]
        )
        for target in run.targets:
            for trial in (1, 2, 3):
                stage = run.stage(target, trial=trial)
                stage.work()
                stage.watch(5.0, coalesced=coalesced + trial)
                stage.end()
        return run.write(tmp_path / name)

    return write


@pytest.mark.usefixtures("described")
def test_a_metric_of_the_catalogue_is_found_everywhere(run: Callable[..., Path]) -> None:
    directory = run("now")
    results = analyse(directory)
    stage = results.targets[0].stages[0]
    assert parse_slo("coalesced_share < 1").key == "coalesced_share"
    assert [(row.value, row.passed) for row in results.thresholds] == [(pytest.approx(0.042), False)]
    assert stage.ci95["coalesced_share"] is not None
    (row,) = (row for row in compare(results.targets) if row.metric == "coalesced_share")
    assert row.ratio == pytest.approx(1.0)
    assert entry_of(directory, results).stages[0].numbers["coalesced_share"] > 0
    assert Until(metric="coalesced_share").metric == "coalesced_share"
    assert "chunks together" in to_markdown(results)
    assert "Chunks that came together" in to_html([read_view(directory, results)])
    series = {family.name: family.help for family in result_families("r", results)}
    assert series["swarm_result_coalesced_ratio"] == NEW.help


@pytest.mark.usefixtures("described")
def test_gates_and_drift_judge_a_metric_of_the_catalogue_by_its_direction(run: Callable[..., Path]) -> None:
    before, after = analyse(run("before")), analyse(run("after", coalesced=20))
    statuses = {check.name: check.status for check in judge(after, baseline=before) if check.gate == "baseline"}
    assert statuses["moe at 1 agent: coalesced"] == "failed"
    names = {number.column for number in numbers(lambda metric: metric.drift)}
    rows = objects([{**dict.fromkeys(names), "number": 0, "agents": 1, "disturbed": None, "coalesced_share": 1.0}])
    assert "coalesced_share" in {finding.metric for finding in drift(rows, 60.0)}


def row(name: str, ratio: float) -> Any:
    return objects({"metric": name, "ratio": ratio, "significant": True})


@pytest.mark.parametrize("number", numbers(lambda metric: metric.compared), ids=lambda number: number.name)
def test_what_is_compared_is_called_better_in_the_direction_of_the_catalogue(number: Any) -> None:
    lower = better_is_lower(number.name)
    assert lower is not None
    assert verdict(row(number.name, 0.5)) == ("better" if lower else "worse")
    assert verdict(row(number.name, 2.0)) == ("worse" if lower else "better")


LESS = {"ttft_s", "itl_s", "tpot_s", "e2e_s", "job_s", "tokens_per_job", "contention", "slowdown", "errors"}
MORE = {"output_tokens_per_s", "agent_output_tokens_per_s", "jobs_per_h", "retention", "fairness_jain"}


def test_latencies_costs_and_losses_are_better_low_and_rates_and_shares_kept_are_better_high() -> None:
    directions = {metric.key: metric.better for metric in METRICS}
    assert {directions[key] for key in LESS} == {"lower"}
    assert {directions[key] for key in MORE} == {"higher"}


def test_no_two_metrics_share_a_key_and_every_use_names_a_statistic_that_there_is() -> None:
    assert len({metric.key for metric in METRICS}) == len(METRICS)
    uses = ("interval", "compared", "crossing", "gated", "kept", "until", "panels", "series")
    for metric in METRICS:
        named = {stat for use in uses for stat in getattr(metric, use)} | {one.stat for one in metric.columns}
        assert named <= set(metric.stats), metric.key


def test_every_metric_of_the_catalogue_is_in_the_table_of_the_documentation() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = [documented(metric) for metric in METRICS]
    assert "\n".join(row for row in rows if row not in text) == ""


def documented(metric: Metric) -> str:
    stats = ", ".join(stat for stat in metric.stats if stat) if metric.stats else "windows of a soak"
    return f"| `{metric.key}` | {stats} | {metric.better or ''} | {metric.help} |"

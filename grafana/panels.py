"""From a few words about a panel to the SDK's objects: one way to draw each kind, each with unit and description."""

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from grafana_foundation_sdk.builders import bargauge, common, heatmap, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import dashboard as builder
from grafana_foundation_sdk.builders import prometheus as query
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as models
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heatmap_model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
Kind = Literal["lines", "stack", "number", "bars", "heat", "states", "table"]
HEIGHTS: dict[Kind, int] = {"lines": 7, "stack": 7, "number": 4, "bars": 7, "heat": 7, "states": 5, "table": 7}
Query = tuple[str, str]
"""PromQL, and the legend."""


@dataclass(frozen=True)
class Panel:
    """`limits`: from which value on it is yellow and red, or red and yellow and green where `good` is high."""

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    kind: Kind = "lines"
    width: int = 8
    limits: tuple[float, float] | None = None
    good: Literal["low", "high"] = "low"
    highest: float | None = None
    interval: str | None = None
    """The least distance of two points, such as "1d"."""


@dataclass(frozen=True)
class Row:
    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Annotation:
    name: str
    expr: str
    colour: str


@dataclass(frozen=True)
class Page:
    """A dashboard. `variables`: name -> query for its values; `choices`: name -> values to choose from."""

    uid: str
    title: str
    description: str
    since: str
    refresh: str
    variables: dict[str, str]
    rows: Sequence[Row]
    choices: dict[str, Sequence[str]] = field(default_factory=dict)
    annotations: Sequence[Annotation] = ()


def to_dashboard(page: Page) -> model.Dashboard:
    made = (
        builder.Dashboard(page.title)
        .uid(page.uid)
        .description(page.description)
        .tags(["swarm"])
        .time(page.since, "now")
        .refresh(page.refresh)
        .timezone("browser")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .link(
            builder.DashboardLink("swarm")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags(["swarm"])
            .as_dropdown(False)
            .keep_time(True)
            .include_vars(True)
        )
        .with_variable(builder.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for name, values in page.variables.items():
        made.with_variable(
            builder.QueryVariable(name)
            .label(name)
            .datasource(SOURCE)
            .query(values)
            .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(model.VariableSort.NUMERICAL_ASC)
            .multi(True)
            .include_all(True)
            .current(model.VariableOption(text="All", value="$__all", selected=True))
        )
    for name, options in page.choices.items():
        made.with_variable(
            builder.CustomVariable(name)
            .label(name)
            .values(",".join(options))
            .current(model.VariableOption(text=options[0], value=options[0], selected=True))
        )
    for annotation in page.annotations:
        made.annotation(_annotation(annotation))
    for row in page.rows:
        made.with_row(builder.Row(row.title))
        for panel in row.panels:
            made.with_panel(_panel(panel))
    return made.build()


def to_json(dashboard: model.Dashboard) -> str:
    return JSONEncoder(sort_keys=True, indent=2).encode(dashboard) + "\n"


def _annotation(annotation: Annotation) -> builder.AnnotationQuery:
    return (
        builder.AnnotationQuery()
        .name(annotation.name)
        .datasource(SOURCE)
        .enable(True)
        .icon_color(annotation.colour)
        .expr(annotation.expr)
    )


_KINDS: dict[Kind, Callable[[], Any]] = {
    "lines": lambda: timeseries.Panel().line_width(1).fill_opacity(8).show_points(models.VisibilityMode.AUTO),
    "stack": lambda: (
        timeseries.Panel()
        .line_width(1)
        .fill_opacity(40)
        .stacking(common.StackingConfig().mode(models.StackingMode.NORMAL).group("A"))
    ),
    "number": lambda: (
        stat.Panel()
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(models.BigValueGraphMode.AREA)
    ),
    "bars": lambda: (
        bargauge.Panel()
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .orientation(models.VizOrientation.HORIZONTAL)
        .display_mode(models.BarGaugeDisplayMode.BASIC)
    ),
    "heat": lambda: (
        heatmap.Panel()
        .y_axis(heatmap.YAxisConfig().unit("s"))
        .color(heatmap.HeatmapColorOptions().mode(heatmap_model.HeatmapColorMode.SCHEME).scheme("Oranges").steps(64))
    ),
    "states": lambda: statetimeline.Panel().show_value(models.VisibilityMode.NEVER).row_height(0.9),
    "table": lambda: table.Panel(),
}


def _panel(panel: Panel) -> Any:
    made = (
        _KINDS[panel.kind]()
        .title(panel.title)
        .description(panel.description)
        .unit(panel.unit)
        .datasource(SOURCE)
        .height(HEIGHTS[panel.kind])
        .span(panel.width)
        .thresholds(_thresholds(panel))
    )
    if panel.interval:
        made.interval(panel.interval)
    if panel.highest is not None:
        made.min(0).max(panel.highest)
    for reference, (expr, legend) in zip(string.ascii_uppercase, panel.queries, strict=False):
        made.with_target(_query(panel, expr, legend).ref_id(reference))
    return made


def _query(panel: Panel, expr: str, legend: str) -> query.Dataquery:
    made = query.Dataquery().expr(expr).legend_format(legend).datasource(SOURCE)
    if panel.kind in ("bars", "table"):
        made.instant()
    else:
        made.range()
    if panel.kind == "heat":
        made.format(PromQueryFormat.HEATMAP)
    if panel.kind == "table":
        made.format(PromQueryFormat.TABLE)
    return made


def _thresholds(panel: Panel) -> builder.ThresholdsConfig:
    colours = ("green", "yellow", "red") if panel.good == "low" else ("red", "yellow", "green")
    steps = [model.Threshold(color=colours[0] if panel.limits else "green", value=None)]
    for limit, colour in zip(panel.limits or (), colours[1:], strict=False):
        steps.append(model.Threshold(color=colour, value=limit))
    return builder.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)

"""*Nights*: the results of nightly runs, with the band of what is usual and the nights on which that changed.

They come from `swarm report RUN --openmetrics FILE` and `promtool tsdb create-blocks-from openmetrics`: one value
a run.
"""

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.panels import Annotation, Page, Panel, Query, Row, to_dashboard

STAGE = 'scenario=~"$scenario",target=~"$target",agents=~"$agents"'
BY = "scenario, target, agents"
SHOWN = "{{target}} × {{agents}}"
NIGHT = "1d"
BASE = "14d"
LEAST = 0.05


def _night(metric: str, more: str = "") -> str:
    """The value of the last run of a day."""
    return f"max by ({BY}) (last_over_time(swarm_result_{metric}{{{STAGE}{more}}}[{NIGHT}]))"


def _median(value: str) -> str:
    """Median of the last 14 nights, this one left out."""
    return f"quantile_over_time(0.5, {value}[{BASE}:{NIGHT}] offset {NIGHT})"


def _width(value: str) -> str:
    """Half the band of what is usual: 4 median absolute deviations, 5% of the median at least."""
    median = _median(value)
    deviations = f"4 * quantile_over_time(0.5, abs({value} - {median})[{BASE}:{NIGHT}] offset {NIGHT})"
    least = f"{LEAST} * {median}"
    return f"(({deviations}) > ({least}) or ({least}))"


def _with_band(value: str) -> list[Query]:
    return [
        (value, SHOWN),
        (_median(value), SHOWN + " usual"),
        (f"{_median(value)} + {_width(value)}", SHOWN + " upper"),
        (f"{_median(value)} - {_width(value)}", SHOWN + " lower"),
    ]


def _panel(title: str, description: str, unit: str, metric: str, more: str = "", width: int = 12) -> Panel:
    return Panel(title, description, unit, _with_band(_night(metric, more)), width=width, interval=NIGHT)


def _changed(value: str) -> str:
    """Two nights in a row outside of the band."""
    outside = f"(abs({value} - {_median(value)}) > bool {_width(value)})"
    return f"{outside} * last_over_time({outside}[{NIGHT}:{NIGHT}] offset {NIGHT}) == 1"


OUTPUT = _night("output_tokens_per_second")
ROWS = [
    Row(
        "Night by night: the line, the median of the 14 nights before, and the band of 4 MAD or 5%",
        [
            _panel("Output", "Tokens of all agents a second.", "suffix: tok/s", "output_tokens_per_second"),
            _panel("Jobs", "Finished an hour.", "short", "jobs_per_hour"),
            _panel("TTFT, median", "Send to first token.", "s", "latency_seconds", ',metric="ttft",q="0.5"'),
            _panel("TTFT, p99", "Send to first token.", "s", "latency_seconds", ',metric="ttft",q="0.99"'),
            _panel("ITL, median", "Gaps between chunks.", "s", "latency_seconds", ',metric="itl",q="0.5"'),
            _panel("ITL, p99", "Gaps between chunks.", "s", "latency_seconds", ',metric="itl",q="0.99"'),
        ],
    ),
    Row(
        "Was it sound?",
        [
            Panel(
                "Valid",
                "1 where the night's stage may be believed.",
                "short",
                [(_night("valid"), SHOWN)],
                kind="states",
                interval=NIGHT,
                limits=(0.5, 1),
                good="high",
            ),
            Panel(
                "Gates",
                "1 where a threshold of the scenario held.",
                "short",
                [
                    (
                        "min by (threshold) (last_over_time("
                        f'swarm_result_threshold_passed{{scenario=~"$scenario"}}[{NIGHT}]))',
                        "{{threshold}}",
                    )
                ],
                kind="states",
                interval=NIGHT,
                limits=(0.5, 1),
                good="high",
            ),
            Panel(
                "Failed requests",
                "In the window.",
                "short",
                [(_night("errors"), SHOWN)],
                interval=NIGHT,
                limits=(1, 10),
            ),
            Panel(
                "Memory slope",
                "Growth of swarm's own memory in the night's run, by the hour.",
                "bytes",
                [
                    (
                        "max by (target, agents) (3600 * deriv(swarm_client_resident_memory_bytes"
                        f'{{target=~"$target",agents=~"$agents"}}[{NIGHT}]))',
                        SHOWN,
                    )
                ],
                interval=NIGHT,
                limits=(3e6, 3e7),
            ),
            Panel(
                "Lateness of swarm",
                "p99: beyond 5 ms the night measured swarm.",
                "s",
                [(_night("client_lag_p99_seconds"), SHOWN)],
                interval=NIGHT,
                limits=(0.003, 0.005),
            ),
            Panel(
                "What ran",
                "The agents' work, and versions of swarm, of its checkout and of the server.",
                "short",
                [
                    (
                        "max by (run, workload, swarm_version, git) (last_over_time("
                        'swarm_run_info{scenario=~"$scenario"}[$__range]))'
                        " * on (run) group_right(workload, swarm_version, git)"
                        " max by (run, target, model, server_version)"
                        ' (last_over_time(swarm_target_info{target=~"$target"}[$__range]))',
                        "",
                    )
                ],
                kind="table",
            ),
        ],
    ),
]


def dashboard() -> Dashboard:
    return to_dashboard(
        Page(
            uid="swarm-nights",
            title="Nights",
            description="Nightly runs, what is usual, and when that changed.",
            since="now-30d",
            refresh="1h",
            variables={
                "scenario": "label_values(swarm_result_valid, scenario)",
                "target": 'label_values(swarm_result_valid{scenario=~"$scenario"}, target)',
                "agents": 'label_values(swarm_result_valid{scenario=~"$scenario"}, agents)',
            },
            rows=ROWS,
            annotations=[Annotation("Output changed", _changed(OUTPUT), "orange")],
        )
    )

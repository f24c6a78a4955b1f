"""Results for a terminal: a table that is understood in ten seconds, one sentence, and what makes the run invalid."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from swarm.analysis.sentence import sentences

Results = dict[str, Any]

_COLUMNS = (
    ("model", "left"),
    ("agents", "right"),
    ("in flight", "right"),
    ("tok/s\nper agent", "right"),
    ("of 1 agent", "right"),
    ("tok/s\nin all", "right"),
    ("TTFT p50\ns", "right"),
    ("p95\ns", "right"),
    ("ITL p50\nms", "right"),
    ("p99\nms", "right"),
    ("job p50\ns", "right"),
    ("jobs/h", "right"),
    ("fairness", "right"),
    ("cached", "right"),
    ("errors", "right"),
    ("", "left"),
)


def print_results(results: Results, console: Console) -> None:
    """The whole ending of a run."""
    verdict = Text(f" {results['verdict'].upper()} ", "bold white on green" if _valid(results) else "bold white on red")
    console.print(verdict, Text(f" {results['name']}"), soft_wrap=True)
    console.print(_table(results))
    for line in sentences(results):
        console.print(line, style="bold" if _valid(results) else "", highlight=False)
    for reason in results["invalid_reasons"]:
        console.print(f"  invalid: {reason}", style="red", highlight=False, markup=False)
    for threshold in results["thresholds"]:
        mark, style = ("passed", "green") if threshold["passed"] else ("FAILED", "red")
        value = threshold["value"] if threshold["value"] is not None else "no value"
        console.print(f"  {mark}: {threshold['expression']} ({value})", style=style, highlight=False, markup=False)
    if line := _client_line(results):
        console.print(line, style="dim", highlight=False)


def _valid(results: Results) -> bool:
    return bool(results["verdict"] == "valid")


def _table(results: Results) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 1, 0, 0))
    for name, justify in _COLUMNS:
        table.add_column(name, justify="left" if justify == "left" else "right", vertical="bottom", no_wrap=True)
    for number, target in enumerate(results["targets"]):
        if number:
            table.add_row()
        for position, stage in enumerate(target["stages"]):
            style = "" if stage["valid"] else "red"
            table.add_row(target["name"] if position == 0 else "", *_cells(stage), style=style)
    return table


def _cells(stage: dict[str, Any]) -> list[str]:
    latency, throughput = stage["latency"], stage["throughput"]
    tokens = stage["tokens"]
    cached = (
        tokens["cached_prompt"] / tokens["prompt"] if tokens["cached_prompt"] is not None and tokens["prompt"] else None
    )
    return [
        str(stage["agents"]),
        number(stage["achieved"]["in_flight_mean"], 2),
        number(stage["agent_output_tokens_per_s"]["p50"], 1),
        percent(stage["retention"]) if stage["agents"] > 1 else "100 %" if stage["retention"] is not None else "-",
        number(throughput["output_tokens_per_s"], 0),
        number(latency["ttft_s"]["p50"], 2),
        number(latency["ttft_s"]["p95"], 2),
        number(latency["itl_s"]["p50"], 1, 1000),
        number(latency["itl_s"]["p99"], 1, 1000),
        number(latency["job_s"]["p50"], 1),
        number(throughput["jobs_per_h"], 0),
        number(stage["fairness_jain"], 2),
        percent(cached),
        str(sum(stage["errors"].values())),
        "" if stage["valid"] else "invalid",
    ]


def number(value: float | str | None, digits: int, scale: float = 1.0) -> str:
    """A right-aligned number; "-" for what was not measured, "inf" as it is."""
    if value is None or isinstance(value, str):
        return "-" if value is None else value
    return f"{value * scale:,.{digits}f}"


def percent(share: float | None) -> str:
    return "-" if share is None else f"{share * 100:.0f} %"


def _client_line(results: Results) -> str | None:
    clients = [stage["client"] for target in results["targets"] for stage in target["stages"] if stage["client"]]
    lags = [client["lag_p99_s"] for client in clients if client["lag_p99_s"] is not None]
    shares = [client["cpu_share"] for client in clients if client["cpu_share"] is not None]
    if not lags or not shares:
        return None
    sources = {client["stamp_source"] for client in clients if client["stamp_source"]}
    return (
        f"load generator: at most {max(shares) * 100:.0f} % of a core, lag p99 {max(lags) * 1000:.1f} ms, "
        f"{' and '.join(sorted(sources))} stamps"
    )

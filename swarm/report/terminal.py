"""Results for a terminal: a table that is understood in ten seconds, one sentence, and what makes the run invalid."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from swarm.analysis.sentence import sentences
from swarm.report.table import HEADER, Results, rows


def print_results(results: Results, console: Console) -> None:
    """The whole ending of a run."""
    valid = results["verdict"] == "valid"
    console.print(_table(results))
    console.print()
    console.print(
        Text.assemble(
            (f" {results['verdict'].upper()} ", "bold white on green" if valid else "bold white on red"), " "
        ),
        end="",
    )
    console.print(" ".join(sentences(results)), style="bold", highlight=False, markup=False)
    for reason in results["invalid_reasons"]:
        console.print(f"  - {reason}", style="red", highlight=False, markup=False)
    for threshold in results["thresholds"]:
        mark, style = ("passed", "green") if threshold["passed"] else ("FAILED", "red")
        value = "no value" if threshold["value"] is None else threshold["value"]
        console.print(f"  {mark}: {threshold['expression']} ({value})", style=style, highlight=False, markup=False)
    if line := _load_generator(results):
        console.print(line, style="dim", highlight=False)


def _table(results: Results) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for name in HEADER:
        # Units go on their own line, so that the columns are as narrow as their numbers.
        words = name.split(" ", 1)
        table.add_column(
            "\n".join(words), justify="left" if name == "model" else "right", vertical="bottom", no_wrap=True
        )
    previous = None
    for model, *cells in rows(results):
        if previous not in (None, model):
            table.add_row()
        table.add_row("" if model == previous else model, *cells, style="red" if cells[0].endswith("!") else None)
        previous = model
    return table


def _load_generator(results: Results) -> str | None:
    """How hard the load generator itself had to work: the bound on the error of all the rest."""
    clients = [stage["client"] for target in results["targets"] for stage in target["stages"]]
    lags = [client["lag_p99_s"] for client in clients if client["lag_p99_s"] is not None]
    shares = [client["cpu_share"] for client in clients if client["cpu_share"] is not None]
    if not lags or not shares:
        return None
    sources = sorted({client["stamp_source"] for client in clients if client["stamp_source"]})
    return (
        f"load generator: at most {max(shares) * 100:.0f} % of a core, its lag p99 {max(lags) * 1000:.1f} ms, "
        f"chunks stamped by the {' and '.join(sources)}"
    )

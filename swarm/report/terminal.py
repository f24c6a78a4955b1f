"""Results for a terminal: a table that is understood in ten seconds, one sentence, and what makes the run invalid."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from swarm.analysis.sentence import sentences
from swarm.report.table import COLUMNS, Results, notes, rows

GAP = 2
"""Between columns, in characters."""


def print_results(results: Results, console: Console) -> None:
    """The whole ending of a run."""
    colour = "green" if results["verdict"] == "valid" else "red"
    console.print(_table(results, console.width))
    console.print()
    verdict, *meaning = sentences(results)
    badge = f" {results['verdict'].upper()} "
    console.print(Text.assemble((badge, f"bold white on {colour}"), " ", verdict))
    for line in meaning:
        console.print(line, highlight=False, markup=False)
    for reason in results["invalid_reasons"]:
        console.print(f"  - {reason}", style="red", highlight=False, markup=False)
    for threshold in results["thresholds"]:
        mark, style = ("passed", "green") if threshold["passed"] else ("FAILED", "red")
        value = "no value" if threshold["value"] is None else threshold["value"]
        of = f"{threshold['target']}: " if threshold["expression"].startswith("*") else ""
        console.print(f"  {mark}: {of}{threshold['expression']} ({value})", style=style, highlight=False, markup=False)
    for note in notes(results):
        console.print(f"  note: {note}", style="dim", highlight=False, markup=False)
    if effort := _load_generator(results):
        console.print(effort, style="dim", highlight=False)


def _table(results: Results, width: int) -> Table:
    """As many columns as fit into `width` characters, the most telling ones."""
    cells = rows(results)
    rank = max(column.rank for column in COLUMNS)
    while rank and _width(cells, rank) > width:
        rank -= 1
    shown = [index for index, column in enumerate(COLUMNS) if column.rank <= rank]
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, GAP, 0, 0))
    for index in shown:
        column = COLUMNS[index]
        table.add_column(f"{column.head}\n{column.unit}", justify="right" if index else "left", no_wrap=True)
    previous = cells[0][0] if cells else ""
    for number, row in enumerate(cells):
        new = row[0] != previous
        if new:
            table.add_row()
        name = row[0] if new or not number else ""
        table.add_row(name, *(row[index] for index in shown[1:]), style="red" if row[1].endswith("!") else None)
        previous = row[0]
    return table


def _width(cells: list[list[str]], rank: int) -> int:
    """Of the table with all columns up to `rank`."""
    return sum(
        max(len(column.head), len(column.unit), *(len(row[index]) for row in cells)) + GAP
        for index, column in enumerate(COLUMNS)
        if column.rank <= rank
    )


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

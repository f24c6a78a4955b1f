"""Results for a terminal: verdict and answer, a table that is understood in ten seconds, and the details."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from swarm.analysis.summary import answer, details
from swarm.catalogue import Column
from swarm.report.soak import soak_lines
from swarm.report.table import SERVED, Measured, columns, judged, notes, percent, reasons, rows, trust, usual
from swarm.results import Results
from swarm.text import milliseconds

GAP = 2
"""Between columns, in characters."""
NARROW, MOST_WHEN_NARROW = 80, 9
"""A terminal of so few characters shows so many columns at most."""
RATE = "tok/s per agent"
"""The column that `SERVED` explains."""


def print_results(results: Results, console: Console, wanted: Sequence[Measured] = ()) -> None:
    """The whole ending of a run. `wanted`: the columns of its table, in the place of the usual ones."""
    _verdict(results, console)
    if results.workload:
        console.print(results.workload, style="dim", highlight=False, markup=False)
    console.print()
    known = columns(wanted or usual(), predicted=results.predicted)
    cells = rows(results, wanted or usual(), predicted=results.predicted)
    shown = _fitting(known, cells, console.width)
    console.print(_table(known, cells, shown))
    if any(column.title == RATE for column in known):
        console.print(SERVED, style="dim", highlight=False)
    for line in trust(results):
        console.print(line, style="dim", highlight=False)
    if hidden := [column.title for index, column in enumerate(known) if index not in shown]:
        text = f"Hidden at this width: {', '.join(hidden)}. Widen the terminal or use --markdown."
        console.print(text, style="dim", highlight=False)
    console.print()
    for line in details(results):
        console.print(line, highlight=False, markup=False)
    for line in soak_lines(results):
        style = "red" if line.startswith("WORSE") else None
        console.print(f"  {line}", style=style, highlight=False, markup=False)
    for threshold in results.thresholds:
        mark, style = ("passed", "green") if threshold.passed else ("FAILED", "red")
        console.print(f"  {mark}: {judged(threshold)}", style=style, highlight=False, markup=False)
    for note in notes(results):
        console.print(f"  note: {note}", style="dim", highlight=False, markup=False)
    if effort := _load_generator(results):
        console.print(effort, style="dim", highlight=False)


def _verdict(results: Results, console: Console) -> None:
    """The badge, the answer, and why stages are invalid."""
    colour = "green4" if results.verdict == "valid" else "red3"
    first, *more = answer(results)
    console.print(Text.assemble((f" {results.verdict.upper()} ", f"bold white on {colour}"), " ", first))
    for line in more:
        console.print(line, highlight=False, markup=False)
    for reason in reasons(results):
        console.print(f"  - {reason}", style="red", highlight=False, markup=False)


def _fitting(known: Sequence[Column], cells: list[list[str]], width: int) -> list[int]:
    """The columns that fit into `width` characters: those of the highest rank go first, from the right."""
    widths = [max(map(len, (one.head, one.unit, *(row[at] for row in cells)))) for at, one in enumerate(known)]
    shown = [*range(len(known))]
    for index in sorted(shown, key=lambda at: (-known[at].rank, -at)):
        fits = sum(widths[at] + GAP for at in shown) - GAP <= width
        if not known[index].rank or (fits and (width > NARROW or len(shown) <= MOST_WHEN_NARROW)):
            break
        shown.remove(index)
    return shown


def _table(known: Sequence[Column], cells: list[list[str]], shown: list[int]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, GAP, 0, 0))
    for index in shown:
        column = known[index]
        table.add_column(f"{column.head}\n{column.unit}", justify="right" if index else "left", no_wrap=True)
    previous = cells[0][0] if cells else ""
    for place, row in enumerate(cells):
        new = row[0] != previous
        if new:
            table.add_row()
        name = row[0] if new or not place else ""
        table.add_row(name, *(row[index] for index in shown[1:]), style="red" if row[1].endswith("!") else None)
        previous = row[0]
    return table


def _load_generator(results: Results) -> str | None:
    """How hard the load generator itself had to work, and the bound on the error of all the rest, at worst."""
    clients = [stage.client for target in results.targets for stage in target.stages]
    worst = {
        name: max((value for client in clients if (value := getattr(client, name)) is not None), default=None)
        for name in ("timing_error_p99_s", "cpu_share")
    }
    if worst["timing_error_p99_s"] is None:
        return None
    stamped = "" if all(client.stamp_source in ("kernel", None) for client in clients) else ", stamped by swarm itself"
    return (
        f"Timing error at most {milliseconds(worst['timing_error_p99_s'])} (p99{stamped}). Load generator used "
        f"{percent(worst['cpu_share'])} of one core."
    )

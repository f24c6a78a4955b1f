"""Results for a terminal: a table that is understood in ten seconds, one sentence, and what makes the run invalid."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from swarm.analysis.summary import sentences
from swarm.report.soak import soak_lines
from swarm.report.table import SERVED, columns, notes, number, percent, reasons, rows
from swarm.results import Results

GAP = 2
"""Between columns, in characters."""


def print_results(results: Results, console: Console) -> None:
    """The whole ending of a run."""
    colour = "green4" if results.verdict == "valid" else "red3"
    cells = rows(results)
    shown = _fitting(cells, console.width)
    console.print(_table(cells, shown))
    console.print(SERVED, style="dim", highlight=False)
    if left_out := [column.title for index, column in enumerate(columns()) if index not in shown]:
        text = f"No room for: {', '.join(left_out)} (a wider window, --markdown or --json has them)."
        console.print(text, style="dim", highlight=False)
    console.print()
    verdict, *meaning = sentences(results)
    badge = f" {results.verdict.upper()} "
    console.print(Text.assemble((badge, f"bold white on {colour}"), " ", verdict))
    for line in meaning:
        console.print(line, highlight=False, markup=False)
    for reason in reasons(results):
        console.print(f"  - {reason}", style="red", highlight=False, markup=False)
    for line in soak_lines(results):
        style = "red" if line.startswith("WORSE") else None
        console.print(f"  {line}", style=style, highlight=False, markup=False)
    for threshold in results.thresholds:
        mark, style = ("passed", "green") if threshold.passed else ("FAILED", "red")
        value = "no value" if threshold.value is None else threshold.value
        of = f"{threshold.target}: " if threshold.expression.startswith("*") else ""
        console.print(f"  {mark}: {of}{threshold.expression} ({value})", style=style, highlight=False, markup=False)
    for note in notes(results):
        console.print(f"  note: {note}", style="dim", highlight=False, markup=False)
    if effort := _load_generator(results):
        console.print(effort, style="dim", highlight=False)


def _fitting(cells: list[list[str]], width: int) -> list[int]:
    """The columns that fit into `width` characters: those of the highest rank go first, from the right."""
    known = columns()
    widths = [max(map(len, (one.head, one.unit, *(row[at] for row in cells)))) for at, one in enumerate(known)]
    shown = [*range(len(known))]
    for index in sorted(shown, key=lambda at: (-known[at].rank, -at)):
        if not known[index].rank or sum(widths[at] + GAP for at in shown) - GAP <= width:
            break
        shown.remove(index)
    return shown


def _table(cells: list[list[str]], shown: list[int]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, GAP, 0, 0))
    known = columns()
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
        for name in ("timing_error_p99_s", "lag_p99_s", "cpu_share", "coalesced_share")
    }
    if worst["timing_error_p99_s"] is None:
        return None
    by_kernel = all(client.stamp_source in ("kernel", None) for client in clients)
    return (
        f"load generator: times right to {number(worst['timing_error_p99_s'], 2, 1000)} ms (p99, stamped by "
        f"{'the kernel' if by_kernel else 'swarm itself'}), lag {number(worst['lag_p99_s'], 1, 1000)} ms, "
        f"{percent(worst['coalesced_share'], 1)} of chunks coalesced, {percent(worst['cpu_share'])} of a core"
    )

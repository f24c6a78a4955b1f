"""`swarm history`: the runs so far."""

import json
from pathlib import Path
from typing import Annotated

import typer

from swarm.cli.ending import analysed
from swarm.errors import UsageError


def history(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="The history file, or its folder.")] = Path("runs"),
    name: Annotated[str | None, typer.Option(help="Only runs of this scenario.")] = None,
    target: Annotated[str | None, typer.Option(help="Only results of this target.")] = None,
    model: Annotated[str | None, typer.Option(help="Only results of this model.")] = None,
    agents: Annotated[int | None, typer.Option(help="Only this number of agents.")] = None,
    since: Annotated[str | None, typer.Option(metavar="2026-01-31", help="Only runs since this day.")] = None,
    valid: Annotated[bool, typer.Option("--valid", help="Only valid stages.")] = False,
    plot: Annotated[str | None, typer.Option(metavar="ttft_s.p50", help="Plot one number over the runs.")] = None,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the plot as a picture.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print all numbers as CSV.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all numbers as JSON.")] = False,
    add: Annotated[list[Path] | None, typer.Option(metavar="RUN", help="Add a run directory; repeatable.")] = None,
) -> None:
    """List, filter, plot and export the runs so far.

    Example: swarm history --plot ttft_s.p50
    """
    from swarm.analysis.headline import entry_of
    from swarm.recording import history as past
    from swarm.recording.rundir import write_whole
    from swarm.report import history as shown

    path = file / past.FILE if file.is_dir() or not file.suffix else file
    for directory in add or ():
        past.add(path, entry_of(directory, analysed(directory)))
    if not path.exists():
        raise UsageError(f"{path}: no such file; runs add themselves to it, or `swarm history --add RUN`")
    rows = shown.rows(past.entries(path), name, target, model, agents, since, valid)
    if csv:
        print(shown.to_csv(rows), end="")
    elif as_json:
        print(json.dumps(shown.to_objects(rows), indent=2))
    elif plot:
        print(shown.to_plot(rows, plot))
        if svg:
            write_whole(svg, shown.to_svg(rows, plot))
    elif svg:
        raise UsageError("--svg needs --plot, which says what to draw")
    else:
        print(shown.to_table(rows))

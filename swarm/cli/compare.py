"""`swarm compare`: runs side by side."""

from pathlib import Path
from typing import Annotated

import typer

from swarm.cli.safe_stdio import printing
from swarm.errors import ExitCode, UsageError


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN RUN...", help="Run directories, or `latest`; the first is the baseline."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables, for a pull request.")] = False,
) -> None:
    """Compare runs: their settings, and what changed.

    Pairs targets, levels and trials; the first run is the baseline.

    Example: swarm compare runs/before runs/after
    """
    import json

    from swarm.analysis.compare.runs import compare_runs
    from swarm.recording.rundir import find
    from swarm.report.compared import to_markdown, to_text
    from swarm.results import plain

    if as_json and markdown:
        raise UsageError("--json and --markdown: choose one")
    compared = compare_runs(list(map(find, runs)))
    with printing():
        if as_json:
            print(json.dumps(plain(compared), indent=2))
        else:
            print(to_markdown(compared) if markdown else to_text(compared))
    if not all(row.valid for row in compared.comparison):
        raise typer.Exit(ExitCode.INVALID)

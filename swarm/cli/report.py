"""`swarm report`: recorded runs, read again."""

from pathlib import Path
from typing import Annotated

import typer

from swarm.cli.common import show


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories, broken-off ones too.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
) -> None:
    """Read run directories again: recompute the results from the recorded files, and show them."""
    import json

    from swarm.analysis.results import analyse
    from swarm.report.markdown import to_markdown

    for directory in runs:
        if as_json:
            print(json.dumps(analyse(directory), indent=2))
        elif markdown:
            print(to_markdown(analyse(directory)))
        else:
            show(directory, quiet=False)

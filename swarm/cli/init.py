"""`swarm init`: a scenario to start from."""

from pathlib import Path
from typing import Annotated

import typer


def init(
    path: Annotated[Path, typer.Argument(metavar="[FILE]", help="Where to write it.")] = Path("scenario.yaml"),
) -> None:
    """Write a commented scenario to start from."""
    from swarm.scenario.example import write_example

    write_example(path)
    print(f"{path} written; try: swarm run {path} --dry-run")

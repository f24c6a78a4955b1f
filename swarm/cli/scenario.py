"""`swarm validate` and `swarm init`: scenario files."""

from pathlib import Path
from typing import Annotated

import typer

from swarm.cli.common import ScenarioPath, Settings


def validate(scenario: ScenarioPath, settings: Settings = None) -> None:
    """Check a scenario and print it with every default filled in."""
    from swarm.scenario.load import dump_scenario, load_scenario

    print(dump_scenario(load_scenario(scenario, settings)), end="")


def init(
    path: Annotated[Path, typer.Argument(metavar="[FILE]", help="Where to write it.")] = Path("scenario.yaml"),
) -> None:
    """Write a commented scenario to start from."""
    from swarm.scenario.example import write_example

    write_example(path)
    print(f"{path} written; try: swarm run {path} --dry-run")

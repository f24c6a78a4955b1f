"""`swarm validate` and `swarm init`: scenario files."""

from pathlib import Path
from typing import Annotated

import typer

from swarm.cli.common import ScenarioPath, Settings


def validate(scenario: ScenarioPath, settings: Settings = None) -> None:
    """Check a scenario, its tasks or its trace, and print it with every default filled in."""
    from swarm.engine.plan import tasks_of
    from swarm.scenario.load import dump_scenario, load_scenario

    loaded = load_scenario(scenario, settings)
    tasks_of(loaded)
    print(dump_scenario(loaded), end="")


def init(
    path: Annotated[Path, typer.Argument(metavar="[FILE]", help="Where to write it.")] = Path("scenario.yaml"),
) -> None:
    """Write a commented scenario to start from."""
    from swarm.scenario.example import write_example

    write_example(path)
    print(f"{path} written; try: swarm run {path} --dry-run")

"""`swarm init`: a scenario to start from."""

from pathlib import Path
from typing import Annotated

import typer

from swarm.cli.common import (
    KeyEnv,
    Model,
    Url,
    Workload,
    server_of,
)


def init(
    path: Annotated[Path, typer.Argument(metavar="[FILE]", help="Where to write it.")] = Path("scenario.yaml"),
    url: Url = None,
    model: Model = None,
    workload: Workload = None,
    api_key_env: KeyEnv = None,
) -> None:
    """Write a commented scenario to start from; with --url, one for that server.

    Example: swarm init mine.yaml --url http://127.0.0.1:8000/v1
    """
    from swarm.scenario.example import write_example

    _, server = server_of(None, url, model, api_key_env)
    if server:
        from swarm.commands.from_url import scenario_text

        write_example(path, scenario_text(server, workload))
    else:
        write_example(path)
    print(f"{path} written; try: swarm run {path} --dry-run")

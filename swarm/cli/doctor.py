"""`swarm doctor`: what a machine and a server can do."""

import sys
from typing import Annotated

import typer

from swarm.errors import ExitCode


def doctor(
    url: Annotated[str | None, typer.Argument(metavar="[URL]", help="A server's address, with /v1.")] = None,
    route: Annotated[str, typer.Option(help="litellm or direct.")] = "litellm",
) -> None:
    """What this machine can honestly drive, and what a server can do: ten seconds."""
    from swarm.client import eventloop
    from swarm.commands.doctor import report_health

    if not eventloop.run(report_health(url, route, sys.stdout)):
        raise typer.Exit(ExitCode.INVALID)

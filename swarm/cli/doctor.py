"""`swarm doctor`: what a machine and a server can do."""

import sys
from typing import Annotated

import typer

from swarm.errors import ExitCode


def doctor(
    url: Annotated[str | None, typer.Argument(metavar="[URL]", help="A server's address, with /v1.")] = None,
    route: Annotated[str, typer.Option(help="litellm or direct.")] = "litellm",
) -> None:
    """Measure how much load this machine can generate accurately and, given a URL, what that server supports (10 s)."""
    from swarm.client import eventloop
    from swarm.commands.doctor import report_health

    if not eventloop.run(report_health(url, route, sys.stdout)):
        raise typer.Exit(ExitCode.INVALID)

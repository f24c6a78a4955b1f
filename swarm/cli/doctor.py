"""`swarm doctor`: what a machine and a server can do."""

import sys
from typing import Annotated

import typer

from swarm.errors import ExitCode


def doctor(
    url: Annotated[str | None, typer.Argument(metavar="[URL]", help="A server's address.")] = None,
    route: Annotated[str, typer.Option(help="litellm or direct.")] = "litellm",
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON when all are made.")] = False,
) -> None:
    """Measure what load this machine can generate accurately.

    Given a URL, also reports what that server supports. Takes 10 seconds.

    Example: swarm doctor http://127.0.0.1:8000/v1
    """
    from swarm.client import eventloop
    from swarm.commands.doctor import findings_as_json, report_health

    if not eventloop.run((findings_as_json if as_json else report_health)(url, route, sys.stdout)):
        raise typer.Exit(ExitCode.INVALID)

"""`swarm serve` and `swarm doctor`: the simulated server, and what a machine and a server can do."""

import sys
from typing import Annotated

import typer

from swarm.cli.common import AllowHost
from swarm.errors import ExitCode, UsageError


def serve(
    profile: Annotated[str, typer.Option(help="A profile's name, or a JSON file.")] = "moe-30b-a3b-awq-1x3090",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8000,
    allow_host: AllowHost = None,
    served_model_name: Annotated[str | None, typer.Option(help="Default: the profile's name.")] = None,
    max_num_seqs: Annotated[int | None, typer.Option(min=1)] = None,
    kv_tokens: Annotated[int | None, typer.Option(min=16)] = None,
    faults: Annotated[
        str | None, typer.Option(metavar="FILE|YAML", help="What to do wrong: '[{kind: reset, rate: 2%}]', or a file.")
    ] = None,
) -> None:
    """Serve the embedded simulated vLLM on 127.0.0.1 until interrupted."""
    from swarm.scenario.load import load_faults
    from swarm.simulator.faults import parse
    from swarm.simulator.server import serve as serve_simulator

    befalling = parse([fault.plain() for fault in load_faults(faults)]) if faults is not None else ()
    try:
        serve_simulator(
            profile,
            port=port,
            served_model_name=served_model_name,
            allow_hosts=allow_host or (),
            befalling=befalling,
            max_num_seqs=max_num_seqs,
            kv_tokens=kv_tokens,
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise UsageError(f"127.0.0.1:{port}: cannot listen: {error.strerror or error}; choose another --port") from None


def doctor(
    url: Annotated[str | None, typer.Argument(metavar="[URL]", help="A server's address, with /v1.")] = None,
    route: Annotated[str, typer.Option(help="litellm or direct.")] = "litellm",
) -> None:
    """What this machine can honestly drive, and what a server can do: ten seconds."""
    from swarm.client import eventloop
    from swarm.commands.doctor import report_health

    if not eventloop.run(report_health(url, route, sys.stdout)):
        raise typer.Exit(ExitCode.INVALID)

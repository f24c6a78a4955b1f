"""`swarm serve`: the simulated server."""

from typing import Annotated

import typer

from swarm.cli.common import AllowHost
from swarm.errors import UsageError


def serve(
    profile: Annotated[str, typer.Option(help="A profile's name, or a JSON file.")] = "moe-30b-a3b-awq-1x3090",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8000,
    allow_host: AllowHost = None,
    served_model_name: Annotated[str | None, typer.Option(help="Default: the profile's name.")] = None,
    max_num_seqs: Annotated[int | None, typer.Option(min=1)] = None,
    kv_tokens: Annotated[int | None, typer.Option(min=16)] = None,
    faults: Annotated[
        str | None, typer.Option(metavar="FILE|YAML", help="Faults to inject: '[{kind: reset, rate: 2%}]', or a file.")
    ] = None,
) -> None:
    """Serve a simulated vLLM on 127.0.0.1 until interrupted.

    Example: swarm serve --profile moe-30b-a3b-awq-1x3090 --port 8000
    """
    from swarm.scenario.load import load_faults
    from swarm.simulator.server.faults import parse
    from swarm.simulator.server.server import serve as serve_simulator

    befalling = parse([fault.plain() for fault in load_faults(faults)]) if faults is not None else ()
    try:
        serve_simulator(
            profile,
            port=port,
            served_model_name=served_model_name,
            allow_hosts=allow_host or (),
            befalling=befalling,
            greet=_greeting,
            max_num_seqs=max_num_seqs,
            kv_tokens=kv_tokens,
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise UsageError(f"127.0.0.1:{port}: cannot listen: {error.strerror or error}; choose another --port") from None


def _greeting(api_base: str, model: str) -> str:
    return f"address: {api_base}\nmodel: {model}\nnext: swarm run {api_base}"

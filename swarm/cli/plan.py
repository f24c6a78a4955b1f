"""`swarm plan`: which model on which machine carries so many agents."""

import json
import sys
from typing import Annotated

import typer

from swarm.cli.common import Quiet, Workload
from swarm.cli.safe_stdio import printing
from swarm.errors import ExitCode, UsageError


def plan(
    profile: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PROFILE]...", help="Profiles by name or file; default: all that come with swarm."),
    ] = None,
    agents: Annotated[int, typer.Option("--agents", "--concurrency", min=1, help="Concurrent agents to carry.")] = 8,
    slo: Annotated[
        list[str] | None,
        typer.Option("--slo", metavar="EXPR", help="Default 'ttft.p95 < 2s'; repeatable, all must hold."),
    ] = None,
    workload: Workload = None,
    model: Annotated[list[str] | None, typer.Option(help="A model's name; with --gpu; repeatable.")] = None,
    gpu: Annotated[
        list[str] | None, typer.Option(metavar="[Nx]GPU", help="A machine, such as rtx4090 or 2xrtx4090; repeatable.")
    ] = None,
    quant: Annotated[list[str] | None, typer.Option(help="Precision of the weights, such as awq; repeatable.")] = None,
    price: Annotated[
        list[str] | None, typer.Option(metavar="GPU=PRICE", help="Price per hour of one GPU; repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Predict which models on which machines carry so many agents within an SLO.

    Prints a ranked table; needs no GPU.

    Example: swarm plan --agents 8 --slo 'ttft.p95 < 2s' --price rtx3090=0.25
    """
    from swarm.commands.plan import Wanted, combinations
    from swarm.commands.plan import plan as predict_all
    from swarm.report.planned import to_text
    from swarm.results import plain
    from swarm.scenario.thresholds import parse_slo
    from swarm.simulator.profiles import profiles

    slos = slo or ["ttft.p95 < 2s"]
    try:
        for text in slos:
            parse_slo(text)
    except ValueError as error:
        raise UsageError(f"--slo: {error}") from None
    if bool(model) != bool(gpu):
        raise UsageError("--model and --gpu go together: each model is predicted on each machine")
    if quant and not model:
        raise UsageError("--quant: goes with --model and --gpu; a profile has its own")
    named = [*(profile or []), *combinations(model or [], gpu or [], quant or [])] or profiles.names()
    wanted = Wanted(agents, tuple(slos), workload, _prices(price))

    def tell(line: str) -> None:
        if not quiet:
            print(line, file=sys.stderr, flush=True)

    rows = predict_all(named, wanted, tell)
    with printing():
        print(json.dumps(plain(rows), indent=2) if as_json else to_text(rows, agents, slos))
    raise typer.Exit(ExitCode.OK if any(row.holds for row in rows) else ExitCode.GATE)


def _prices(given: list[str] | None) -> dict[str, float]:
    found = {}
    for text in given or []:
        name, _, number = text.partition("=")
        try:
            price = float(number)
        except ValueError:
            price = -1.0
        if not name or not 0 <= price < float("inf"):
            raise UsageError(f"--price {text}: expected GPU=PRICE per hour, such as rtx4090=0.35")
        found[name.strip()] = price
    return found

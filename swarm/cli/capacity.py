"""`swarm capacity`: the most agents that hold a service level objective."""

import json
import sys
from typing import Annotated

import typer

from swarm.cli.common import (
    Address,
    Duration,
    Engine,
    KeyEnv,
    Model,
    Out,
    Quiet,
    ScenarioOrUrl,
    Seed,
    Settings,
    Targets,
    Url,
    Workers,
    Workload,
    Yes,
    ask_for_public_hosts,
    ending,
    load_any,
    overrides,
    results_of,
    server_of,
    sharing,
)
from swarm.cli.safe_stdio import print_path, printing
from swarm.errors import UsageError


def capacity(
    scenario: ScenarioOrUrl = None,
    url: Url = None,
    model: Model = None,
    workload: Workload = None,
    api_key_env: KeyEnv = None,
    slo: Annotated[
        list[str] | None,
        typer.Option("--slo", metavar="EXPR", help="Such as 'ttft_s.p95<2'; repeatable, all must hold."),
    ] = None,
    max_agents: Annotated[int | None, typer.Option(min=1, help="Where the search ends; default 64.")] = None,
    predict: Annotated[bool, typer.Option("--predict", help="In virtual time only, on the contention model.")] = False,
    profile: Annotated[
        list[str] | None,
        typer.Option(metavar="TARGET=PROFILE", help="Begin where this profile predicts the answer; repeatable."),
    ] = None,
    out: Out = None,
    settings: Settings = None,
    target: Targets = None,
    duration: Duration = None,
    seed: Seed = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
    quiet: Quiet = False,
    yes: Yes = False,
    workers: Workers = None,
    engine: Engine = "local",
    address: Address = None,
) -> None:
    """Find the most agents that each target carries within an SLO, with few stages; ends with a sentence a target."""
    from swarm.commands.capacity import find_capacity, with_slos

    file, server = server_of(scenario, url, model, api_key_env)
    given = overrides(settings, None, duration, seed)
    loaded = with_slos(load_any(file, server, workload, given, target), slo, max_agents)
    if not predict:
        ask_for_public_hosts(loaded, yes)
    among = sharing(workers, engine, address, virtual=predict)
    outcome = find_capacity(
        loaded, out, None if quiet else sys.stderr, virtual=predict, profiles=_profiles(profile), sharing=among
    )
    from swarm.results import plain

    results = results_of(outcome, quiet=quiet or as_json)
    with printing():
        if as_json:
            print(json.dumps({"directory": str(outcome.directory), **plain(results.capacity)}, indent=2))
        else:
            print_path(outcome.directory)
    raise typer.Exit(ending(outcome, results))


def _profiles(given: list[str] | None) -> dict[str, str]:
    found = {}
    for text in given or []:
        name, equals, profile = text.partition("=")
        if not equals or not profile:
            raise UsageError(f"--profile {text}: expected TARGET=PROFILE, such as moe=moe-30b-a3b-awq-1x3090")
        found[name] = profile
    return found

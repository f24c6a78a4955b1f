"""`swarm capacity`: the most agents that hold a service level objective."""

import json
import os
import sys
from typing import Annotated

import typer

from swarm.cli.common import (
    Address,
    Columns,
    Duration,
    Engine,
    KeyEnv,
    Label,
    Model,
    Note,
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
    labelled,
    load_any,
    overrides,
    server_of,
    sharing,
)
from swarm.cli.ending import Ending, ending, explain, results_of
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
        typer.Option("--slo", metavar="EXPR", help="Such as 'ttft.p95 < 2s'; repeatable, all must hold."),
    ] = None,
    max_agents: Annotated[int | None, typer.Option(min=1, help="Where the search ends; default 64.")] = None,
    predict: Annotated[bool, typer.Option("--predict", help="In virtual time only, on the contention model.")] = False,
    profile: Annotated[
        list[str] | None,
        typer.Option(metavar="TARGET=PROFILE", help="Begin where this profile predicts the answer; repeatable."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print how many stages the search may take, and stop.")
    ] = False,
    out: Out = None,
    label: Label = None,
    note: Note = None,
    settings: Settings = None,
    target: Targets = None,
    duration: Duration = None,
    seed: Seed = None,
    columns: Columns = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
    quiet: Quiet = False,
    yes: Yes = False,
    workers: Workers = None,
    engine: Engine = "local",
    address: Address = None,
) -> None:
    """Find the maximum number of agents that meet an SLO.

    Takes at most 16 stages per target, and ends with one sentence per target.

    Example: swarm capacity http://127.0.0.1:8000/v1 --slo 'ttft.p95 < 2s' --slo 'itl.p99 < 50ms'
    """
    from swarm.commands.capacity import describe_search, find_capacity, with_slos

    how = Ending.of(quiet, as_json, columns)
    file, server = server_of(scenario, url, model, api_key_env)
    given = overrides([*(settings or []), *labelled(label, note)], None, duration, seed)
    loaded = with_slos(load_any(file, server, workload, given, target), slo or _from_environment(), max_agents)
    if dry_run:
        print(describe_search(loaded))
        return
    if not predict:
        ask_for_public_hosts(loaded, yes)
    among = sharing(workers, engine, address, virtual=predict)
    outcome = find_capacity(
        loaded, out, None if how.quiet else sys.stderr, virtual=predict, profiles=_profiles(profile), sharing=among
    )
    from swarm.results import plain

    results = results_of(outcome, how)
    code = ending(outcome, results)
    if how.quiet:
        explain(code, results)
    with printing():
        if as_json:
            print(json.dumps({"directory": str(outcome.directory), **plain(results.capacity)}, indent=2))
        else:
            print_path(outcome.directory)
    raise typer.Exit(code)


def _from_environment() -> list[str]:
    """The objectives of SWARM_SLO, a semicolon between them."""
    return [text.strip() for text in os.environ.get("SWARM_SLO", "").split(";") if text.strip()]


def _profiles(given: list[str] | None) -> dict[str, str]:
    found = {}
    for text in given or []:
        name, equals, profile = text.partition("=")
        if not equals or not profile:
            raise UsageError(f"--profile {text}: expected TARGET=PROFILE, such as moe=moe-30b-a3b-awq-1x3090")
        found[name] = profile
    return found

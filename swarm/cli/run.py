"""`swarm run`: a scenario in real time."""

import sys
from typing import Annotated

import typer

from swarm.cli.common import (
    Address,
    Columns,
    Duration,
    Engine,
    Json,
    KeyEnv,
    Label,
    Levels,
    Linger,
    Model,
    NoShards,
    Note,
    Out,
    PrometheusHost,
    PrometheusPort,
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
    prometheus_settings,
    server_of,
    sharing,
)
from swarm.cli.ending import Ending, finish


def run(
    scenario: ScenarioOrUrl = None,
    url: Url = None,
    model: Model = None,
    workload: Workload = None,
    api_key_env: KeyEnv = None,
    out: Out = None,
    label: Label = None,
    note: Note = None,
    settings: Settings = None,
    target: Targets = None,
    agents: Levels = None,
    duration: Duration = None,
    seed: Seed = None,
    columns: Columns = None,
    as_json: Json = False,
    quiet: Quiet = False,
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what the run would take, and stop.")] = False,
    prometheus_port: PrometheusPort = None,
    prometheus_host: PrometheusHost = None,
    linger: Linger = None,
    workers: Workers = None,
    engine: Engine = "local",
    address: Address = None,
    shards: NoShards = None,
) -> None:
    """Load a server or run a scenario, level by level.

    Ends with a verdict, a table and the run directory.

    Example: swarm run http://127.0.0.1:8000/v1 --concurrency 1,4,8
    """
    from swarm.engine.dry_run import describe

    settings = [
        *(settings or []),
        *labelled(label, note),
        *prometheus_settings(prometheus_port, prometheus_host, linger),
    ]
    how = Ending.of(quiet, as_json, columns)
    file, server = server_of(scenario, url, model, api_key_env)
    loaded = load_any(file, server, workload, overrides(settings, agents, duration, seed), target)
    if dry_run:
        print(describe(loaded))
        return
    ask_for_public_hosts(loaded, yes)
    from swarm.commands.run import run_scenario

    outcome = run_scenario(loaded, out, None if how.quiet else sys.stderr, sharing=sharing(workers, engine, address))
    finish(outcome, how)

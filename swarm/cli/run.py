"""`swarm run`: a scenario in real time."""

import sys
from typing import Annotated

import typer

from swarm.cli.common import (
    Address,
    Duration,
    Engine,
    Levels,
    Linger,
    NoShards,
    Out,
    PrometheusHost,
    PrometheusPort,
    Quiet,
    ScenarioPath,
    Seed,
    Settings,
    Targets,
    Workers,
    Yes,
    ask_for_public_hosts,
    finish,
    load,
    prometheus_settings,
    sharing,
)


def run(
    scenario: ScenarioPath,
    out: Out = None,
    settings: Settings = None,
    target: Targets = None,
    agents: Levels = None,
    duration: Duration = None,
    seed: Seed = None,
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
    """Run a scenario: each target, level by level; ends with a verdict, a table and the run directory."""
    from swarm.engine.dry_run import describe

    settings = [*(settings or []), *prometheus_settings(prometheus_port, prometheus_host, linger)]
    loaded = load(scenario, settings, target, agents, duration, seed)
    if dry_run:
        print(describe(loaded))
        return
    ask_for_public_hosts(loaded, yes)
    from swarm.commands.run import run_scenario

    outcome = run_scenario(loaded, out, sys.stderr if not quiet else None, sharing=sharing(workers, engine, address))
    finish(outcome, quiet=quiet)

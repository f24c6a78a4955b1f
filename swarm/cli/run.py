"""`swarm run` and `swarm predict`: a scenario in real time, and in virtual time."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from swarm.cli.common import (
    Duration,
    Levels,
    Linger,
    Out,
    PrometheusHost,
    PrometheusPort,
    Quiet,
    ScenarioPath,
    Seed,
    Settings,
    Targets,
    exit_code,
    load,
    prometheus_settings,
    show,
)
from swarm.cli.nightly import remember
from swarm.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from swarm.scenario.schema import Scenario


def run(
    scenario: ScenarioPath,
    out: Out = None,
    settings: Settings = None,
    target: Targets = None,
    agents: Levels = None,
    duration: Duration = None,
    seed: Seed = None,
    quiet: Quiet = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Load hosts that are neither loopback nor private.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what the run would take, and stop.")] = False,
    prometheus_port: PrometheusPort = None,
    prometheus_host: PrometheusHost = None,
    linger: Linger = None,
) -> None:
    """Run a scenario: each target, level by level; ends with a verdict, a table and the run directory."""
    from swarm.engine.plan import describe

    settings = [*(settings or []), *prometheus_settings(prometheus_port, prometheus_host, linger)]
    loaded = load(scenario, settings, target, agents, duration, seed)
    if dry_run:
        print(describe(loaded))
        return
    ask_for_public_hosts(loaded, yes)
    from swarm.engine.run import run_scenario

    outcome = run_scenario(loaded, out, sys.stderr if not quiet else None)
    results = show(outcome.directory, quiet=quiet)
    if outcome.stopped is None:
        remember(outcome.directory, results)
    print(outcome.directory)
    raise typer.Exit(ExitCode.INTERRUPTED if outcome.by_signal else exit_code(results))


def predict(
    scenario: ScenarioPath,
    out: Out = None,
    settings: Settings = None,
    target: Targets = None,
    agents: Levels = None,
    duration: Duration = None,
    seed: Seed = None,
    quiet: Quiet = False,
) -> None:
    """Predict a scenario: the same run in virtual time, on the contention model; needs no GPU and no waiting."""
    from swarm.engine.predict import predict_scenario

    outcome = predict_scenario(
        load(scenario, settings, target, agents, duration, seed), out, sys.stderr if not quiet else None
    )
    results = show(outcome.directory, quiet=quiet)
    if outcome.stopped is None:
        remember(outcome.directory, results)
    print(outcome.directory)
    raise typer.Exit(ExitCode.INTERRUPTED if outcome.by_signal else exit_code(results))


def ask_for_public_hosts(scenario: "Scenario", yes: bool) -> None:
    """Goes on only with a yes where a target is neither on this machine nor on a private network."""
    from swarm.engine.hosts import public_hosts

    if (hosts := public_hosts(scenario)) and not yes:
        _ask(f"{' and '.join(hosts)}: not on this machine or network. Tokens cost money, and it is someone's server.")


def _ask(warning: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError(f"{warning} Run again with --yes if you mean it.")
    typer.confirm(f"{warning} Go on?", abort=True, err=True)

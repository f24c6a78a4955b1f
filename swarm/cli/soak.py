"""`swarm soak`: a stage of hours, with its windows, checkpoints and drift."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from swarm.cli.common import (
    Address,
    Duration,
    Engine,
    Levels,
    Linger,
    Out,
    PrometheusHost,
    PrometheusPort,
    Quiet,
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
from swarm.errors import UsageError


def soak(
    scenario: Annotated[
        Path | None, typer.Argument(metavar="[SCENARIO]", help="A scenario file; with --resume the run's own.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with a soak that was killed, interrupted or rebooted.")
    ] = None,
    virtual: Annotated[
        bool, typer.Option("--predict", help="In virtual time, on the contention model: a night in minutes.")
    ] = False,
    out: Out = None,
    settings: Settings = None,
    target: Targets = None,
    agents: Levels = None,
    duration: Duration = None,
    seed: Seed = None,
    quiet: Quiet = False,
    yes: Yes = False,
    prometheus_port: PrometheusPort = None,
    prometheus_host: PrometheusHost = None,
    linger: Linger = None,
    workers: Workers = None,
    engine: Engine = "local",
    address: Address = None,
) -> None:
    """Load one target for hours: windows, checkpoints, drift; ends with a verdict and the run directory."""
    from swarm.commands.soak import resume_soak, run_soak

    settings = [*(settings or []), *prometheus_settings(prometheus_port, prometheus_host, linger)]
    changed = any((settings, target, agents, duration, seed is not None))
    loaded = load(scenario, settings, target, agents, duration, seed, soak=True) if scenario else None
    among = sharing(workers, engine, address, virtual=virtual)
    progress = None if quiet else sys.stderr
    if resume:
        if out or virtual or (changed and not loaded):
            raise UsageError("--resume goes on with a run as it was started: give it no other options")
        outcome = resume_soak(resume, progress, loaded, among)
    elif loaded is None:
        raise UsageError("give a scenario to soak with, or --resume RUN")
    else:
        if not virtual:
            ask_for_public_hosts(loaded, yes)
        outcome = run_soak(loaded, out, progress, virtual=virtual, sharing=among)
    finish(outcome, quiet=quiet)

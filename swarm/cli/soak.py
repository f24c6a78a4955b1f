"""`swarm soak`: a stage of hours, with its windows, checkpoints and drift."""

import sys
from functools import partial
from pathlib import Path
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
from swarm.errors import UsageError


def soak(
    scenario: ScenarioOrUrl = None,
    url: Url = None,
    model: Model = None,
    workload: Workload = None,
    api_key_env: KeyEnv = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with a soak that was killed, interrupted or rebooted.")
    ] = None,
    virtual: Annotated[
        bool, typer.Option("--predict", help="In virtual time, on the contention model: a night in minutes.")
    ] = False,
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
    prometheus_port: PrometheusPort = None,
    prometheus_host: PrometheusHost = None,
    linger: Linger = None,
    workers: Workers = None,
    engine: Engine = "local",
    address: Address = None,
) -> None:
    """Load one target for hours and look for drift.

    Windows, checkpoints and drift; ends with a verdict and the run directory.

    Example: swarm soak http://127.0.0.1:8000/v1 --agents 8 --duration 8h
    """
    from swarm.commands.predict import predict_scenario
    from swarm.commands.run import continue_run, run_scenario
    from swarm.commands.soak import resume_soak, run_soak

    how = Ending.of(quiet, as_json, columns)
    settings = [
        *(settings or []),
        *labelled(label, note),
        *prometheus_settings(prometheus_port, prometheus_host, linger),
    ]
    changed = any((settings, target, agents, duration, seed is not None))
    file, server = server_of(scenario, url if not resume else None, model, api_key_env)
    given = overrides(settings, agents, duration, seed)
    loaded = load_any(file, server, workload, given, target, soak=True) if file or server or not resume else None
    among = sharing(workers, engine, address, virtual=virtual)
    progress = None if how.quiet else sys.stderr
    if resume:
        if out or virtual or (changed and not loaded):
            raise UsageError("--resume goes on with a run as it was started: give it no other options")
        outcome = resume_soak(resume, progress, loaded, run=partial(continue_run, sharing=among))
    else:
        assert loaded
        if not virtual:
            ask_for_public_hosts(loaded, yes)
        run = predict_scenario if virtual else partial(run_scenario, sharing=among)
        outcome = run_soak(loaded, out, progress, run)
    finish(outcome, how)

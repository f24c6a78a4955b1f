"""`swarm run` and `swarm predict`: a scenario in real time, and in virtual time."""

import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

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
from swarm.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from swarm.engine.runspec import Outcome
    from swarm.engine.shard import Place


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
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Run only the agents of shard I of N; `report` merges all.")
    ] = None,
    rendezvous: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Of shard 0, where all meet; default 127.0.0.1:29400.")
    ] = None,
    run_id: Annotated[
        str | None, typer.Option(help="What shards of one run have in common; default: the scenario's name.")
    ] = None,
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
    from swarm.engine.shard import place_of

    among = sharing(workers, engine, address)
    if shard is None and (rendezvous or run_id):
        raise UsageError("--rendezvous and --run-id go with --shard I/N")
    if shard and not among.alone:
        raise UsageError("--shard: the shards are the processes of this run; leave --workers and --engine out")
    place = place_of(shard, rendezvous, run_id, loaded) if shard else None
    outcome = run_scenario(loaded, out, sys.stderr if not quiet else None, sharing=among, place=place)
    if place:
        _finish_shard(outcome, place, quiet=quiet)
    finish(outcome, quiet=quiet)


def _finish_shard(outcome: "Outcome", place: "Place", *, quiet: bool) -> NoReturn:
    """The ending of a shard, which has no results: those are of all shards together."""
    if not quiet:
        told = "; ".join(filter(None, (outcome.stopped, *outcome.lost))) or "done"
        print(f"{place}: {told}. `swarm report DIR DIR ...` merges the directories of all shards", file=sys.stderr)
    print(outcome.directory)
    whole = outcome.stopped is None and not outcome.lost
    early = ExitCode.INTERRUPTED if outcome.by_signal else ExitCode.BACKEND if outcome.unreachable else ExitCode.INVALID
    raise typer.Exit(ExitCode.OK if whole else early)


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
    finish(outcome, quiet=quiet)

"""`swarm predict`: a scenario in virtual time."""

import sys

from swarm.cli.common import (
    Columns,
    Duration,
    Json,
    Label,
    Levels,
    Note,
    Out,
    Quiet,
    ScenarioPath,
    Seed,
    Settings,
    Targets,
    labelled,
    load,
)
from swarm.cli.ending import Ending, finish


def predict(
    scenario: ScenarioPath,
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
) -> None:
    """Predict a run in virtual time; needs no GPU and no waiting.

    The contention model takes the place of the server.

    Example: swarm predict scenario.yaml --agents 1,4,8
    """
    from swarm.commands.predict import predict_scenario

    how = Ending.of(quiet, as_json, columns)
    outcome = predict_scenario(
        load(scenario, [*(settings or []), *labelled(label, note)], target, agents, duration, seed),
        out,
        None if how.quiet else sys.stderr,
    )
    finish(outcome, how)

"""`swarm predict`: a scenario in virtual time."""

import sys

from swarm.cli.common import (
    Columns,
    Duration,
    Json,
    Levels,
    Out,
    Quiet,
    ScenarioPath,
    Seed,
    Settings,
    Targets,
    load,
)
from swarm.cli.ending import Ending, finish


def predict(
    scenario: ScenarioPath,
    out: Out = None,
    settings: Settings = None,
    target: Targets = None,
    agents: Levels = None,
    duration: Duration = None,
    seed: Seed = None,
    columns: Columns = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Predict a scenario: the same run in virtual time, on the contention model; needs no GPU and no waiting."""
    from swarm.commands.predict import predict_scenario

    how = Ending.of(quiet, as_json, columns)
    outcome = predict_scenario(
        load(scenario, settings, target, agents, duration, seed), out, None if how.quiet else sys.stderr
    )
    finish(outcome, how)

"""`swarm predict`: a scenario in virtual time."""

import sys

from swarm.cli.common import Duration, Levels, Out, Quiet, ScenarioPath, Seed, Settings, Targets, finish, load


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
    from swarm.commands.predict import predict_scenario

    outcome = predict_scenario(
        load(scenario, settings, target, agents, duration, seed), out, sys.stderr if not quiet else None
    )
    finish(outcome, quiet=quiet)

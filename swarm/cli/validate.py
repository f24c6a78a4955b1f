"""`swarm validate`: is a scenario right, and what are all of its settings?"""

from swarm.cli.common import ScenarioPath, Settings


def validate(scenario: ScenarioPath, settings: Settings = None) -> None:
    """Check a scenario and print it with every default filled in.

    Example: swarm validate scenario.yaml
    """
    from swarm.engine.workloads.tasks import tasks_of
    from swarm.scenario.load import dump_scenario, load_scenario

    loaded = load_scenario(scenario, settings)
    tasks_of(loaded)
    print(dump_scenario(loaded), end="")

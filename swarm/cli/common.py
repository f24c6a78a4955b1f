"""What several commands share: the scenario as the command line changes it, results on the screen, the exit code."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swarm.errors import ExitCode

if TYPE_CHECKING:
    from swarm.scenario.schema import Scenario

PIPED_WIDTH = 120
"""Characters a line where there is no terminal to ask."""

ScenarioPath = Annotated[Path, typer.Argument(metavar="SCENARIO", help="A scenario file; `swarm init` writes one.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="Override a key of the scenario; repeatable.")
]
Out = Annotated[Path | None, typer.Option(help="Run directory; default runs/<name>-<UTC>/.")]
Targets = Annotated[list[str] | None, typer.Option("--target", help="Only this target; repeatable.")]
Levels = Annotated[str | None, typer.Option("--agents", metavar="1,4,8", help="Levels, instead of the scenario's.")]
Duration = Annotated[str | None, typer.Option(metavar="60s", help="Window of a stage.")]
Seed = Annotated[int | None, typer.Option(help="Seed of tasks and reply lengths.")]
PrometheusPort = Annotated[
    int | None, typer.Option(metavar="P", help="Serve /metrics while it runs; 0: any free port.")
]
PrometheusHost = Annotated[str | None, typer.Option(metavar="H", help="Where; default 127.0.0.1.")]
Linger = Annotated[str | None, typer.Option(metavar="30s", help="At the end, wait so long for two more scrapes.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the run directory.")]


def load(
    scenario: Path,
    settings: list[str] | None,
    target: list[str] | None,
    agents: str | None,
    duration: str | None,
    seed: int | None,
    *,
    soak: bool = False,
) -> "Scenario":
    """The scenario with what the command line changes in it; its `soak` is only for the command of that name."""
    from swarm.scenario.load import load_scenario

    shortcuts = {"agents.levels": agents and f"[{agents}]", "stage.duration": duration, "agents.seed": seed}
    overrides = [*(settings or []), *(f"{key}={value}" for key, value in shortcuts.items() if value is not None)]
    loaded = load_scenario(scenario, overrides).only(target)
    return loaded if soak else loaded.model_copy(update={"soak": None})


def prometheus_settings(port: int | None, host: str | None, linger: str | None) -> list[str]:
    """The options of `/metrics` as settings of the scenario."""
    given = {"port": port, "host": host, "linger": linger}
    return [f"prometheus.{key}={value}" for key, value in given.items() if value is not None]


def show(directory: Path, *, quiet: bool) -> dict[str, Any]:
    """Recomputes `results.json` and `report.html`, and prints the results for people."""
    from rich.console import Console

    from swarm.analysis.results import analyse
    from swarm.analysis.view import read_view
    from swarm.recording import rundir
    from swarm.report.html import to_html
    from swarm.report.terminal import print_results

    results = analyse(directory)
    rundir.write_results(directory, results)
    rundir.write_whole(directory / rundir.REPORT, to_html([read_view(directory, results)]))
    if not quiet:
        print_results(results, Console(width=None if sys.stdout.isatty() else PIPED_WIDTH))
    return results


def exit_code(results: dict[str, Any]) -> ExitCode:
    if results["verdict"] != "valid":
        return ExitCode.INVALID
    drifted = any(finding["worse"] for finding in (results.get("soak") or {}).get("drift", ()))
    passed = all(threshold["passed"] for threshold in results["thresholds"])
    return ExitCode.GATE if drifted or not passed else ExitCode.OK

"""The commands: parse, call, exit code; no logic. What is slow to import is imported by the command that needs it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swarm import __version__, cli_profiles
from swarm.errors import ExitCode, SwarmError, UsageError

if TYPE_CHECKING:
    from swarm.scenario.schema import Scenario

app = typer.Typer(
    name="swarm",
    no_args_is_help=True,
    rich_markup_mode=None,  # its help costs 0.2 s more to print
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="How many coding agents can this model on this GPU really carry, and what happens to each when more join?",
    epilog="Exit codes: 0 valid, 2 usage or scenario, 3 invalid stage, 4 failed threshold, 5 backend unreachable, "
    "130 interrupted, 1 a bug of ours.",
)

app.add_typer(cli_profiles.app, name="profiles")

PIPED_WIDTH = 120
"""Characters a line where there is no terminal to ask."""

ScenarioPath = Annotated[Path, typer.Argument(metavar="SCENARIO", help="A scenario file; `swarm init` writes one.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="Override a key of the scenario; repeatable.")
]


def main() -> None:
    """The console script: our own exceptions become one line and an exit code; any other is a bug, shown in full."""
    try:
        app()
    except SwarmError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"swarm {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Version.")
    ] = False,
) -> None: ...


@app.command()
def run(
    scenario: ScenarioPath,
    out: Annotated[Path | None, typer.Option(help="Run directory; default runs/<name>-<UTC>/.")] = None,
    settings: Settings = None,
    target: Annotated[list[str] | None, typer.Option(help="Only this target; repeatable.")] = None,
    agents: Annotated[str | None, typer.Option(metavar="1,4,8", help="Levels, instead of the scenario's.")] = None,
    duration: Annotated[str | None, typer.Option(metavar="60s", help="Window of a stage.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of tasks and reply lengths.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the run directory.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Load hosts that are neither loopback nor private.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what the run would take, and stop.")] = False,
) -> None:
    """Run a scenario: each target, level by level; ends with a verdict, a table and the run directory."""
    from swarm.engine.hosts import public_hosts
    from swarm.engine.plan import describe

    loaded = _load(scenario, settings, target, agents, duration, seed)
    if dry_run:
        print(describe(loaded))
        return
    if (hosts := public_hosts(loaded)) and not yes:
        _ask(f"{' and '.join(hosts)}: not on this machine or network. Tokens cost money, and it is someone's server.")
    from swarm.engine.run import run_scenario

    outcome = run_scenario(loaded, out, sys.stderr if not quiet else None)
    results = _show(outcome.directory, quiet=quiet)
    print(outcome.directory)
    raise typer.Exit(ExitCode.INTERRUPTED if outcome.by_signal else _exit_code(results))


@app.command()
def predict(
    scenario: ScenarioPath,
    out: Annotated[Path | None, typer.Option(help="Run directory; default runs/<name>-<UTC>/.")] = None,
    settings: Settings = None,
    target: Annotated[list[str] | None, typer.Option(help="Only this target; repeatable.")] = None,
    agents: Annotated[str | None, typer.Option(metavar="1,4,8", help="Levels, instead of the scenario's.")] = None,
    duration: Annotated[str | None, typer.Option(metavar="60s", help="Window of a stage.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of tasks and reply lengths.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the run directory.")] = False,
) -> None:
    """Predict a scenario: the same run in virtual time, on the contention model; needs no GPU and no waiting."""
    from swarm.engine.predict import predict_scenario

    outcome = predict_scenario(
        _load(scenario, settings, target, agents, duration, seed), out, sys.stderr if not quiet else None
    )
    results = _show(outcome.directory, quiet=quiet)
    print(outcome.directory)
    raise typer.Exit(ExitCode.INTERRUPTED if outcome.by_signal else _exit_code(results))


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories, broken-off ones too.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
) -> None:
    """Read run directories again: recompute the results from the recorded files, and show them."""
    import json

    from swarm.analysis.results import analyse
    from swarm.report.markdown import to_markdown

    for directory in runs:
        if as_json:
            print(json.dumps(analyse(directory), indent=2))
        elif markdown:
            print(to_markdown(analyse(directory)))
        else:
            _show(directory, quiet=False)


@app.command()
def validate(scenario: ScenarioPath, settings: Settings = None) -> None:
    """Check a scenario and print it with every default filled in."""
    from swarm.scenario.load import dump_scenario, load_scenario

    print(dump_scenario(load_scenario(scenario, settings)), end="")


@app.command()
def init(
    path: Annotated[Path, typer.Argument(metavar="[FILE]", help="Where to write it.")] = Path("scenario.yaml"),
) -> None:
    """Write a commented scenario to start from."""
    from swarm.scenario.example import write_example

    write_example(path)
    print(f"{path} written; try: swarm run {path} --dry-run")


@app.command()
def serve(
    profile: Annotated[str, typer.Option(help="A profile's name, or a JSON file.")] = "moe-30b-a3b-awq-1x3090",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8000,
    served_model_name: Annotated[str | None, typer.Option(help="Default: the profile's name.")] = None,
    max_num_seqs: Annotated[int | None, typer.Option(min=1)] = None,
    kv_tokens: Annotated[int | None, typer.Option(min=16)] = None,
) -> None:
    """Serve the embedded simulated vLLM on 127.0.0.1 until interrupted."""
    from swarm.simulator.server import serve as serve_simulator

    try:
        serve_simulator(
            profile, port=port, served_model_name=served_model_name, max_num_seqs=max_num_seqs, kv_tokens=kv_tokens
        )
    except ValueError as error:
        raise UsageError(str(error)) from None


def _load(
    scenario: Path,
    settings: list[str] | None,
    target: list[str] | None,
    agents: str | None,
    duration: str | None,
    seed: int | None,
) -> "Scenario":
    """The scenario with what the command line changes in it."""
    from swarm.scenario.load import load_scenario

    shortcuts = {"agents.levels": agents and f"[{agents}]", "stage.duration": duration, "agents.seed": seed}
    overrides = [*(settings or []), *(f"{key}={value}" for key, value in shortcuts.items() if value is not None)]
    return load_scenario(scenario, overrides).only(target)


@app.command()
def calibrate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The directory of a measured run.")],
    profile: Annotated[str | None, typer.Option(help="To start from; default: what the target simulated.")] = None,
    target: Annotated[str | None, typer.Option(help="Of the run, where it has several.")] = None,
    out: Annotated[Path | None, typer.Option(help="Default: <profile>-calibrated.json.")] = None,
) -> None:
    """Fit a profile to a measured run, so that `predict` answers for that machine. Needs swarm-load[fit]."""
    from swarm.engine.calibrate import calibrate as fit_profile
    from swarm.engine.calibrate import entry
    from swarm.recording.rundir import write_json, write_whole
    from swarm.report import calibration

    found = fit_profile(run, profile, target)
    path = out or Path(f"{found.profile.name}.json")
    if path.exists():
        raise UsageError(f"{path}: exists already; choose another --out")
    print(calibration.parameters(found.fitted))
    print(calibration.checks(found.errors(), found.held_out))
    write_json(path, entry(found.profile))
    write_whole(path.with_suffix(".svg"), calibration.residuals(found.errors()))
    print(f"{path} and {path.with_suffix('.svg')} written; use it as `simulate: {path}`")


@app.command()
def doctor(
    url: Annotated[str | None, typer.Argument(metavar="[URL]", help="A server's address, with /v1.")] = None,
    route: Annotated[str, typer.Option(help="litellm or direct.")] = "litellm",
) -> None:
    """What this machine can honestly drive, and what a server can do: ten seconds."""
    import asyncio

    from swarm.engine.doctor import report_health

    if not asyncio.run(report_health(url, route, sys.stdout)):
        raise typer.Exit(ExitCode.INVALID)


def _show(directory: Path, *, quiet: bool) -> dict[str, Any]:
    """Recomputes `results.json` and prints it for people."""
    from rich.console import Console

    from swarm.analysis.results import analyse
    from swarm.recording import rundir
    from swarm.report.terminal import print_results

    results = analyse(directory)
    rundir.write_results(directory, results)
    if not quiet:
        print_results(results, Console(width=None if sys.stdout.isatty() else PIPED_WIDTH))
    return results


def _exit_code(results: dict[str, Any]) -> ExitCode:
    if results["verdict"] != "valid":
        return ExitCode.INVALID
    return ExitCode.OK if all(threshold["passed"] for threshold in results["thresholds"]) else ExitCode.GATE


def _ask(warning: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError(f"{warning} Run again with --yes if you mean it.")
    typer.confirm(f"{warning} Go on?", abort=True, err=True)

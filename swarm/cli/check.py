"""`swarm check`: the gates of CI."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swarm.cli.ending import analysed
from swarm.cli.safe_stdio import printing
from swarm.errors import ExitCode, UsageError

HistoryFile = Annotated[
    Path | None, typer.Option("--history", metavar="FILE", help="Default: history.sqlite beside the run directories.")
]

if TYPE_CHECKING:
    from swarm.results import Results


def check(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    baseline: Annotated[
        Path | None, typer.Option(metavar="RUN_OR_FILE", help="Another run, or its results.json.")
    ] = None,
    tolerance: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Largest change for the worse that passes; twice that for p95. Default 5%, if significant.",
        ),
    ] = None,
    allow_uncompared: Annotated[
        bool, typer.Option("--allow-uncompared", help="Pass though nothing could be compared with the baseline.")
    ] = False,
    history: HistoryFile = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write JUnit XML.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
    summary: Annotated[bool, typer.Option("--summary", help="Print one line and no more.")] = False,
) -> None:
    """Check a run against thresholds, a baseline and recent history.

    Exits with 4 on a regression.

    Example: swarm check runs/tonight --baseline runs/last-week
    """
    from swarm.analysis.compare import gates
    from swarm.analysis.headline import entry_of
    from swarm.recording import history as past
    from swarm.recording.rundir import find, write_whole
    from swarm.report import checks as shown
    from swarm.scenario.units import parse_share

    if as_json and markdown:
        raise UsageError("--json and --markdown: choose one")
    try:
        allowed = None if tolerance is None else parse_share(tolerance)
    except ValueError as error:
        raise UsageError(f"--tolerance: {error}") from None
    run, baseline = find(run), baseline and find(baseline)
    results = analysed(run)
    entry = entry_of(run, results)
    before = past.entries(history or run.resolve().parent / past.FILE)
    held = _baseline(run, results, baseline) if baseline else None
    checks = gates.judge(results, held, entry, before, allowed, allow_uncompared=allow_uncompared)
    line = gates.summary(results.name, results.started_at, checks)
    if junit:
        write_whole(junit, shown.to_junit((results.name, checks)))
    with printing():
        if as_json:
            print(json.dumps({"summary": line, "checks": [asdict(check) for check in checks]}, indent=2))
        elif not summary:
            print(
                shown.compared_with(str(run), str(baseline) if baseline else None, checks) + "\n" * (1 + markdown),
                end="",
            )
        if markdown:
            print(shown.to_markdown(line, checks))
        elif not as_json:
            print(line if summary else f"{shown.to_text(checks)}\n{line}")
    found = {check.status for check in checks}
    raise typer.Exit(ExitCode.INVALID if "invalid" in found else ExitCode.GATE if "failed" in found else ExitCode.OK)


def _baseline(run: Path, results: "Results", baseline: Path) -> "Results":
    """The results of the baseline. Raises UsageError where it cannot be compared with the run."""
    found = _results_of(run, baseline)
    if found.predicted != results.predicted:
        said, is_one = ("predicted", "measured") if found.predicted else ("measured", "predicted")
        raise UsageError(f"--baseline {baseline}: was {said}, and {run} is {is_one}; give a baseline of the same kind")
    return found


def _results_of(run: Path, baseline: Path) -> "Results":
    """Raises UsageError where they are none, or were made under another load than the run."""
    from swarm.analysis.headline import digest, load_of
    from swarm.recording.rundir import read_scenario
    from swarm.results import read_results

    directory = baseline if baseline.is_dir() else baseline.parent
    if (directory / "scenario.yaml").exists():
        ours, theirs = load_of(read_scenario(run)), load_of(read_scenario(directory))
        if differing := [key for key in ours if ours[key] != theirs[key]]:
            raise UsageError(f"--baseline {baseline}: was made under another load: {', '.join(differing)} differ")
    if baseline.is_dir():
        return analysed(baseline)
    try:
        document = json.loads(baseline.read_text(encoding="utf-8"))
        if isinstance(document, dict) and "load" not in document:
            raise UsageError(
                f"--baseline {baseline}: does not say under which load it was made; give its run directory"
            )
        found = read_results(document)
    except (OSError, ValueError) as error:
        raise UsageError(f"--baseline {baseline}: not a results.json: {error}") from None
    if found.load != digest(read_scenario(run)):
        raise UsageError(f"--baseline {baseline}: was made under another load")
    return found

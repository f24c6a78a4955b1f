"""The ending of a command that ran a scenario: its results as people or programs read them, and its exit code."""

import json
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from swarm.cli.safe_stdio import console, print_path, printing
from swarm.errors import ExitCode, SwarmError, UsageError

if TYPE_CHECKING:
    from rich.status import Status

    from swarm.engine.runspec import Outcome
    from swarm.report.table import Measured
    from swarm.results import Results

PIPED_WIDTH = 120
"""Characters per line where there is no terminal to ask."""


@dataclass(frozen=True)
class Ending:
    """How a command prints the results of its run. `columns`: those of the table; (): the usual ones."""

    quiet: bool = False
    as_json: bool = False
    columns: "Sequence[Measured]" = ()

    @classmethod
    def of(cls, quiet: bool, as_json: bool, columns: str | None) -> "Ending":
        """Raises UsageError for columns that there are not."""
        from swarm.report.table import chosen

        return cls(quiet or as_json, as_json, chosen(columns) if columns else ())


def show(directory: Path, how: Ending) -> "Results":
    """Recomputes `results.json` and `report.html`, and prints the results for people.

    Where they cannot be written, as the disk is full or read-only, that is told, and they are shown all the same.
    """
    from swarm.analysis.report_data import read_view
    from swarm.recording import rundir
    from swarm.report.html import to_html
    from swarm.report.terminal import print_results

    results = analysed(directory, quiet=how.quiet)
    with _saving():
        rundir.write_results(directory, results)
    if not how.quiet:
        with printing():
            width = None if sys.stdout.isatty() else PIPED_WIDTH
            print_results(results, console(sys.stdout, width=width), how.columns)
    with _saving(), busy(f"drawing {directory / rundir.REPORT}", quiet=how.quiet):
        rundir.write_whole(directory / rundir.REPORT, to_html([read_view(directory, results)]), private=True)
    return results


@contextmanager
def _saving() -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        print(f"note: {error}; the other files hold all that it is computed from", file=sys.stderr)


def analysed(directory: Path, *, quiet: bool = False) -> "Results":
    """The results of a run, computed anew, which takes seconds where it is long."""
    from swarm.analysis.results import analyse

    with busy(f"reading {directory}", quiet=quiet):
        return analyse(directory)


def busy(doing: str, *, quiet: bool) -> "Status":
    """Says on a terminal what is being done, for as long as it is."""
    from rich.markup import escape

    return console(sys.stderr, quiet=quiet).status(escape(doing))


def exit_code(results: "Results") -> ExitCode:
    """Exit code of a search: invalid where the answer stands on an invalid stage; a failed gate where no agent fits.
    Other runs: invalid before a failed gate, which is a drift or a threshold."""
    if results.capacity:
        answers = results.capacity.targets
        if not all(found.conclusive for found in answers):
            return ExitCode.INVALID
        return ExitCode.OK if all(found.agents for found in answers) else ExitCode.GATE
    if results.verdict != "valid":
        return ExitCode.INVALID
    drifted = results.soak is not None and any(finding.worse for finding in results.soak.drift)
    passed = all(threshold.passed for threshold in results.thresholds)
    return ExitCode.GATE if drifted or not passed else ExitCode.OK


def finish(outcome: "Outcome", how: Ending) -> NoReturn:
    """The ending of a command that ran a scenario: shows it, adds it to the history if it was not stopped, exits."""
    results = results_of(outcome, how)
    if outcome.stopped is None:
        _remember(outcome.directory, results)
    elif not outcome.by_signal:
        print(f"stopped: {outcome.stopped}", file=sys.stderr)
    elif results.soak and not results.predicted:
        print(
            f"Interrupted; nothing measured is lost. Continue: swarm soak --resume {outcome.directory}", file=sys.stderr
        )
    code = ending(outcome, results)
    if how.quiet:
        explain(code, results)
    with printing():
        if how.as_json:
            from swarm.results import plain

            print(json.dumps({"directory": str(outcome.directory), **plain(results)}, indent=2))
        else:
            print_path(outcome.directory)
    raise typer.Exit(code)


def explain(code: ExitCode, results: "Results") -> None:
    """Says in one line on stderr why a command that printed no results exits with 3 or 4; other codes are told."""
    from swarm.report.table import judged, reasons

    if code == ExitCode.INVALID:
        told = [*reasons(results), *(results.capacity.targets[0].sentence.splitlines() if results.capacity else ())]
        print(f"invalid: {next(iter(told), 'nothing was measured')}", file=sys.stderr)
    if code == ExitCode.GATE:
        failed = [judged(threshold) for threshold in results.thresholds if not threshold.passed]
        worse = [finding.text for finding in results.soak.drift if finding.worse] if results.soak else []
        told = [*failed, *worse, *(found.sentence for found in (results.capacity.targets if results.capacity else ()))]
        more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
        print(f"failed: {told[0]}{more}", file=sys.stderr)


def results_of(outcome: "Outcome", how: Ending) -> "Results":
    """As `show`; the first signal does not break it off, be it of the run or of now. What was measured is never lost:
    where a bug of ours is in the way of its results, that is shown in full, and where the rest lies."""
    from swarm.engine.stop import first_signal_kept

    with nullcontext() if outcome.by_signal else first_signal_kept():
        try:
            return show(outcome.directory, how)
        except SwarmError:
            raise
        except Exception:
            traceback.print_exc()
            print(_saved(outcome.directory), file=sys.stderr)
            with printing():
                print_path(outcome.directory)
            raise typer.Exit(ExitCode.BUG) from None


def _saved(directory: Path) -> str:
    return (
        f"error: internal error in swarm (please report it). The measurements are saved in {directory} "
        f"({', '.join(sorted(path.name for path in directory.iterdir()))}); once it is fixed, read them with "
        f"`swarm report {directory}`"
    )


def ending(outcome: "Outcome", results: "Results") -> ExitCode:
    """The exit code of a command that ran a scenario: the verdict's, whatever could not be written or printed."""
    if outcome.by_signal:
        return ExitCode.INTERRUPTED
    return ExitCode.BACKEND if outcome.unreachable else exit_code(results)


def _remember(directory: Path, results: "Results") -> None:
    """Adds a finished run to the history beside it; where that fails it is told, and costs the run nothing."""
    from swarm.analysis.headline import entry_of
    from swarm.recording import history

    try:
        history.add(directory.resolve().parent / history.FILE, entry_of(directory, results))
    except SwarmError as error:
        print(f"warning: {error}", file=sys.stderr)

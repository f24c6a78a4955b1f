"""The commands: parse, call, exit code; no logic. What is slow to import is imported by the command that needs it."""

import sys
from typing import Annotated

import typer

from swarm import __version__
from swarm.cli import profiles, safe_stdio, trace
from swarm.cli.calibrate import calibrate
from swarm.cli.capacity import capacity
from swarm.cli.check import check
from swarm.cli.compare import compare
from swarm.cli.doctor import doctor
from swarm.cli.grouped import Grouped
from swarm.cli.history import history
from swarm.cli.init import init
from swarm.cli.plan import plan
from swarm.cli.predict import predict
from swarm.cli.record import record
from swarm.cli.report import report
from swarm.cli.run import run
from swarm.cli.serve import serve
from swarm.cli.soak import soak
from swarm.cli.validate import validate
from swarm.errors import SwarmError
from swarm.text import MOST_OF_A_LINE, shortened

app = typer.Typer(
    name="swarm",
    no_args_is_help=True,
    rich_markup_mode=None,  # its help costs 0.2 s more to print
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    cls=Grouped,
    help="How many concurrent coding agents can your GPU serve, and how much slower does each get as you add more?",
    epilog="Start with: swarm run http://127.0.0.1:8000/v1 (`swarm COMMAND --help` has an example of each command). "
    "Exit codes: 0 valid, 2 usage or scenario, 3 invalid stage, 4 failed threshold or regression, 5 no server, "
    "130 interrupted, 1 internal error (please report).",
)
for command in (
    run,
    soak,
    capacity,
    report,
    compare,
    check,
    history,
    predict,
    plan,
    init,
    validate,
    doctor,
    serve,
    record,
    calibrate,
):
    app.command()(command)
app.add_typer(profiles.app, name="profiles")
app.add_typer(trace.app, name="trace")


def main() -> None:
    """The console script: our own exceptions become one line and an exit code; any other is a bug, shown in full."""
    safe_stdio.harden()
    try:
        try:
            app()
        finally:
            print(end="", flush=True)  # here, and not behind our back at the exit, so that a full disk is told
    except SwarmError as error:
        lines = [shortened(line, MOST_OF_A_LINE) for line in str(error).splitlines()]
        print("error: " + "\n".join(lines), file=sys.stderr)
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

"""`swarm calibrate`: a profile fitted to a measured run."""

from pathlib import Path
from typing import Annotated

import typer

from swarm.errors import UsageError


def calibrate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The directory of a measured run.")],
    profile: Annotated[str | None, typer.Option(help="Profile to start from; default: the simulated one.")] = None,
    target: Annotated[str | None, typer.Option(help="Which target of the run, if it has several.")] = None,
    out: Annotated[Path | None, typer.Option(help="Default: <profile>-calibrated.json.")] = None,
) -> None:
    """Fit a profile to a measured run, so that `predict` answers for that machine. Needs swarm-load[fit]."""
    from swarm.commands.calibrate import calibrate as fit_profile
    from swarm.commands.calibrate import entry
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

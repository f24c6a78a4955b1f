"""`swarm calibrate`: a profile fitted to a running server, or to a measured run."""

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from swarm.cli.common import KeyEnv, Model, Seed, Yes, ask_for_hosts, is_url
from swarm.errors import UsageError


def calibrate(
    measured: Annotated[
        str, typer.Argument(metavar="URL|RUN", help="A running server's address, or the directory of a measured run.")
    ],
    profile: Annotated[
        str | None, typer.Option(help="Profile to start from; default: the served model's, or the simulated one.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Which target of the run, if it has several.")] = None,
    out: Annotated[Path | None, typer.Option(help="Default: <profile>-calibrated.json.")] = None,
    model: Model = None,
    api_key_env: KeyEnv = None,
    seed: Seed = None,
    yes: Yes = False,
) -> None:
    """Fit a profile for `swarm predict` to a server or a measured run.

    A server takes two minutes. Needs swarm-load[fit].

    Example: swarm calibrate http://127.0.0.1:8000/v1
    """
    if is_url(measured):
        if target is not None:
            raise UsageError("--target: goes with a run; a server is one target")
        _server(measured, profile, out, model, api_key_env, seed, yes)
        return
    if model is not None or api_key_env is not None or seed is not None:
        raise UsageError("--model, --api-key-env and --seed: go with a server's address")
    _run(Path(measured), profile, target, out)


def _run(run: Path, profile: str | None, target: str | None, out: Path | None) -> None:
    from swarm.commands.calibrate import calibrate as fit_profile
    from swarm.commands.calibrate import entry
    from swarm.recording.rundir import write_json, write_whole
    from swarm.report import calibration

    found = fit_profile(run, profile, target)
    path = _free(out or Path(f"{found.profile.name}.json"))
    print(calibration.parameters(found.fitted))
    print(calibration.checks(found.errors(), found.held_out))
    write_json(path, entry(found.profile))
    write_whole(path.with_suffix(".svg"), calibration.residuals(found.errors()))
    print(f"{path} and {path.with_suffix('.svg')} written; use it as `simulate: {path}`")


def _server(
    url: str,
    profile: str | None,
    out: Path | None,
    model: str | None,
    key_env: str | None,
    seed: int | None,
    yes: bool,
) -> None:
    from urllib.parse import urlsplit

    from swarm.client import eventloop
    from swarm.client.base import Connection
    from swarm.commands.calibrate import entry
    from swarm.commands.calibrate_server import MEANINGS, calibrate_server, start, unknown
    from swarm.commands.from_url import Server, find
    from swarm.engine.hosts import is_private
    from swarm.recording.rundir import write_json
    from swarm.report import calibration

    host = urlsplit(url).hostname or ""
    ask_for_hosts([] if is_private(host) else [host], yes)
    located, key = find(Server(url, model, key_env))
    path = _free(out or Path(f"{start(profile, located.model).name}-calibrated.json"))  # before the server has work
    reach = Connection(
        api_base=located.api_base, model=located.model, api_key=os.environ.get(key) if key else None, timeout_s=120
    )
    print(f"{located.api_base}: {located.model}; two minutes of questions at most", file=sys.stderr, flush=True)
    found = eventloop.run(
        calibrate_server(
            reach,
            profile,
            time.time_ns() if seed is None else seed,
            lambda question: print(f"  {question}", file=sys.stderr, flush=True),
        )
    )
    print(calibration.constants([(MEANINGS[one.name], one.before, one.value, one.told) for one in found.constants]))
    print(calibration.answers(found.errors))
    for line in unknown(found):
        print(f"not known: {line}")
    write_json(path, entry(found.profile))
    print(f"{path} written; use it as `simulate: {path}`")


def _free(path: Path) -> Path:
    if path.exists():
        raise UsageError(f"{path}: exists already; choose another --out")
    return path

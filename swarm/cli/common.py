"""Shared by several commands: the scenario as the command line changes it, results on the screen, the exit code."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swarm.errors import UsageError

if TYPE_CHECKING:
    from swarm.commands.from_url import Server
    from swarm.scaleout.sharing import Sharing
    from swarm.scenario.schema import Scenario

NOTHING_GIVEN = """give a server's address or a scenario file. Examples:
  swarm run http://127.0.0.1:8000/v1                      load that server: 1, 4 and 8 agents
  swarm run http://127.0.0.1:8000/v1 --concurrency 1-16   with 1, 2, 4, 8 and 16 agents
  swarm run scenario.yaml                                 what a scenario says (`swarm init` writes one)
No server yet? `swarm serve` starts a simulated one. No GPU? `swarm predict SCENARIO` needs none."""

ScenarioPath = Annotated[Path, typer.Argument(metavar="SCENARIO", help="A scenario file; `swarm init` writes one.")]
ScenarioOrUrl = Annotated[
    str | None,
    typer.Argument(
        metavar="[SCENARIO|URL]", help="A scenario file, or a server's address such as http://127.0.0.1:8000."
    ),
]
Url = Annotated[
    str | None,
    typer.Option("--url", envvar="SWARM_URL", help="A server's address; with a SCENARIO: instead of its server."),
]
Model = Annotated[
    str | None, typer.Option("--model", envvar="SWARM_MODEL", help="The model at that address, if it serves several.")
]
KeyEnv = Annotated[
    str | None,
    typer.Option(
        "--api-key-env", metavar="NAME", help="Environment variable with the server's key; default SWARM_API_KEY."
    ),
]
Workload = Annotated[
    str | None,
    typer.Option(
        "--workload",
        envvar="SWARM_WORKLOAD",
        metavar="NAME|PATH",
        help="Agents' work: coding, coding-64k, claude-code, swe-agent, session-short, full, quick, a trace's file, "
        "a run directory, or a folder of tasks.",
    ),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="Override a key of the scenario; repeatable.")
]
Out = Annotated[Path | None, typer.Option(help="Run directory; default runs/<name>-<UTC>/.")]
Targets = Annotated[list[str] | None, typer.Option("--target", help="Only this target; repeatable.")]
Levels = Annotated[
    str | None,
    typer.Option(
        "--agents",
        "--concurrency",
        envvar="SWARM_AGENTS",
        metavar="1,4,8",
        help="Concurrent agents, one stage each: 1,4,8, or 1-16 (doubling), or 4-16:4.",
    ),
]
Duration = Annotated[str | None, typer.Option(metavar="60s", help="Window of a stage.")]
Seed = Annotated[int | None, typer.Option(help="Seed of tasks and reply lengths.")]
PrometheusPort = Annotated[
    int | None, typer.Option(metavar="P", help="Serve /metrics while it runs; 0: any free port.")
]
PrometheusHost = Annotated[str | None, typer.Option(metavar="H", help="Where; default 127.0.0.1.")]
Linger = Annotated[str | None, typer.Option(metavar="30s", help="At the end, wait so long for two more scrapes.")]
Label = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Short name of this run, for comparisons: what you changed.")
]
Note = Annotated[str | None, typer.Option(metavar="TEXT", help="Anything to remember with this run.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the run directory only; on failure also why.")]
Json = Annotated[bool, typer.Option("--json", help="Print the results as JSON.")]
Columns = Annotated[
    str | None,
    typer.Option(metavar="LIST", help="Columns of the table: all, or some such as ttft_s.p95,jobs_per_h."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Load hosts that are neither loopback nor private.")]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Answer requests to this host name too, not only to 127.0.0.1; repeatable."),
]
Workers = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Processes that share the agents; with Ray actors, one a node.")
]
Engine = Annotated[str, typer.Option(metavar="local|ray", help="Where they run: this machine, or a Ray cluster.")]
Address = Annotated[str | None, typer.Option(help="Address of the Ray cluster; default: auto-detect.")]


def _removed(instead: str) -> Callable[[str | None], None]:
    """The callback of an option that older versions had."""

    def refuse(given: str | None) -> None:
        if given is not None:
            raise UsageError(instead)

    return refuse


NoShards = Annotated[
    str | None,
    typer.Option(
        "--shard",
        "--rendezvous",
        "--run-id",
        hidden=True,
        is_eager=True,
        callback=_removed(
            "--shard, --rendezvous and --run-id were removed: use --workers N to share the agents among processes, or "
            "--engine ray among machines; in Kubernetes, start Ray with KubeRay or `ray start` (docs/kubernetes.md)"
        ),
    ),
]
NoMerging = Annotated[
    str | None,
    typer.Option(
        "--out",
        hidden=True,
        is_eager=True,
        callback=_removed(
            "report --out was removed with --shard, whose directories it merged: runs with --workers N or --engine ray "
            "write one run directory"
        ),
    ),
]


def sharing(workers: int | None, engine: str, address: str | None, *, virtual: bool = False) -> "Sharing":
    """How the agents are to be shared: in virtual time, not at all. Raises UsageError."""
    from swarm.scaleout.sharing import Sharing

    if engine not in ("local", "ray"):
        raise UsageError(f"--engine {engine}: expected local or ray")
    if engine == "local" and address is not None:
        raise UsageError(f"--address {address}: goes with --engine ray")
    if virtual and (engine == "ray" or workers):
        raise UsageError("--predict: virtual time passes in one process; leave --workers and --engine out")
    return Sharing("ray" if engine == "ray" else "local", workers, address)


def load(
    scenario: Path,
    settings: list[str] | None,
    target: list[str] | None,
    agents: str | None,
    duration: str | None,
    seed: int | None,
) -> "Scenario":
    """The scenario with what the command line changes in it, without its `soak`, which is for the command of that
    name."""
    from swarm.scenario.load import load_scenario

    loaded = load_scenario(scenario, overrides(settings, agents, duration, seed)).only(target)
    return loaded.model_copy(update={"soak": None})


def overrides(settings: list[str] | None, agents: str | None, duration: str | None, seed: int | None) -> list[str]:
    """The options of the command line as settings of the scenario. Raises UsageError."""
    from swarm.scenario.quick import parse_levels

    try:
        levels = parse_levels(agents) if agents is not None else None
    except ValueError as error:
        raise UsageError(f"--agents: {error}") from None
    shortcuts = {"agents.levels": levels, "stage.duration": duration, "agents.seed": seed}
    return [*(settings or []), *(f"{key}={value}" for key, value in shortcuts.items() if value is not None)]


def load_any(
    given: str | None,
    server: "Server | None",
    workload: str | None,
    settings: list[str],
    target: list[str] | None,
    *,
    soak: bool = False,
) -> "Scenario":
    """The scenario of a file, of a server at a URL, or of a file on another server. Raises as `load_scenario`, and
    UsageError where nothing is given."""
    from swarm.commands.from_url import document_for, on_server, resolved
    from swarm.scenario.load import read_scenario

    if given is not None and server:
        document = on_server(Path(given), server)
    elif server:
        document = document_for(server, workload, soak=soak)
    elif given is not None:
        document = read_scenario(Path(given))
    else:
        raise UsageError(NOTHING_GIVEN)
    if soak and isinstance(stage := document.data.get("stage"), dict):
        stage.pop("until", None)  # a soak runs for its whole duration
    loaded = resolved(document, workload, settings).only(target)
    return loaded if soak else loaded.model_copy(update={"soak": None})


def server_of(
    given: str | None, url: str | None, model: str | None, key_env: str | None
) -> "tuple[str | None, Server | None]":
    """The scenario file and the server that the command line names; either may be missing. Raises UsageError."""
    from swarm.commands.from_url import Server

    if given is not None and is_url(given):
        given, url = None, given
    if url is None and (model is not None or key_env is not None):
        option = "--model" if model is not None else "--api-key-env"
        raise UsageError(f"{option}: goes with a server's address; for a scenario's own server set it in the file")
    return given, Server(url, model, key_env) if url else None


def is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def labelled(label: str | None, note: str | None) -> list[str]:
    """Label and note of a run, as settings of the scenario."""
    given = {"label": label, "note": note}
    return [f"{key}={json.dumps(text)}" for key, text in given.items() if text is not None]


def prometheus_settings(port: int | None, host: str | None, linger: str | None) -> list[str]:
    """The options of `/metrics` as settings of the scenario."""
    given = {"port": port, "host": host, "linger": linger}
    return [f"prometheus.{key}={value}" for key, value in given.items() if value is not None]


def ask_for_public_hosts(scenario: "Scenario", yes: bool) -> None:
    """Goes on only with a yes where a target is neither on this machine nor on a private network."""
    from swarm.engine.hosts import public_hosts

    ask_for_hosts(public_hosts(scenario), yes)


def ask_for_hosts(hosts: list[str], yes: bool) -> None:
    """Goes on only with a yes where there are `hosts`, which are public ones."""
    if not hosts or yes:
        return
    warning = f"{' and '.join(hosts)}: not on this machine or network. Tokens cost money, and it is someone's server."
    if not sys.stdin.isatty():
        raise UsageError(f"{warning} Run again with --yes if you mean it.")
    typer.confirm(f"{warning} Go on?", abort=True, err=True)

"""`swarm record`: a proxy between a coding agent and its model that writes a trace."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from swarm.cli.common import AllowHost, Yes, ask_for_hosts
from swarm.errors import ExitCode, UsageError
from swarm.text import counted, listed

if TYPE_CHECKING:
    from swarm.commands.record import Recorded


class Api(StrEnum):
    """API that an upstream offers."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


def record(
    upstream: Annotated[str, typer.Option(metavar="URL", help="The model's server, e.g. http://127.0.0.1:8000/v1.")],
    out: Annotated[Path | None, typer.Option(help="The trace; default traces/<UTC>.jsonl.")] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the proxy on 127.0.0.1; 0: any free one.")
    ] = 8100,
    allow_host: AllowHost = None,
    model: Annotated[str | None, typer.Option(help="Ask the upstream for this model, whatever clients name.")] = None,
    upstream_api: Annotated[
        Api,
        typer.Option(help="openai: Anthropic's messages are translated by LiteLLM; anthropic: passed on as they are."),
    ] = Api.OPENAI,
    api_key_env: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Environment variable with the upstream's key; else the client's."),
    ] = None,
    ca_file: Annotated[str | None, typer.Option(metavar="FILE", help="Certificates to trust, PEM.")] = None,
    content: Annotated[bool, typer.Option("--content", help="Keep texts, redacted; else keys and lengths.")] = False,
    redact: Annotated[
        Path | None, typer.Option(metavar="FILE", help="More rules, as YAML; see docs/traces.md.")
    ] = None,
    workspace: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the agent works, shown as /workspace; default: here.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the address and the trace.")] = False,
    yes: Yes = False,
) -> None:
    """Record a coding agent as a trace, through a proxy.

    Every turn between the agent and its model is written, until interrupted.

    Example: swarm record --upstream http://127.0.0.1:8000/v1 --out mine.jsonl
    """
    from swarm.client.base import Connection
    from swarm.commands.record import record as record_until_stopped
    from swarm.commands.record import upstream_base, upstream_key
    from swarm.engine.hosts import is_private
    from swarm.proxy.relay import Upstream
    from swarm.trace.redact import default_rules, load_rules

    base = upstream_base(upstream)
    key = upstream_key(api_key_env)
    rules = (*(load_rules(redact) if redact else ()), *default_rules((workspace or Path.cwd()).resolve()))
    host = urlsplit(base).hostname or ""
    ask_for_hosts([] if is_private(host) else [host], yes)
    done = record_until_stopped(
        Upstream(Connection(base, model, key, ca_file=ca_file), upstream_api.value),
        out,
        port,
        rules,
        content,
        sys.stderr if not quiet else None,
        _allowed(allow_host or []),
    )
    if not quiet:
        for line in summary(done):
            print(line)
    print(done.path)
    if done.totals.stopped is not None:
        print(f"error: the recording ended early: {done.totals.stopped}", file=sys.stderr)
        raise typer.Exit(ExitCode.INVALID)


def _allowed(names: list[str]) -> frozenset[str]:
    from swarm.guard import allowed_hosts

    try:
        return allowed_hosts(names)
    except ValueError as error:
        raise UsageError(str(error)) from None


def summary(done: "Recorded") -> list[str]:
    """Summary of the finished recording, one line each."""
    totals = done.totals
    lines = [
        f"{counted(totals.turns, 'turn')} in {counted(totals.sessions, 'session')}, "
        f"{totals.prompt_tokens:,} prompt and {totals.completion_tokens:,} completion tokens"
    ]
    if totals.failed:
        lines.append(f"{counted(totals.failed, 'turn')} failed or cancelled; the trace says why")
    if totals.uncounted:
        lines.append(f"{counted(totals.uncounted, 'turn')} without token counts: the upstream does not report them")
    if totals.unreadable:
        lines.append(f"{totals.unreadable} requests are not in the trace: they, or their answers, could not be read")
    if totals.redacted:
        lines.append("redacted: " + ", ".join(f"{count} {name}" for name, count in totals.redacted.most_common()))
    if done.passed:
        passed = listed(f"{count} POST {path}" for path, count in done.passed.most_common())
        lines.append(f"passed on without being recorded: {passed}")
    return lines

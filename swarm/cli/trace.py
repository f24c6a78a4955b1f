"""`swarm trace`: what is in a recorded trace, and traces made of traces."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swarm.cli.ending import PIPED_WIDTH
from swarm.cli.grouped import Grouped
from swarm.cli.safe_stdio import console
from swarm.errors import UsageError
from swarm.text import counted

if TYPE_CHECKING:
    from swarm.scenario.schema import TraceFormat
    from swarm.trace.format import Trace


class _FileOrCommand(Grouped):
    """`swarm trace FILE` is `swarm trace show FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["show", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_FileOrCommand,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Show a trace (`swarm trace FILE`); import agents' own logs; cut, merge and anonymise traces.",
    epilog="Example: swarm trace cut mine.jsonl --turns 1-20 --out short.jsonl",
)

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="A trace, a run, or a log or trace that `swarm trace import` reads.")
]
OutFile = Annotated[Path, typer.Option(help="The new trace; an existing file is never overwritten.")]
FormatName = Annotated[str | None, typer.Option("--format", metavar="NAME", help="Default: by its contents.")]


@app.command()
def show(
    file: File,
    form: FormatName = None,
    as_json: Annotated[bool, typer.Option("--json", help="All numbers, for programs.")] = False,
    svg: Annotated[Path | None, typer.Option(help="Write a picture.")] = None,
) -> None:
    """Sessions, turns, lengths, pauses, and the best cache hit rate. `swarm trace FILE` does the same."""
    import json

    from swarm.recording.rundir import write_whole
    from swarm.report.trace import print_trace, to_svg
    from swarm.trace.statistics import describe

    found = describe(_load(file, form))
    if svg:
        write_whole(svg, to_svg(str(file), found))
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        print_trace(str(file), found, console(sys.stdout, width=None if sys.stdout.isatty() else PIPED_WIDTH))


@app.command("import")
def import_(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Files, or folders such as ~/.claude/projects.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The new trace, never over an existing file. Default: traces/import-<time>.jsonl."),
    ] = None,
    form: FormatName = None,
    contents: Annotated[
        bool, typer.Option("--contents", help="Keep texts, with secrets and paths redacted; read them before sharing.")
    ] = False,
) -> None:
    """Turn logs that coding agents keep, or traces that others publish, into a trace of lengths, times and structure.

    Reads Claude Code, Codex, opencode, OpenHands, SWE-agent and mini-swe-agent, Weka/AgentX, AIPerf, MLPerf's agentic
    trajectories, OpenTelemetry GenAI spans, ShareGPT, OpenAI messages and Mooncake. Files may be JSON lines or pretty
    JSON, plain or gzip; a damaged line is left out and counted.
    """
    from datetime import UTC, datetime

    from swarm.trace.read import read_any
    from swarm.trace.redact import Redactor, default_rules

    target = out or Path("traces", f"import-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.jsonl")
    if target.exists():
        raise UsageError(f"{target}: exists already; choose another --out")
    redactor = Redactor(default_rules()) if contents else None
    trace = read_any(paths, _format(form), lambda _: redactor)
    target.parent.mkdir(parents=True, exist_ok=True)
    _write(target, trace)
    for note in trace.header.notes:
        print(f"  note: {note}")


@app.command()
def cut(
    file: File,
    out: OutFile,
    session: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only these sessions; `*` and `?` as in file names; repeatable."),
    ] = None,
    turns: Annotated[str | None, typer.Option(metavar="1-20", help="These turns of each session.")] = None,
    since: Annotated[str | None, typer.Option("--from", metavar="10m", help="Sent from then on.")] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="1h", help="Sent before then.")] = None,
    form: FormatName = None,
) -> None:
    """Keep a part: some sessions, some turns, or a stretch of time since the trace's start."""
    from swarm.scenario.units import parse_duration
    from swarm.trace.edit import cut as cut_trace

    try:
        span = (
            None
            if since is None and until is None
            else (parse_duration(since or "0s"), parse_duration(until) if until else float("inf"))
        )
    except ValueError as error:
        raise UsageError(f"--from, --to: {error}") from None
    _write(out, cut_trace(_load(file, form), session or (), _range(turns) if turns else None, span))


@app.command()
def merge(
    files: Annotated[list[Path], typer.Argument(metavar="FILE FILE...", help="Traces of any format.")],
    out: OutFile,
) -> None:
    """Put the sessions of several traces into one."""
    from swarm.trace.edit import merge as merge_traces

    _write(out, merge_traces([_load(file, None) for file in files]))


@app.command()
def anonymise(file: File, out: OutFile, form: FormatName = None) -> None:
    """Leave out contents, names and dates; keep lengths, times and which prompts begin alike."""
    from swarm.trace.edit import anonymise as without_names

    _write(out, without_names(_load(file, form)))


def _load(file: Path, form: str | None) -> "Trace":
    from swarm.trace.read import load_trace

    return load_trace(file, _format(form))


def _format(name: str | None) -> "TraceFormat | None":
    from typing import get_args

    from swarm.scenario.schema import TraceFormat

    if name is not None and name not in get_args(TraceFormat):
        raise UsageError(f"--format {name}: expected one of {', '.join(get_args(TraceFormat))}")
    return name  # type: ignore[return-value]


def _range(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()) or not 1 <= int(first) <= int(last or first):
        raise UsageError(f"--turns {text}: expected a range such as 1-20, or one turn")
    return int(first), int(last or first)


def _write(path: Path, trace: "Trace") -> None:
    from swarm.trace.format import write_trace

    if path.exists():
        raise UsageError(f"{path}: exists already; choose another --out")
    write_trace(path, trace)
    print(f"{path} written: {counted(len(trace.sessions()), 'session')}, {counted(len(trace.turns), 'turn')}")

"""`swarm trace`: what is in a recorded trace, and traces made of traces."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from swarm.cli.common import PIPED_WIDTH
from swarm.cli.safe_stdio import console
from swarm.errors import UsageError

if TYPE_CHECKING:
    from swarm.trace.format import Trace


class _FileOrCommand(TyperGroup):
    """`swarm trace FILE` is `swarm trace show FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["show", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_FileOrCommand,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Show a trace (`swarm trace FILE`); cut, merge and anonymise traces.",
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="A trace, a run, conversations, or arrivals.")]
OutFile = Annotated[Path, typer.Option(help="The new trace; an existing file is never overwritten.")]
FormatName = Annotated[
    str | None, typer.Option("--format", metavar="swarm|events|messages|mooncake", help="Default: by its content.")
]


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
    from typing import get_args

    from swarm.trace.read import Format, load_trace

    if form is not None and form not in get_args(Format):
        raise UsageError(f"--format {form}: expected one of {', '.join(get_args(Format))}")
    return load_trace(file, form)  # type: ignore[arg-type]


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
    print(f"{path} written: {len(trace.sessions())} sessions, {len(trace.turns)} turns")

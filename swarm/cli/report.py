"""`swarm report`: recorded runs, read again."""

from pathlib import Path
from typing import Annotated

import typer

from swarm.cli.common import Columns, NoMerging
from swarm.cli.ending import Ending, analysed, exit_code, show
from swarm.cli.safe_stdio import printing
from swarm.errors import ExitCode, UsageError


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Run directories, a folder of them (its newest), or `latest`."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json; of several runs, a list.")] = False,
    columns: Columns = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write all of them as one self-contained page.")] = None,
    svg: Annotated[Path | None, typer.Option(help="Write the ending, as terminals show it, as a picture.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write validity and thresholds as JUnit XML.")] = None,
    openmetrics: Annotated[Path | None, typer.Option(help="Write time-stamped series for Prometheus.")] = None,
    out: NoMerging = None,
) -> None:
    """Show recorded runs, recomputed from their files.

    Exits as the runs did, 3 before 4; with 0 for a run that was killed or interrupted.

    Example: swarm report runs/four-agents-20260131T101500Z --markdown
    """
    import json

    from swarm.recording.rundir import find, name_of, write_whole
    from swarm.report.markdown import to_markdown

    how = Ending.of(False, False, columns)
    runs = list(map(find, runs))
    if as_json and markdown:
        raise UsageError("--json and --markdown: choose one")
    if svg and len(runs) > 1:
        raise UsageError("--svg draws one run; give one RUN")
    if openmetrics and len(runs) > 1:
        raise UsageError("--openmetrics writes one run; give one RUN")
    found = []
    for directory in runs:
        if len(runs) > 1 and not as_json:
            with printing():
                print(f"**{directory}**\n" if markdown else f"\n{directory}")
        results = analysed(directory) if as_json or markdown else show(directory, how)
        found.append(results)
        if markdown:
            with printing():
                print(to_markdown(results))
        if svg:
            from swarm.report.picture import to_svg

            write_whole(svg, to_svg(results))
        if openmetrics:
            from swarm.exporter.replay import openmetrics as series

            write_whole(openmetrics, "".join(series(directory)))
    if as_json:
        from swarm.results import plain

        with printing():
            print(json.dumps(plain(found if len(runs) > 1 else found[0]), indent=2))
    if junit:
        from swarm.analysis.compare.gates import judge
        from swarm.report.checks import to_junit

        write_whole(
            junit, to_junit(*((name_of(run), judge(results)) for run, results in zip(runs, found, strict=True)))
        )
    if html:
        from swarm.analysis.report_data import read_view
        from swarm.report.html import to_html

        write_whole(html, to_html([read_view(run, results) for run, results in zip(runs, found, strict=True)]))
    codes = {exit_code(results) for results in found if not results.broken_off} - {ExitCode.OK}
    raise typer.Exit(min(codes, default=ExitCode.OK))

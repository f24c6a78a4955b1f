"""Results as Markdown, for pull requests and pages."""

from swarm.analysis.summary import sentences
from swarm.report.soak import soak_lines
from swarm.report.table import SERVED, columns, every, judged, notes, reasons, rows, trust
from swarm.results import Results


def to_markdown(results: Results) -> str:
    """The verdict and its reasons, the table with all columns, and the rest, as on a terminal."""
    header = [column.title for column in columns(every(), predicted=results.predicted)]
    ruler = ["---", *["--:"] * (len(header) - 1)]
    cells = rows(results, every(), predicted=results.predicted)
    lines = [results.workload, ""] if results.workload else []
    lines += ["| " + " | ".join(row) + " |" for row in (header, ruler, *cells)]
    lines += ["", " ".join([SERVED, *trust(results)]), "", *sentences(results)]
    lines += [f"- invalid: {reason}" for reason in reasons(results)]
    lines += [f"- {line}" for line in soak_lines(results)]
    lines += [
        f"- {'passed' if threshold.passed else 'FAILED'}: {judged(threshold)}" for threshold in results.thresholds
    ]
    lines += [f"- note: {note}" for note in notes(results)]
    return "\n".join(lines)

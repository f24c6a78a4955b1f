"""Results as Markdown, for pull requests and pages."""

from swarm.analysis.summary import sentences
from swarm.report.soak import soak_lines
from swarm.report.table import SERVED, columns, notes, reasons, rows
from swarm.results import Results


def to_markdown(results: Results) -> str:
    """The table, what it means, and what makes the run invalid."""
    header = [column.title for column in columns()]
    ruler = ["---", *["--:"] * (len(header) - 1)]
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, ruler, *rows(results))]
    lines += ["", SERVED, "", *sentences(results)]
    lines += [f"- invalid: {reason}" for reason in reasons(results)]
    lines += [f"- {line}" for line in soak_lines(results)]
    lines += [
        f"- {'passed' if threshold.passed else 'FAILED'}: `{threshold.expression}` "
        f"({'no value' if threshold.value is None else threshold.value})"
        for threshold in results.thresholds
    ]
    lines += [f"- note: {note}" for note in notes(results)]
    return "\n".join(lines)

"""Results as Markdown, for pull requests and pages."""

from swarm.analysis.sentence import sentences
from swarm.report.table import HEADER, Results, rows


def to_markdown(results: Results) -> str:
    """The verdict, the table, the sentence that says what it means, and what makes the run invalid."""
    lines = [f"**{results['name']}: {results['verdict']}**", ""]
    lines += [
        "| " + " | ".join(cells) + " |" for cells in (HEADER, ["---", *["--:"] * (len(HEADER) - 1)], *rows(results))
    ]
    lines += ["", *sentences(results)]
    lines += [f"- invalid: {reason}" for reason in results["invalid_reasons"]]
    lines += [
        f"- {'passed' if threshold['passed'] else 'FAILED'}: `{threshold['expression']}` "
        f"({'no value' if threshold['value'] is None else threshold['value']})"
        for threshold in results["thresholds"]
    ]
    return "\n".join(lines)

"""The checks of a run for people, for pull requests (Markdown) and for CI servers (JUnit)."""

import re
from collections import Counter
from collections.abc import Sequence
from xml.etree import ElementTree

from swarm.analysis.compare.gates import Check
from swarm.text import counted

_MARKS = {"passed": "ok", "failed": "FAILED", "invalid": "INVALID", "skipped": "skipped"}


def to_text(checks: Sequence[Check]) -> str:
    """A line each, but one for all that a gate skipped for the same reason; what went wrong comes last, where it is
    seen."""
    ordered = sorted(checks, key=lambda check: ["passed", "skipped", "failed", "invalid"].index(check.status))
    alike = Counter((check.gate, check.text) for check in checks if check.status == "skipped")
    lines = []
    for check in ordered:
        # The first of the skipped ones stands for all: its count is taken, and nothing is left for the others.
        more = alike.pop((check.gate, check.text), 0) - 1 if check.status == "skipped" else 0
        if more >= 0:
            others = f", and {more} more" if more else ""
            lines.append(f"{_MARKS[check.status]:8} {check.gate:9} {check.name}{others}: {check.text}")
    return "\n".join(lines)


_KINDS = {"threshold": "threshold", "baseline": "number of the baseline", "nights": "number of earlier runs"}


def compared_with(run: str, baseline: str | None, checks: Sequence[Check]) -> str:
    """A sentence on what the run was checked against, and where nothing was, that it was not."""
    done = Counter(check.gate for check in checks if check.status in ("passed", "failed"))
    asked = Counter(check.gate for check in checks)
    parts = [
        f"{counted(done[gate], noun) if done[gate] == asked[gate] else f'{done[gate]} of {counted(asked[gate], noun)}'}"
        for gate, noun in _KINDS.items()
        if done[gate]
    ]
    against = f" ({baseline})" if baseline else ""
    if parts:
        return f"Checked {run} against {', '.join(parts)}{against}."
    lacking = "no thresholds, no --baseline, too few earlier runs" if not baseline else "nothing could be compared"
    return f"Checked {run} for validity only{against}: {lacking}."


def to_markdown(summary: str, checks: Sequence[Check]) -> str:
    lines = [f"**{_escaped(summary)}**", "", "| gate | check | result | |", "|---|---|---|---|"]
    lines += [
        f"| {check.gate} | {_escaped(check.name)} | {_MARKS[check.status]} | {_escaped(check.text)} |"
        for check in checks
    ]
    return "\n".join(lines)


def to_junit(*runs: tuple[str, Sequence[Check]]) -> str:
    """A suite for each run, by name, with a test case a check: failed gates are failures, invalid stages are errors.

    The format is Jenkins' JUnit XML.
    """
    root = ElementTree.Element("testsuites")
    root.extend(_suite(name, checks) for name, checks in runs)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(name: str, checks: Sequence[Check]) -> ElementTree.Element:
    counts = {status: sum(check.status == status for check in checks) for status in _MARKS}
    suite = ElementTree.Element(
        "testsuite",
        name=_printable(name),
        tests=str(len(checks)),
        failures=str(counts["failed"]),
        errors=str(counts["invalid"]),
        skipped=str(counts["skipped"]),
    )
    for check in checks:
        case = ElementTree.SubElement(suite, "testcase", classname=f"swarm.{check.gate}", name=_printable(check.name))
        kind = {"failed": "failure", "invalid": "error", "skipped": "skipped"}.get(check.status)
        if kind:
            ElementTree.SubElement(case, kind, message=_printable(check.text))
        else:
            ElementTree.SubElement(case, "system-out").text = _printable(check.text)
    return suite


def _escaped(text: str) -> str:
    return _printable(text).replace("|", "\\|").replace("\n", " ").replace("*", "\\*")


def _printable(text: str) -> str:
    """Without the control characters that XML 1.0 cannot hold, whatever a server's message had in it."""
    return re.sub(r"[^\x09\x0a\x0d\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)

"""The ending of a run in a terminal and as Markdown: what stands in which column, in which unit, and what is marked."""

import re
from io import StringIO

import pytest
from rich.console import Console
from synthetic import Run

from swarm.report.markdown import to_markdown
from swarm.report.table import columns, number, percent, rows
from swarm.report.terminal import print_results


@pytest.fixture
def results(viewed):
    """Two levels of one model: with 2 agents every reply takes twice as long, and the window is too short."""
    run = Run(levels=[1, 2])
    run.healthy(agents=1, window_s=12.0)
    run.healthy(agents=2, window_s=4.0, slower=1.5)
    return viewed(run).results


def printed(results, width=200):
    console = Console(width=width, file=StringIO())
    print_results(results, console)
    return console.file.getvalue()


def cell(results, title, agents):
    (column,) = (place for place, one in enumerate(columns()) if one.title == title)
    return next(row[column] for row in rows(results) if row[1].startswith(str(agents)))


@pytest.mark.parametrize(
    ("value", "digits", "scale", "shown"),
    [(1234.5, 1, 1, "1,234.5"), (0.00625, 1, 1000, "6.2"), (0, 0, 1, "0"), (None, 2, 1, "-"), ("inf", 2, 1, "inf")],
)
def test_numbers_have_thousands_and_a_dash_for_what_was_not_measured(value, digits, scale, shown):
    assert number(value, digits, scale) == shown


def test_shares_are_percent_and_a_dash_where_unknown():
    assert (percent(0.314), percent(0), percent(None)) == ("31%", "0%", "-")


def test_seconds_and_milliseconds_stand_where_their_heads_say(results):
    assert cell(results, "TTFT p50 s", 1) == "0.20"
    assert cell(results, "ITL p50 ms", 1) == "100.0"
    assert cell(results, "job p50 s", 1) == "1.9"
    assert cell(results, "tok/s in all", 1) == "10"
    assert cell(results, "cached prompt", 1) == "80%"


def test_what_was_not_measured_is_a_dash(results):
    assert cell(results, "job p50 s", 2) == "-"  # too few jobs in so short a window
    assert cell(results, "jobs per h", 2) == "-"


def test_an_invalid_stage_is_marked_and_its_reason_printed(results):
    assert [row[1] for row in rows(results)] == ["1", "2!"]
    text = printed(results)
    (reason,) = results.invalid_reasons
    assert " INVALID " in text
    assert f"  - {reason}" in text


def test_columns_are_aligned_to_the_right_under_their_heads(results):
    lines = printed(results).splitlines()
    units, first, second = lines[1], lines[2], lines[3]
    for unit in ("while served", "p95 s", "p50 ms"):
        end = units.index(unit) + len(unit)
        for line in (first, second):
            assert re.match(r"[0-9-]", line[end - 1]), (unit, line)
            assert line[end : end + 1] in ("", " "), (unit, line)


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_a_narrow_terminal_drops_columns_and_keeps_what_tells_most(results, width):
    table = printed(results, width).splitlines()[:4]
    assert max(map(len, table)) <= width
    assert table[0].split()[:2] == ["model", "agents"]
    assert "while served" in table[1]


def test_columns_without_room_are_named_and_where_to_find_them(results):
    text = " ".join(printed(results, 80).split())
    assert (
        "No room for: TTFT p50 s, ITL p50 ms, jobs per h, fairness (Jain), cached prompt, times ± ms "
        "(a wider window, --markdown or --json has them)." in text
    )
    assert "No room for" not in printed(results, 200)


def test_the_rate_of_an_agent_is_said_to_be_of_the_time_that_it_is_served(results):
    served = "per second of its requests; tools and thinking are left out"
    assert served in printed(results)
    assert served in to_markdown(results)


def test_a_stage_that_never_ran_has_no_number_of_errors(viewed):
    run = Run(levels=[1, 2])
    run.healthy(agents=1)
    results = viewed(run).results
    assert cell(results, "errors", 1) == "0"
    assert cell(results, "errors", 2) == "-"


def test_markdown_has_a_cell_for_every_column_and_the_reasons(results):
    lines = to_markdown(results).splitlines()
    assert {line.count("|") for line in lines[:4]} == {len(columns()) + 1}
    assert lines[0].startswith("| model | agents | in flight | tok/s each while served | of 1 agent |")
    assert lines[1].startswith("| --- | --: |")
    assert lines[3].startswith("| moe | 2! |")
    assert f"- invalid: {results.invalid_reasons[0]}" in lines

"""The ending of a run in a terminal and as Markdown: what stands in which column, in which unit, and what is marked."""

import re
from io import StringIO

import msgspec
import pytest
from rich.console import Console
from synthetic import Run

from swarm.errors import UsageError
from swarm.report.markdown import to_markdown
from swarm.report.table import chosen, columns, every, number, percent, rows
from swarm.report.terminal import print_results


@pytest.fixture
def results(viewed):
    """Two levels of one model: with 2 agents every reply takes twice as long, and the window is too short."""
    run = Run(levels=[1, 2])
    run.healthy(agents=1, window_s=12.0)
    run.healthy(agents=2, window_s=4.0, slower=1.5)
    return viewed(run).results


def printed(results, width=200, wanted=()):
    console = Console(width=width, file=StringIO())
    print_results(results, console, wanted)
    return console.file.getvalue()


def table(results, width=200, wanted=()):
    """The lines of the table, its two heads first."""
    lines = printed(results, width, wanted).splitlines()
    first = next(place for place, line in enumerate(lines) if line.startswith("model"))
    return lines[first : first + 4]


def cell(results, title, agents):
    (column,) = (place for place, one in enumerate(columns(every())) if one.title == title)
    return next(row[column] for row in rows(results, every()) if row[1].startswith(str(agents)))


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
    assert cell(results, "tok/s total", 1) == "10"
    assert cell(results, "cached prompt", 1) == "80%"


def test_what_was_not_measured_is_a_dash(results):
    assert cell(results, "job p50 s", 2) == "-"  # too few jobs in so short a window
    assert cell(results, "jobs per h", 2) == "-"


def test_an_invalid_stage_is_marked_and_its_reason_printed(results):
    assert [row[1] for row in rows(results, every())] == ["1", "2!"]
    text = printed(results)
    (reason,) = results.invalid_reasons
    assert " INVALID " in text
    assert f"  - {reason}" in text


def test_verdict_and_answer_come_before_the_table_and_details_after_it(results):
    text = printed(results)
    order = [
        " INVALID  1 of 2 stages is invalid",
        "At 1 agent moe",
        f"  - {results.invalid_reasons[0]}",
        "model  agents",
        "A job takes",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_columns_are_aligned_to_the_right_under_their_heads(results):
    _, units, first, second = table(results)
    for unit in ("per agent", "p95 s", "p99 ms"):
        end = units.index(unit) + len(unit)
        for line in (first, second):
            assert re.match(r"[0-9-]", line[end - 1]), (unit, line)
            assert line[end : end + 1] in ("", " "), (unit, line)


def test_columns_stand_in_the_order_in_which_people_ask(results):
    heads, units, *_ = table(results)
    assert heads.split() == ["model", "agents", "in", "tok/s", "vs", "1", "TTFT", "TTFT", "ITL", "job", "errors"]
    assert units.split() == ["flight", "per", "agent", "agent", "p50", "s", "p95", "s", "p99", "ms", "p50", "s"]


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_a_narrow_terminal_drops_columns_and_keeps_what_tells_most(results, width):
    heads, units, *cells = table(results, width)
    assert max(map(len, (heads, units, *cells))) <= width
    assert heads.split()[:2] == ["model", "agents"]
    assert "per agent" in units
    assert len(cells[0].split()) <= (9 if width <= 80 else 10)


def test_hidden_columns_are_named_and_how_to_see_them(results):
    text = " ".join(printed(results, 80).split())
    assert "Hidden at this width: TTFT p50 s. Widen the terminal or use --markdown." in text
    assert "Hidden" not in printed(results, 200)


def test_columns_are_those_that_were_asked_for_in_their_order(results):
    heads, units, first, _ = table(results, wanted=chosen("jobs_per_h, ttft_s.max"))
    assert (heads.split(), units.split()) == (["model", "agents", "jobs", "TTFT"], ["per", "h", "max", "s"])
    assert first.split()[-1] == "0.20"
    assert len(columns(chosen("all"))) == len(columns(every()))


@pytest.mark.parametrize(
    ("names", "hint"), [("ttft_s.p96", "did you mean ttft_s.p9"), ("xyz", "expected all, or some of in_flight_mean")]
)
def test_a_column_that_there_is_not_is_refused_with_what_there_is(names, hint):
    with pytest.raises(UsageError, match=hint):
        chosen(names)


def test_the_rate_of_an_agent_is_explained_under_the_table(results):
    explained = "the median agent's output rate while it has a request in flight"
    assert explained in printed(results)
    assert explained in to_markdown(results)


def test_a_stage_that_never_ran_has_no_number_of_errors(viewed):
    run = Run(levels=[1, 2])
    run.healthy(agents=1)
    results = viewed(run).results
    assert cell(results, "errors", 1) == "0"
    assert cell(results, "errors", 2) == "-"


def test_markdown_has_a_cell_for_every_column_and_the_reasons(results):
    lines = to_markdown(results).splitlines()
    assert {line.count("|") for line in lines[:4]} == {len(columns(every())) + 1}
    assert lines[0].startswith("| model | agents | in flight | tok/s per agent | vs 1 agent |")
    assert lines[1].startswith("| --- | --: |")
    assert lines[3].startswith("| moe | 2! |")
    assert f"- invalid: {results.invalid_reasons[0]}" in lines


def test_the_work_of_the_agents_stands_on_a_terminal_and_in_markdown(results):
    said = "sessions: 2k shared + 200-1k, 18 turns, replies 110 (median), tools 0.095 s, contexts to 8k"
    told = msgspec.structs.replace(results, workload=said)
    assert said in printed(told)
    assert to_markdown(told).startswith(said)
    assert "sessions" not in printed(results)

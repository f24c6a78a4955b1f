"""A comparison of runs as text and as Markdown."""

import pytest
from as_json import objects

from swarm.report.compared import to_markdown, to_text

ROW = {
    "agents": 4,
    "metric": "ttft_s.p95",
    "baseline": "moe (a)",
    "candidate": "moe (b)",
    "baseline_run": "a",
    "candidate_run": "b",
    "baseline_value": 0.25,
    "candidate_value": 0.2,
    "ratio": 0.8,
    "ci95": [0.75, 0.85],
    "significant": True,
    "trials": 3,
    "valid": True,
    "predicted": False,
}
UNKNOWN = {"ratio": None, "ci95": None, "significant": None, "baseline_value": None}


def compared(*rows, differences=(), workloads=(None, None)):
    run = {"directory": "runs/a", "started_at": None, "verdict": "valid", "predicted": False, "label": None}
    return objects(
        {
            "runs": [{"name": name, "workload": one, **run} for name, one in zip("ab", workloads, strict=True)],
            "differences": list(differences),
            "comparison": [ROW | row for row in rows],
            "unpaired": [],
        }
    )


def test_differences_of_the_configuration_come_before_any_number():
    text = to_text(compared({}, differences=[{"group": "model", "key": "targets.moe.model", "values": ["x", None]}]))
    assert text.index("model  targets.moe.model  x  -") < text.index("ttft_s.p95")


def test_runs_that_are_configured_alike_are_said_to_be():
    for text in (to_text(compared({})), to_markdown(compared({}))):
        assert "the runs are configured alike. It cannot see the server's flags: label your runs" in text


def test_the_work_that_runs_had_stands_above_what_differs_where_it_was_the_same():
    same = compared({}, workloads=("sessions: 2k shared", "sessions: 2k shared"))
    for text in (to_text(same), to_markdown(same)):
        assert text.index("sessions: 2k shared") < text.index("the runs are configured alike.")
        assert text.count("sessions: 2k shared") == 1
    assert "sessions" not in to_text(compared({}, workloads=("sessions: 2k shared", "sessions: 3k shared")))


def test_less_is_better_of_times_and_more_of_rates():
    text = to_text(compared({}, {"metric": "output_tokens_per_s"}, {"metric": "agent_output_tokens_per_s.p50"}))
    assert [line.split()[-1] for line in text.splitlines() if ".." in line] == ["better", "worse", "worse"]


def test_no_significant_difference_is_an_answer():
    text = to_text(compared({"ratio": 1.01, "ci95": [0.9, 1.1], "significant": False}))
    assert "1.010  0.900 .. 1.100  no significant difference" in text
    assert text.endswith("No significant difference.")


def test_columns_are_aligned_to_the_right_and_what_is_not_known_is_a_dash():
    text = to_text(compared({"candidate_value": 1234.5}, UNKNOWN))
    head, full, empty = [line for line in text.splitlines() if line.lstrip().startswith(("agents", "4"))]
    for column in ("baseline", "candidate", "ratio"):
        end = head.index(column) + len(column)
        assert full[end - 1].isdigit()
        assert full[end : end + 1] in (" ", "")
        assert empty[end - 1] in "-0"
    assert "1,234" in full


def test_a_stage_that_is_invalid_is_told():
    text = to_text(compared(UNKNOWN | {"valid": False}))
    assert "invalid stage" in text
    assert "Invalid at level 4: not compared there." in text


def test_many_comparisons_are_warned_of_chance():
    text = to_text(compared(*[{}] * 40))
    assert "40 of 40 comparisons differ significantly" in text
    assert "By chance alone, about 2 of 40 would." in text


def test_markdown_is_one_table_of_settings_and_one_of_numbers():
    lines = to_markdown(
        compared({}, differences=[{"group": "server", "key": "targets.moe.version", "values": ["0.17", "0.18"]}])
    ).splitlines()
    assert "| targets.moe.version | 0.17 | 0.18 |" in lines
    assert "| 4 | `ttft_s.p95` | 0.2500 | 0.2000 | 0.800 | 0.750 .. 0.850 | better |" in lines


def test_what_a_server_says_of_itself_breaks_no_table_and_controls_no_terminal():
    evil = {"group": "model", "key": "targets.moe.model", "values": ["a|b\x1b[2J", "c\nd"]}
    assert "\x1b" not in to_text(compared({}, differences=[evil]))
    assert "| targets.moe.model | a\\|b?[2J | c?d |" in to_markdown(compared({}, differences=[evil])).splitlines()


JOBS = {"metric": "job_s.p50", "ratio": 0.8, "ci95": [0.75, 0.85], "significant": True, "valid": True}


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (JOBS, "after finishes jobs 1.25 ± 0.078 times as fast as before (4 agents)."),
        (JOBS | {"ratio": 1.25, "ci95": [1.2, 1.3]}, "before finishes jobs 1.25 ± 0.05 times as fast as after"),
        (
            JOBS | {"ratio": 1.01, "ci95": [0.9, 1.1], "significant": False},
            "No significant difference: before finishes",
        ),
        (
            JOBS | {"ci95": None, "significant": None},
            "times as fast as before (4 agents); not known to be significant.",
        ),
        (JOBS | {"metric": "output_tokens_per_s", "ratio": 2.0, "ci95": None}, "after writes in total 2 times as fast"),
    ],
)
def test_a_comparison_begins_with_a_sentence_that_says_which_is_how_many_times_as_fast(row, sentence):
    found = compared(row | {"agents": 4, "baseline_run": "a", "candidate_run": "b", "predicted": False})
    for run, label in zip(found.runs, ("before", "after"), strict=True):
        run.label = label
    assert sentence in to_text(found).splitlines()[0]
    assert sentence in to_markdown(found).splitlines()[0]


def test_an_invalid_stage_has_no_such_sentence():
    assert "times as fast" not in to_text(compared(JOBS | {"valid": False}))

"""The checks of a run as lines."""

from swarm.analysis.compare.gates import Check
from swarm.report.checks import to_text


def test_what_a_gate_skipped_for_one_reason_is_one_line_and_what_went_wrong_comes_last():
    checks = [
        Check("threshold", "ttft", "failed", "it is 3"),
        Check("nights", "tok/s", "skipped", "too few nights"),
        Check("drift", "memory", "skipped", "not measured"),
        Check("nights", "TTFT", "skipped", "too few nights"),
        Check("nights", "ITL", "skipped", "too few nights"),
        Check("validity", "moe", "passed", "valid"),
        Check("validity", "dense", "passed", "valid"),
    ]
    assert to_text(checks).splitlines() == [
        "ok       validity  moe: valid",
        "ok       validity  dense: valid",
        "skipped  nights    tok/s, and 2 more: too few nights",
        "skipped  drift     memory: not measured",
        "FAILED   threshold ttft: it is 3",
    ]

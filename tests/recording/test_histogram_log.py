"""The interval log: the standard format, tagged, exact under merging, and honest about what it cannot hold."""

from pathlib import Path

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import STARTED, Run, Stage, StoppedClock, ns

from swarm.recording.histograms import (
    COUNTED_PER_STEP,
    HIGHEST_NS,
    RECORDED_PER_STEP,
    Histograms,
    bucket,
    highest_of,
    middle_of,
    new_histogram,
)

LARGEST_NS = 4_398_046_511_103
"""The last value of the last bucket that the library makes for a range up to 1 h."""


def log(path: Path, stage: Stage, clock: StoppedClock | None = None) -> Histograms:
    histograms = Histograms(path, clock or StoppedClock())
    for record in stage.run.published:
        histograms.add(record)
    return histograms


def read(path: Path) -> dict[str, HdrHistogram]:
    """All intervals of each tag merged, by the library's own reader."""
    reader = HistogramLogReader(str(path), new_histogram())
    merged: dict[str, HdrHistogram] = {}
    while interval := reader.get_next_interval_histogram():
        merged.setdefault(interval.get_tag(), new_histogram()).add(interval)
    reader.close()
    return merged


def test_the_librarys_reader_finds_every_metric_under_its_tag(tmp_path: Path) -> None:
    stage = Run().stage("moe", agents=4, trial=2)
    stage.work(0)
    log(tmp_path / "h", stage).close()
    counts = {tag: histogram.get_total_count() for tag, histogram in read(tmp_path / "h").items()}
    assert counts == {
        "moe:4:2:start_delay": 10,
        "moe:4:2:ttft": 10,
        "moe:4:2:itl": 40,
        "moe:4:2:tpot": 10,
        "moe:4:2:e2e": 10,
        "moe:4:2:effective_e2e": 10,
        "moe:4:2:tool": 10,
        "moe:4:2:job": 5,
        "moe:4:2:ttfat": 5,
    }


def test_the_file_is_an_hdrhistogram_log_of_version_1_3_with_the_start_of_the_run(tmp_path: Path) -> None:
    stage, clock = Run().stage(), StoppedClock()
    stage.attempt(1.0, waits=[0.25], end=2.0)
    histograms = log(tmp_path / "h", stage, clock)
    clock.t_ns = ns(1.5)
    histograms.close()
    lines = (tmp_path / "h").read_text().splitlines()
    assert lines[0] == "#[Histogram log format version 1.3]"
    assert lines[1].startswith(f"#[StartTime: {STARTED:.3f} (seconds since epoch), 2025-10-09T08:53:20")
    assert lines[2] == f"#[BaseTime: {STARTED:.3f} (seconds since epoch)]"
    assert lines[3] == '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"'
    ttft = next(line for line in lines if line.startswith("Tag=moe:1:1:ttft,"))
    assert ttft.startswith("Tag=moe:1:1:ttft,0.000,1.500,250.085,HISTFAAAA")  # 250 ms, to 0.1%


def test_a_second_flush_begins_where_the_first_one_ended_and_holds_only_what_is_new(tmp_path: Path) -> None:
    stage, clock = Run().stage(), StoppedClock()
    first = stage.attempt(1.0)
    histograms = log(tmp_path / "h", stage, clock)
    for second in (1, 2):
        clock.t_ns = ns(second)
        for _ in histograms.flush():
            pass
        if second == 1:
            histograms.add(first)
    starts = [line.split(",")[1:3] for line in (tmp_path / "h").read_text().splitlines() if ":itl," in line]
    assert starts == [["0.000", "1.000"], ["1.000", "1.000"]]
    assert read(tmp_path / "h")["moe:1:1:itl"].get_total_count() == 8
    histograms.close()


def test_only_what_ends_in_the_window_is_counted(tmp_path: Path) -> None:
    stage = Run().stage(window_s=10)
    stage.attempt(-0.35)  # first token at -0.15, gaps end at -0.05, 0.05, 0.15, 0.25
    stage.attempt(9.65)  # first token at 9.85, gaps end at 9.95, 10.05, ...
    stage.tool(9.0, 10.0)  # the window's end is not in it
    stage.tool(-1.0, 0.0)  # its start is
    log(tmp_path / "h", stage).close()
    counts = {tag.split(":")[3]: histogram.get_total_count() for tag, histogram in read(tmp_path / "h").items()}
    assert counts == {"itl": 4, "tpot": 1, "e2e": 1, "effective_e2e": 1, "ttft": 1, "start_delay": 1, "tool": 1}


def test_stages_do_not_mix(tmp_path: Path) -> None:
    run = Run()
    run.stage("moe", agents=1).attempt(1.0, waits=[0.1])
    run.stage("dense", agents=1).attempt(1.0, waits=[0.4])
    log(tmp_path / "h", run.stage("moe", agents=2)).close()
    found = read(tmp_path / "h")
    assert highest_of(bucket(ns(0.1))) == found["moe:1:1:ttft"].get_max_value()
    assert highest_of(bucket(ns(0.4))) == found["dense:1:1:ttft"].get_max_value()
    assert not any(tag.startswith("moe:2") for tag in found)


def test_what_the_range_cannot_hold_is_written_down_and_not_lost_unseen(tmp_path: Path) -> None:
    stage = Run().stage(window_s=10_000)
    stage.tool(0, 1)
    stage.tool(0, 5000)
    stage.tool(0, 9000)
    stage.tool(2, 1)  # a clock that ran backwards
    log(tmp_path / "h", stage).close()
    text = (tmp_path / "h").read_text()
    assert "#[OutOfRange: moe:1:1:tool 3]" in text
    assert read(tmp_path / "h")["moe:1:1:tool"].get_total_count() == 1


def test_a_flush_is_cut_into_steps_that_each_do_little(tmp_path: Path) -> None:
    """4000 different gaps: the event loop turns at least once for every 200 values counted and 50 recorded."""
    stage = Run().stage(window_s=10_000)
    stage.attempt(0, waits=[0.001 * 1.001**number for number in range(4000)], tokens=4000)
    histograms = log(tmp_path / "h", stage)
    distinct = len({bucket(ns(0.001 * 1.001**number)) for number in range(1, 4000)})
    steps = sum(1 for _ in histograms.flush())
    assert steps >= 4000 // COUNTED_PER_STEP + distinct // RECORDED_PER_STEP
    histograms.close()


def test_closing_writes_what_was_never_flushed(tmp_path: Path) -> None:
    stage = Run().stage()
    stage.attempt(1.0)
    log(tmp_path / "h", stage).close()
    assert read(tmp_path / "h")["moe:1:1:ttft"].get_total_count() == 1


durations = st.one_of(st.integers(0, 5_000), st.integers(0, ns(2)), st.integers(0, LARGEST_NS))


@given(durations)
def test_a_bucket_is_what_the_library_cannot_tell_apart(value: int) -> None:
    library = new_histogram()
    lowest = bucket(value)
    assert lowest == library.get_lowest_equivalent_value(value)
    assert highest_of(lowest) == library.get_highest_equivalent_value(value)
    assert middle_of(lowest) == library._hdr_median_equiv_value(value)
    assert highest_of(lowest) - lowest <= max(512, value / 1000)


def test_the_range_covers_a_microsecond_to_an_hour() -> None:
    library = new_histogram()
    assert library.record_value(0)
    assert library.record_value(HIGHEST_NS)
    assert library.record_value(LARGEST_NS)
    assert not library.record_value(LARGEST_NS + 1)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, ns(3)), max_size=30), min_size=1, max_size=4))
def test_merging_any_partition_of_the_values_gives_the_same_histogram(
    tmp_path_factory: object, parts: list[list[int]]
) -> None:
    directory = tmp_path_factory.mktemp("log")  # type: ignore[attr-defined]
    stage = Run().stage(window_s=100)
    histograms = log(directory / "h", stage)
    direct = new_histogram()
    for part in parts:
        for value in part:
            histograms.add(stage.tool(0, value / 1e9))
            direct.record_value(value)
        for _ in histograms.flush():
            pass
    histograms.close()
    merged = read(directory / "h").get("moe:1:1:tool", new_histogram())
    assert merged.get_total_count() == sum(map(len, parts))
    assert list(merged.counts) == list(direct.counts)

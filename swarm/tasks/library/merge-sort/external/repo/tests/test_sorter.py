import random

import pytest

from bigsort import Options, sort_file
from bigsort.sorter import merge_files


@pytest.fixture
def sort(tmp_path):
    def sort(text, **options):
        source, target = tmp_path / "in.txt", tmp_path / "out.txt"
        source.write_text(text, encoding="utf-8")
        sort_file(source, target, Options(**options))
        return target.read_text(encoding="utf-8")

    return sort


def first(line):
    return line.split()[0]


def test_an_empty_file_stays_empty(sort):
    assert sort("") == ""


def test_a_single_run_ends_in_a_line_break(sort):
    assert sort("b\na") == "a\nb\n"


def test_a_single_run_drops_repeated_keys_too(sort):
    assert sort("a 2\nb 1\na 1\n", key=first, unique=True) == "a 2\nb 1\n"


@pytest.mark.parametrize("runs", [2, 3, 4, 5, 7])
def test_every_number_of_runs_keeps_every_line(sort, runs):
    numbers = [f"{number:03}" for number in random.Random(runs).sample(range(1000), runs * 3)]
    result = sort("\n".join(numbers) + "\n", run_lines=3, fan_in=3)
    assert result.split() == sorted(numbers)


def test_ties_keep_the_order_of_the_input(sort):
    lines = "b z\na z\nb y\na y\nb x\na x\n"
    assert sort(lines, run_lines=1, fan_in=2, key=first) == "a z\na y\na x\nb z\nb y\nb x\n"


def test_the_first_line_of_the_input_represents_its_key(sort):
    assert sort("a 9\nb 5\na 1\nb 1\n", run_lines=2, fan_in=2, key=first, unique=True) == "a 9\nb 5\n"


def test_ties_of_a_merge_go_to_the_file_named_first(tmp_path):
    paths = [tmp_path / name for name in ("one", "two")]
    paths[0].write_text("a z\n")
    paths[1].write_text("a y\n")
    assert list(merge_files(paths, Options(key=first))) == ["a z", "a y"]


def test_a_file_can_be_sorted_onto_itself(tmp_path):
    path = tmp_path / "file"
    path.write_text("c\nb\na\n")
    sort_file(path, path, Options(run_lines=2))
    assert path.read_text() == "a\nb\nc\n"


@pytest.mark.parametrize("options", [{"run_lines": 0}, {"fan_in": 1}])
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match="at least"):
        Options(**options)

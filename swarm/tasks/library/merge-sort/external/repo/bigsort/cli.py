"""The command line."""

import argparse
import sys
from pathlib import Path
from typing import Callable, Sequence

from bigsort.sorter import Options, sort_file


def field_key(number: int | None, separator: str | None = None) -> Callable[[str], str]:
    """A key for the `number`-th field, counted from 1; the whole line for None. A missing field is an empty one."""
    if number is None:
        return lambda line: line
    if number < 1:
        raise ValueError(f"fields are counted from 1, not {number}")

    def key(line: str) -> str:
        fields = line.split(separator)
        return fields[number - 1] if len(fields) >= number else ""

    return key


def main(arguments: Sequence[str] | None = None) -> int:
    """Sorts a file as the arguments say. Returns the exit status: 0, or 2 for arguments that make no sense."""
    parser = argparse.ArgumentParser(prog="bigsort", description="Sort a file that does not fit into memory.")
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--field", type=int, help="sort by this field, counted from 1")
    parser.add_argument("--separator", help="what parts the fields; default: white space")
    parser.add_argument("--run-lines", type=int, default=100_000, help="lines in memory at a time")
    parser.add_argument("--fan-in", type=int, default=16, help="files open at a time")
    parser.add_argument("--unique", action="store_true", help="write one line of each key only")
    given = parser.parse_args(arguments)
    try:
        key = field_key(given.field, given.separator)
        options = Options(given.run_lines, given.fan_in, key, given.unique)
        sort_file(given.input, given.output, options)
    except (ValueError, OSError) as error:
        print(f"bigsort: {error}", file=sys.stderr)
        return 2
    return 0

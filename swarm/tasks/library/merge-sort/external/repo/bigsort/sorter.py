"""External merge sort: sorted runs in temporary files, merged a few at a time."""

import heapq
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator


def _whole_line(line: str) -> Any:
    return line


@dataclass(frozen=True)
class Options:
    """How to sort; see the README."""

    run_lines: int = 100_000
    fan_in: int = 16
    key: Callable[[str], Any] = _whole_line
    unique: bool = False

    def __post_init__(self) -> None:
        if self.run_lines < 1:
            raise ValueError(f"run_lines must be at least 1, not {self.run_lines}")
        if self.fan_in < 2:
            raise ValueError(f"fan_in must be at least 2, not {self.fan_in}")


def sort_file(source: Path, target: Path, options: Options) -> None:
    """Writes the lines of `source` in order to `target`, which may be the same file."""
    with tempfile.TemporaryDirectory(prefix="bigsort-") as directory:
        folder = Path(directory)
        with source.open(encoding="utf-8") as lines:
            runs = list(split_runs(lines, folder, options))
        level = 0
        while len(runs) > 1:
            level += 1
            runs = list(_merge_round(runs, folder, level, options))
        target.write_text(runs[0].read_text(encoding="utf-8"), encoding="utf-8")


def split_runs(lines: Iterable[str], folder: Path, options: Options) -> Iterator[Path]:
    """Writes sorted runs of `run_lines` lines into `folder`."""
    lines = iter(lines)
    number = 0
    while portion := [line.rstrip("\n") for line in islice(lines, options.run_lines)]:
        portion.sort(key=options.key)
        run = folder / f"run-{number}"
        run.write_text("\n".join(portion), encoding="utf-8")
        number += 1
        yield run


def _merge_round(runs: list[Path], folder: Path, level: int, options: Options) -> Iterator[Path]:
    """Merges neighbouring runs, `fan_in` at a time."""
    for start in range(0, len(runs) - 1, options.fan_in):
        group = runs[start : start + options.fan_in]
        merged = folder / f"merged-{level}-{start}"
        with merged.open("w", encoding="utf-8") as out:
            out.writelines(f"{line}\n" for line in merge_files(group, options))
        for run in group:
            run.unlink()
        yield merged


def merge_files(runs: list[Path], options: Options) -> Iterator[str]:
    """The lines of sorted files in order, without line breaks; ties go to the file named first."""
    with ExitStack() as stack:
        files = [stack.enter_context(run.open(encoding="utf-8")) for run in runs]
        heap: list[tuple[Any, str, int]] = []
        for number, file in enumerate(files):
            _push(heap, file, number, options)
        previous: Any = object()
        while heap:
            key, line, number = heapq.heappop(heap)
            if not (options.unique and key == previous):
                yield line
            previous = key
            _push(heap, files[number], number, options)


def _push(heap: list[tuple[Any, str, int]], file: Iterator[str], number: int, options: Options) -> None:
    """Puts a file's next line into the heap, if it has one."""
    line = next(file, None)
    if line is not None:
        line = line.rstrip("\n")
        heapq.heappush(heap, (options.key(line), line, number))

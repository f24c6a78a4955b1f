"""A file that grows for days, in parts: `events.jsonl.1`, `events.jsonl.2`, ..., and `events.jsonl`, the newest."""

from pathlib import Path


def put_aside(path: Path) -> None:
    """Makes a file the newest of its finished parts; does nothing where there is none. Raises OSError."""
    if path.exists():
        numbers = [number for number, _ in _finished(path)]
        path.rename(path.with_name(f"{path.name}.{max(numbers, default=0) + 1}"))


def parts_of(path: Path) -> list[Path]:
    """All parts of a file that exist, in the order in which they were written."""
    return [part for _, part in sorted(_finished(path))] + ([path] if path.exists() else [])


def _finished(path: Path) -> list[tuple[int, Path]]:
    suffixes = ((part.name.removeprefix(f"{path.name}."), part) for part in path.parent.glob(f"{path.name}.*"))
    return [(int(suffix), part) for suffix, part in suffixes if suffix.isdecimal()]

"""Searches texts for a pattern that nobody vouches for, as a program of its own.

A regular expression of a few characters can take all time or all memory, when it is compiled as well as when it is
matched, and holds the interpreter meanwhile. So this module is run by path in a process with limits, and imports
nothing but the standard library.
"""

import json
import re
import resource
import sys
from collections.abc import Callable, Iterable

Text = tuple[str, str]
"""A path and what the file holds."""
Match = tuple[str, int, str]
"""A path, the number of a line counted from 1, and the line."""

MEMORY_BYTES = 512 * 1024 * 1024
CPU_S = 2


def find(matches: Callable[[str], object], texts: Iterable[Text], most: int) -> list[Match]:
    """The first `most` lines that match."""
    found: list[Match] = []
    for path, text in texts:
        for number, line in enumerate(text.splitlines(), 1):
            if matches(line):
                found.append((path, number, line.strip()[:200]))
                if len(found) >= most:
                    return found
    return found


def main() -> None:
    """Reads {"pattern", "texts", "most"} from stdin; writes {"found"} or {"error"} to stdout, as JSON."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    request = json.load(sys.stdin)
    try:
        pattern = re.compile(request["pattern"])
    except (re.error, OverflowError, RecursionError) as error:
        json.dump({"error": str(error)}, sys.stdout)
        return
    json.dump({"found": find(pattern.search, request["texts"], request["most"])}, sys.stdout)


if __name__ == "__main__":
    main()

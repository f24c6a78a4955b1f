"""Runs the benches one after the other, and writes what they say into docs/: `make bench`, `python -m bench NAME`.

They want a machine with nothing else to do, and take about 45 minutes in all. Those that have no page of their own go
to docs/performance.md: what a bench prints stands there between two marks of its name.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.fidelity.report import machine

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"


@dataclass(frozen=True)
class Bench:
    command: tuple[str, ...]
    shows: str
    page: Path = PAGE
    writes_it: bool = False
    """The bench itself, and not what it prints."""


BENCHES = {
    "footprint": Bench(("-m", "bench.footprint", "--install"), "installation, start, first request, memory a request"),
    "simulator": Bench(("bench/simulator_slip.py",), "the simulated server: punctuality, tokens and requests a second"),
    "streams": Bench(
        ("bench/simulator_slip.py", "--grow", "1,8,64,256,1000"), "the simulated server against the number of streams"
    ),
    "prediction": Bench(("-m", "bench.prediction", "scale"), "predictions from 1 to 1,000 agents: speed and memory"),
    "prompts": Bench(("-m", "bench.long_prompts"), "what prompts of 200,000 tokens cost the load loop"),
    "agreement": Bench(("-m", "bench.prediction", "agree"), "a run in real time against its prediction"),
    "fidelity": Bench(
        ("-m", "bench.fidelity"), "how true the times are, beside peers", ROOT / "docs" / "fidelity.md", True
    ),
    "scaling": Bench(
        ("-m", "bench.scaling"), "what an agent costs, by agents and workers", ROOT / "docs" / "scaling.md"
    ),
}


def main() -> int:
    names = "\n".join(f"  {name:10} {bench.shows}; {bench.page.name}" for name, bench in BENCHES.items())
    options = argparse.ArgumentParser(
        description=f"{__doc__}\n{names}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    chosen = options.parse_args().names or list(BENCHES)
    if unknown := [name for name in chosen if name not in BENCHES]:
        options.error(f"{', '.join(unknown)}: no such bench; there are {', '.join(BENCHES)}")
    failed = [name for name in chosen if not run(name, BENCHES[name])]
    if failed:
        print(f"failed: {', '.join(failed)}")
    return bool(failed)


def run(name: str, bench: Bench) -> bool:
    """Runs one and shows what it prints as it comes; its page is written when it succeeds."""
    print(f"== {name}: {bench.shows}", flush=True)
    said = []
    process = subprocess.Popen([sys.executable, *bench.command], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        said.append(line.rstrip())
    if process.wait():
        return False
    if not bench.writes_it:
        bench.page.write_text(put(bench.page.read_text(encoding="utf-8"), name, "\n".join(said)), encoding="utf-8")
    return True


def put(page: str, name: str, text: str) -> str:
    """`page` with `text` between the marks of `name`. Raises ValueError where they are missing."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"the page has no {begin} ... {end}")
    return f"{before}{begin}\n```text\n{text}\n```\n\n{machine()}\n{end}{after}"


if __name__ == "__main__":
    sys.exit(main())

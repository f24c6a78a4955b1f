"""Writes the predictions that docs show anew: each text block behind a `swarm predict` command in docs/contention.md.

    python -m bench.predicted_docs            some minutes on a core; then read the prose around what has changed
    python -m bench.predicted_docs --check    writes nothing, and exits with 1 where a page shows something else

Notes and what had no room are left out, as the page says; run directories go where they are forgotten.
"""

import argparse
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "docs" / "contention.md",)
SWARM = [sys.executable, "-c", "from swarm.cli import main; main()"]
SHOWN = re.compile(r"```sh\n(swarm predict [^\n]+)\n```\n\n```text\n(.*?)```\n", re.DOTALL)
LEFT_OUT = re.compile(r"^(  note: |Hidden at this width|\"may be off\"|\"tok/s per agent\")")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    checking = parser.parse_args().check
    stale = False
    for page in PAGES:
        text = page.read_text("utf-8")
        for found in SHOWN.finditer(text):
            now = printed(found[1])
            stale |= now != found[2]
            if not checking:  # at once: the next one takes minutes
                page.write_text(page.read_text("utf-8").replace(found[2], now), encoding="utf-8")
    print("all as it was" if not stale else "shown predictions have changed: read the prose around them")
    sys.exit(1 if checking and stale else 0)


def printed(command: str) -> str:
    """A command's report, without its notes."""
    arguments = shlex.split(command)[1:]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*SWARM, *arguments, "--out", f"{folder}/run"], cwd=ROOT, capture_output=True, text=True, check=False
        )
    if done.returncode not in (0, 3):
        sys.exit(f"{command}: exit {done.returncode}: {done.stderr[-500:]}")
    kept, skipping = [], False
    for line in done.stdout.splitlines():
        skipping = bool(LEFT_OUT.match(line)) or (skipping and bool(line.strip()) and not line.startswith(" "))
        if not skipping and not line.startswith(folder):
            kept.append(line.rstrip())
    return "\n".join(kept).strip("\n") + "\n"


if __name__ == "__main__":
    main()

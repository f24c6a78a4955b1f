"""The ending of a run as a picture: the terminal's own lines as an SVG that loads nothing from anywhere."""

import io
import re

from rich.console import Console
from rich.terminal_theme import MONOKAI

from swarm.report.terminal import print_results
from swarm.results import Results

WIDTH = 120
"""Characters a line."""


def to_svg(results: Results) -> str:
    """The output of `print_results`, `WIDTH` characters wide; without the fonts that rich would fetch from a server."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    print_results(results, console)
    picture = console.export_svg(title=f"swarm: {results.name}", theme=MONOKAI)
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    return picture.replace("font-family: Fira Code,", "font-family: Fira Code, Menlo, Consolas, DejaVu Sans Mono,")

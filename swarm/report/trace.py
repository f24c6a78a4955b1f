"""Summary of a trace for people: a few lines for a terminal, and a picture."""

from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from swarm.report.plot import HEIGHT, WIDTH, Axis, plot
from swarm.report.table import number, percent
from swarm.text import counted, listed
from swarm.trace.prefix import WORDS

Description = dict[str, Any]
"""As of `swarm.trace.statistics.describe`."""
_ROWS: tuple[tuple[str, str, int], ...] = (
    ("turns per session", "turns_per_session", 0),
    ("prompt, tokens", "prompt_tokens", 0),
    ("new in it, tokens", "new_tokens", 0),
    ("reply, tokens", "reply_tokens", 0),
    ("tools after a reply, s", "tool_s", 2),
    ("thinking, s", "think_s", 1),
)
_COLUMNS = ("p10", "p50", "p90", "p99", "max")


def print_trace(name: str, found: Description, console: Console) -> None:
    """Sessions and turns, a table of lengths and pauses, the cache, the tools, and what the trace does not say."""

    def say(line: str, style: str | None = None) -> None:
        console.print(line, style=style, highlight=False, markup=False)

    say(f"{name}: {_sessions(found)}")
    say("")
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for column in (*_COLUMNS, "mean", "total"):
        table.add_column(column, justify="right", no_wrap=True)
    for title, key, digits in _ROWS:
        if spread := found[key]:
            cells = [number(spread[column], digits) for column in (*_COLUMNS, "mean")]
            table.add_row(title, *cells, number(spread["total"], 0))
    console.print(table)
    say("")
    cache = found["cache"]
    best, by_message, again = (cache[key] for key in ("best_by_block", "best_by_message", "best_of_a_replay"))
    recorded = "" if cache["recorded"] is None else f" (the server reported {percent(cache['recorded'], 1)})"
    finer = "" if by_message == best else f"; {percent(by_message, 1)} without blocks of 16 tokens"
    say(f"Best possible prefix-cache hit rate: {percent(best, 1)}{recorded}{finer}.")
    if again != best:
        say(f"A replay can reach {percent(again, 1)}, because other text replaces the recorded replies.")
    _prefix(found["prefix"], say)
    if found["calls"]:
        say(f"Calls: {listed(f'{count} {tool}' for tool, count in found['calls'].items())}.")
    if found["failures"]:
        kinds = listed(f"{count} {kind}" for kind, count in found["failures"].items())
        say(f"Failed turns: {kinds}. Their time and the back-off are neither tool time nor thinking.")
    if found["not_streamed"]:
        say(f"Not streamed: {counted(found['not_streamed'], 'turn')}.")
    for note in found["notes"]:
        say(f"  note: {note}", "dim")


def _prefix(found: Description, say: Callable[[str], None]) -> None:
    """The changes that broke prefixes, a line for each kind, the costliest first."""
    if not found["by_kind"]:
        return
    say(
        f"Prefilled again though an earlier prompt had it: {found['lost_tokens']:,} tokens; avoidable: "
        f"{found['avoidable_tokens']:,} ({percent(found['avoidable_share'], 1)} of the prompt tokens)."
    )
    for kind, each in found["by_kind"].items():
        seconds = "" if each["lost_s"] is None else f", about {each['lost_s']:,.1f} s of prefill"
        place = "" if each["message"] is None else f", message {each['message']}"
        who = f" ({each['role']})" if each["role"] else ""
        say(
            f"  {WORDS[kind]}: {counted(each['turns'], 'turn')}, {each['lost_tokens']:,} tokens{seconds}; most in "
            f"{each['session']} turn {each['turn']}{place}{who}: {each['change']}"
        )


def _sessions(found: Description) -> str:
    parts = [f"{found['sessions']} sessions"]
    others = [
        f"{found['sub_agents']} of sub-agents" if found["sub_agents"] else "",
        counted(found["side_calls"], "side call") if found["side_calls"] else "",
    ]
    if any(others):
        parts[0] += f" ({', '.join(filter(None, others))})"
    parts.append(f"{found['turns']} turns")
    if found["failed_turns"]:
        parts[-1] += f" ({found['failed_turns']} failed)"
    if found["span_s"] is not None:
        parts.append(f"over {found['span_s'] / 60:,.1f} min")
    if found["recorded_at"]:
        parts.append(f"from {found['recorded_at']}")
    contents = "with contents" if found["content"] else "without contents"
    return f"{', '.join(parts)}; {found['source']}, {contents}" + (
        "; lengths are estimates" if found["estimated"] else ""
    )


def to_svg(name: str, found: Description) -> str:
    """Context growth, cache, lengths and pauses, as four plots in one SVG document."""
    panels = [_growth(name, found), _cache(found), _lengths(found), _pauses(found)]
    drawn = [panel for panel in panels if panel]
    parts = [
        f'<svg x="{WIDTH * (at % 2)}" y="{HEIGHT * (at // 2)}" width="{WIDTH}" height="{HEIGHT}"'
        + panel.removeprefix("<svg")
        for at, panel in enumerate(drawn)
    ]
    wide, high = WIDTH * min(2, len(drawn)), HEIGHT * -(-len(drawn) // 2)
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}">\n' + "\n".join(parts) + "</svg>\n"


def _growth(name: str, found: Description) -> str:
    def line(key: str) -> list[tuple[float, float]]:
        return [(row["turn"], row["prompt_tokens"][key]) for row in found["by_turn"]]

    series = {"longest": line("max"), "median": line("p50"), "shortest": line("min")}
    most = max(value for _, value in series["longest"])
    title = f"{name}: {counted(found['sessions'], 'session')}, {counted(found['turns'], 'turn')}"
    axis = Axis("prompt tokens", 0, most * 1.05)
    return plot(title, _turns(found), axis, series, lines=list(series), legend_below=True)


def _cache(found: Description) -> str:
    named = {
        "best possible": "best_by_block",
        "best of a replay": "best_of_a_replay",
        "recorded": "recorded",
    }
    series = {
        title: [(row["turn"], row["cache"][key] * 100) for row in found["by_turn"] if row["cache"][key] is not None]
        for title, key in named.items()
    }
    shown = {title: points for title, points in series.items() if points}
    axis = Axis("% of prompt tokens", 0, 105)
    return plot("Prefix cache", _turns(found), axis, shown, lines=list(shown), legend_below=True)


def _lengths(found: Description) -> str:
    return _curves(
        "Lengths",
        "tokens",
        {"prompt": found["prompt_tokens"], "new in the prompt": found["new_tokens"], "reply": found["reply_tokens"]},
        least=1,
    )


def _pauses(found: Description) -> str:
    return _curves("Between turns", "seconds", {"tools": found["tool_s"], "thinking": found["think_s"]}, least=0.001)


def _curves(title: str, unit: str, spreads: dict[str, Any], least: float) -> str:
    """Cumulative distributions; empty where nothing is known."""
    known = {name: spread["curve"] for name, spread in spreads.items() if spread}
    if not known:
        return ""
    low = max(least, min(value for curve in known.values() for value in curve))
    high = max(low * 10, *(value for curve in known.values() for value in curve))
    x = Axis(f"{unit} or fewer", low, high, log=True)
    series = {
        name: [(max(low, value), 100 * at / (len(curve) - 1)) for at, value in enumerate(curve)]
        for name, curve in known.items()
    }
    return plot(title, x, Axis("% of turns", 0, 105), series, lines=list(series), legend_below=True)


def _turns(found: Description) -> Axis:
    return Axis("turn of the session", 0, max(2, found["by_turn"][-1]["turn"]) + 1)

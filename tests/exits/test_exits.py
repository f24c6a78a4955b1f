"""No text of a server, a model, a trace or a scenario takes over a terminal, a log, a page or a label, by any exit."""

import asyncio
import io
import json
import logging
import os
import re
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from rich.table import Table
from scripted_server import answer, scripted

from swarm.cli import safe_stdio
from swarm.clock import Clock
from swarm.commands.doctor import Finding, _line
from swarm.commands.record import _View
from swarm.exporter.text import gauges, to_text
from swarm.live.view import LiveView, StageView
from swarm.proxy.recording import Totals
from swarm.recording.records import AgentEnd, ShardLost
from swarm.recording.redaction import PLACEHOLDER, one_line, plain, remember, shown
from swarm.recording.rundir import write_json, write_whole
from swarm.recording.status import AgentStatus
from swarm.report.checks import to_junit, to_markdown
from swarm.scenario.load import dump_scenario, load_scenario

SECRET = "remembered-secret-of-a-target"
LOOKS_LIKE_ONE = "sk-proj-4f9aB7c2D1e8F6a5b3C9"
EVIL = (
    "\x1b[2J\x1b]0;owned\x07\x1b]8;;http://evil\x1b\\link\x1b]52;c;ZXZpbA==\x07\x9b31m\x90q\x9c\x08\x08\r\x00\x7f\x0b\x0c"
    f"\u202eevil\u202c\u2066\u2069\u200f\u061c\u2028\u2029\x85 {SECRET} {LOOKS_LIKE_ONE}"
)
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
OWN = re.compile("\x1b\\[[0-9;]*[mFJK]|\r(?=\x1b\\[K)|\x1b\\[\\?25[hl]")
"""What swarm writes to a terminal itself: colours, and going up and erasing."""

TEXTS = st.one_of(
    st.just(EVIL), st.text(st.one_of(st.characters(), st.sampled_from(EVIL)), max_size=80).map(lambda text: text + EVIL)
)
each = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def _known():
    remember(SECRET)


def clean(text, *, own=False):
    text = OWN.sub("", text) if own else text
    found = FORBIDDEN.search(text)
    assert found is None, (found, text)
    assert SECRET not in text
    assert LOOKS_LIKE_ONE not in text
    return text


class Terminal(io.BytesIO):
    """Collects the bytes that reach it."""


def stream():
    bottom = Terminal()
    return bottom, safe_stdio._Text(bottom, encoding="utf-8", errors="backslashreplace", write_through=True)


class Screen(io.StringIO):
    def isatty(self):
        return True


@each
@given(TEXTS)
def test_what_is_printed_logged_or_raised(text):
    bottom, out = stream()
    print(text, "x", file=out)
    print(text, end="", file=out)
    handler = logging.StreamHandler(out)
    handler.emit(logging.LogRecord("x", logging.WARNING, "f", 1, "said: %s", (text,), None))
    try:
        raise ValueError(text)
    except ValueError:
        traceback.print_exc(file=out)
    out.writelines([text, "\n"])
    out.flush()
    clean(bottom.getvalue().decode())


@each
@given(TEXTS)
def test_tables_and_coloured_texts(text):
    bottom, out = stream()
    console = safe_stdio.console(out, width=2000, force_terminal=True, color_system="standard")
    console.print(text, style="red", highlight=False, markup=False)
    table = Table()
    table.add_column(text.replace("[", "("))
    table.add_row(text.replace("[", "("))
    console.print(table)
    out.flush()
    seen = bottom.getvalue().decode()
    assert "\x1b[31m" in seen
    clean(seen, own=True)


@pytest.mark.parametrize("screen", [Screen, io.StringIO])
@each
@given(text=TEXTS)
def test_the_live_view(screen, text):
    out, clock = screen(), Clock()
    view = LiveView(out, clock)
    status = AgentStatus(0)
    status.state, status.task, status.tool = "tool", text, text
    view.begin(StageView(text, 1, 1, 0, 10**12, [status], 0.0))
    view.draw()
    view.say(text)
    of = {"id": "1", "run": "r", "shard": 0, "target": "t", "agents": 1, "trial": 1, "t_ns": 0}
    view.add(ShardLost(**of, agent=None, name=text, numbers=[0], reason=text))
    view.add(AgentEnd(**of, agent=0, end_ns=1, crash=text))
    view.draw()
    view.close()
    clean(out.getvalue(), own=True)


@pytest.mark.parametrize("screen", [Screen, io.StringIO])
@each
@given(text=TEXTS)
def test_the_line_of_a_recording_and_the_findings_of_the_doctor(screen, text):
    class Part:
        open = 0
        totals = Totals(turns=1, model=text)

    out = screen()
    view = _View(out, Part, Part)
    view.draw()
    view.say(text)
    Part.totals = Totals(stopped=text)
    view.draw()
    clean(out.getvalue(), own=True)
    for colour in (True, False):
        clean(_line(Finding(False, text), colour) + _line(text, colour), own=True)


@each
@given(TEXTS)
def test_labels_of_prometheus(text):
    page = to_text(gauges("swarm_x", "Help.", [(f'model="{_label(text)}"', 1.0)]))
    clean(page)
    (family,) = text_string_to_metric_families(page)
    assert len(family.samples) == 1
    assert page.count("\n") == 3


def _label(text):
    from swarm.exporter.text import labels

    return labels({"model": text}).removeprefix('model="').removesuffix('"')


@each
@given(TEXTS)
def test_files_have_no_control_characters_and_json_reads_back_as_it_was(tmp_path, text):
    text = text.encode("utf-8", "replace").decode()
    path = tmp_path / "x"
    for written in (text, to_markdown(text, []), to_junit((plain(text), []))):
        write_whole(path, written)
        assert FORBIDDEN.search(path.read_text(encoding="utf-8")) is None
    write_json(path, {"text": text})
    raw = path.read_text(encoding="utf-8")
    assert FORBIDDEN.search(raw) is None
    assert json.loads(raw) == {"text": text}


@each
@given(TEXTS)
def test_one_line_is_one_and_short_and_what_was_shown_stays(text):
    line = one_line(text)
    assert "\n" not in line
    assert len(line) <= 120
    assert FORBIDDEN.search(line) is None
    assert shown(shown(text)) == shown(text)
    assert plain(plain(text)) == plain(text)


def test_plain_texts_are_left_alone():
    for text in ("naïve 😀 ±1\tΔ\n", "C:\\users\\x", "a [redacted] b", "\udcff"):
        assert shown(text) == text
    assert shown("\x1b[31m \u202e") == "\\u001b[31m \\u202e"
    assert shown(f"key {SECRET}, {LOOKS_LIKE_ONE}") == f"key {PLACEHOLDER}, {PLACEHOLDER}"


def test_a_resolved_scenario_reads_back_as_it_was_and_has_no_control_characters(tmp_path):
    path = tmp_path / "s.yaml"
    values = {"targets": [{"name": "a", "architecture": "moe", "api_base": "http://h/v1"}]}
    path.write_text(yaml.safe_dump(values | {"sampling": {"extra_body": {"x": EVIL, "y": "ü"}}}))
    scenario = load_scenario(path)
    text = dump_scenario(scenario)
    assert FORBIDDEN.search(text) is None
    path.write_text(text)
    assert load_scenario(path) == scenario


SWARM = [sys.executable, "-c", "from swarm.cli import main; main()"]


async def test_a_server_with_evil_names_and_a_scenario_with_evil_keys_meet_the_whole_command(tmp_path):
    evil = EVIL.replace("\x00", "")
    models = {"data": [{"id": evil}, {"id": f"other {LOOKS_LIKE_ONE}"}]}
    path = tmp_path / "s.yaml"
    bad = {"targets": [{"name": "a", "architecture": evil, "api_base": "http://h/v1", evil: 1}]}
    path.write_text(yaml.safe_dump(bad))

    async def run(*arguments):
        process = await asyncio.create_subprocess_exec(
            *SWARM, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, env=dict(os.environ)
        )
        out, errors = await process.communicate()
        return process.returncode, (out + errors).decode()

    async with scripted(answer("200 OK", models)) as server:
        for code, arguments in (
            (5, ("doctor", server.url)),
            (2, ("validate", str(path))),
            (2, ("run", str(path), "--set", f"agents.levels={evil}")),
            (2, ("doctor", "http://h/\x1b[31m")),
            (2, ("trace", str(Path("/nonexistent") / "\x1b[31m\x9b"))),
        ):
            returned, text = await run(*arguments)
            assert returned == code, text
            assert FORBIDDEN.search(text) is None, text
            assert LOOKS_LIKE_ONE not in text

"""What the docs show is true: their scenarios load, their commands exist, their links lead somewhere."""

import re
import shlex
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
from small_runs import called

from swarm.scenario.load import load_scenario

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


@PAGE
def test_scenarios_in_the_docs_are_valid(page, tmp_path):
    for block in blocks(page, "yaml"):
        if "targets:" in block:
            path = tmp_path / "shown.yaml"
            path.write_text(block)
            for named in re.findall(r"\bpath: ([\w/.-]+)", block):
                (tmp_path / named).mkdir(parents=True, exist_ok=True)
            load_scenario(path)


@PAGE
def test_commands_in_the_docs_are_commands_of_ours_with_options_they_have(page):
    shown = [line.split("#")[0] for block in blocks(page, "sh") for line in block.splitlines()]
    for line in shown:
        words = shlex.split(line)
        if words[:1] == ["make"]:
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M), line
        elif words[:1] == ["swarm"] and words[1:2] != ["--version"]:
            has_subcommands = words[1] in ("profiles", "trace") and len(words) > 2
            code, shown_by_help = help_of(*words[1 : 3 if has_subcommands else 2])
            assert code == 0, line
            for option in (word.partition("=")[0] for word in words if word.startswith("--")):
                assert option in shown_by_help, f"{line}: no option {option}"


@cache
def help_of(*command: str) -> tuple[int, str]:
    done = called(*command, "--help")
    return done.returncode, done.stdout


@PAGE
def test_links_in_the_docs_lead_to_files(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link


def test_every_key_of_a_scenario_is_documented():
    from swarm.scenario.schema import Scenario

    text = (ROOT / "docs/scenarios.md").read_text()
    for section, field in Scenario.model_fields.items():
        optional = get_args(field.annotation) if type(None) in get_args(field.annotation) else ()
        models = (field.annotation, *optional)  # of a section that may be left out, too
        keys = next((model.model_fields for model in models if hasattr(model, "model_fields")), {None: None})
        for key in keys:
            name = f"{section}.{key}" if key else section
            assert name in text, name

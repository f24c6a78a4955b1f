"""`swarm profiles`: list, show, add."""

import json
import os
import shlex

import pytest
from typer.testing import CliRunner

from swarm.cli import app
from swarm.errors import UsageError
from swarm.simulator.models import catalogue
from swarm.simulator.profiles import data_files, profiles

RUN = CliRunner().invoke
QWEN = catalogue.find("qwen3-32b").config


def refused(*command):
    error = RUN(app, ["profiles", *command]).exception
    assert isinstance(error, UsageError), error
    return str(error)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"text_config": dict(catalogue.find("qwen3.5-27b").config)}))
    return path


def test_all_profiles_models_and_gpus_are_listed():
    listed = RUN(app, ["profiles"]).stdout
    assert all(name in listed for name in profiles.names())
    names = RUN(app, ["profiles", "names"]).stdout
    assert all(name in names for name in [*catalogue.names(), *data_files.gpus()])


def test_show_says_what_fits_and_what_is_published():
    shown = RUN(app, ["profiles", "show", "qwen3-32b-awq-1xrtxpro6000", "--context", "32k"]).stdout
    assert "contexts of 32,000 tokens: 8 fit at once" in shown
    assert "published, one request: 70.2 tok/s (SGLang 0.5.8" in shown


def test_show_prints_each_context_and_level_that_was_asked_for_also_as_json():
    asked = ["profiles", "show", "gemma-3-27b@h100", "--concurrency", "1,4", "--context", "8k,32k,200k"]
    shown = RUN(app, asked).stdout
    assert "contexts of 200,000 tokens: a request has at most 131,072 here" in shown
    found = json.loads(RUN(app, [*asked, "--json"]).stdout)
    assert [one["context"] for one in found["contexts"]] == [8000, 32000]
    level = found["contexts"][1]["levels"][1]
    assert (level["concurrency"], level["total_tokens_per_s"]) == (4, 4 * level["decode_tokens_per_s"])
    assert f"{level['decode_tokens_per_s']:.1f}" in shown
    assert f"{level['ttft_s']:.2f} s" in shown
    assert level["decode_error"] > 0
    assert level["ttft_error"] > 0
    assert f"±{level['decode_error']:.0%}" in shown
    assert found["memory"]["weights_bytes"] == profiles.load("gemma-3-27b@h100").weights_bytes


def test_a_context_that_no_request_can_have_is_refused():
    assert "a context is 1 to 12288 tokens" in refused("show", "dense-32b-awq-1x3090", "--context", "32k")


@pytest.mark.parametrize(
    ("option", "wrong", "message"),
    [
        ("--context", "abc", "--context: expected a number of tokens such as 4096"),
        ("--concurrency", "one", "--concurrency: "),
        ("--concurrency", "0", "--concurrency: "),
    ],
)
def test_a_wrong_option_of_show_is_named(option, wrong, message):
    assert refused("show", "dense-32b-awq-1x3090", option, wrong).startswith(message)


@pytest.mark.parametrize("name", ["qwen3-coder-30b-a3b", "Qwen/Qwen3-Coder-30B-A3B-Instruct"])
def test_the_command_that_add_suggests_works(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    added = RUN(app, ["profiles", "add", name, "--gpu", "RTX 4090", "--tp", "2", "--quant", "awq", "--kv", "fp8"])
    assert added.exit_code == 0
    suggested = shlex.split(added.stdout.partition("try: ")[2])
    assert suggested[:3] == ["swarm", "profiles", "show"]
    shown = RUN(app, suggested[1:])
    assert shown.exit_code == 0
    assert "qwen3-coder-30b-a3b-awq-2xrtx4090-fp8kv" in shown.stdout
    assert os.listdir(tmp_path) == ["qwen3-coder-30b-a3b-awq-2xrtx4090-fp8kv.json"]


def test_the_command_that_add_suggests_works_where_few_tokens_fit(tmp_path):
    out = tmp_path / "a b.json"
    added = RUN(app, ["profiles", "add", "qwen3-32b", "--gpu", "4090", "--quant", "awq", "--out", str(out)])
    assert RUN(app, shlex.split(added.stdout.partition("try: ")[2])[1:]).exit_code == 0


def test_add_takes_a_config_and_overwrites_nothing(config, tmp_path):
    out = tmp_path / "mine.json"
    command = ["profiles", "add", "--config", str(config), "--gpu", "a100-80gb", "--quant", "awq"]
    assert RUN(app, [*command, "--model", "Qwen3.5-27B", "--out", str(out)]).exit_code == 0
    profile = profiles.load(str(out))
    assert (profile.name, profile.provenance) == ("qwen3.5-27b-awq-1xa100-80gb", "assumed")
    assert "exists already" in refused(*command[1:], "--out", str(out))


@pytest.mark.parametrize("name", ["../../etc/x", "a/..", "a b\n;c", "/"])
def test_a_name_in_a_config_leads_to_no_other_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**QWEN, "_name_or_path": name}))
    assert RUN(app, ["profiles", "add", "--config", "config.json", "--gpu", "h200"]).exit_code == 0
    assert len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["--gpu", "rtx4090"], "name a model, such as"),
        (["qwen3-32b"], "missing --gpu"),
        (["qwen3-32b", "--config", "x", "--gpu", "h100"], "name a model, such as"),
        (["qwen3-33b", "--gpu", "h100"], "unknown model 'qwen3-33b': did you mean qwen3-32b"),
        (["qwen3-32b", "--gpu", "rtx9999"], "unknown GPU 'rtx9999': did you mean"),
        (["qwen3-32b", "--gpu", "h100", "--quant", "int1"], "--quant int1: expected one of bf16, fp8"),
        (["qwen3-32b", "--gpu", "h100", "--link", "string"], "--link string: expected one of "),
        (["qwen3-32b", "--gpu", "h100", "--kv", "fp2"], "--kv fp2: expected one of auto, fp8"),
        (["qwen3-32b", "--gpu", "rtx4090"], "does not fit on 1 rtx4090"),
        (["--config", "nowhere/config.json", "--gpu", "h100"], "nowhere/config.json: cannot be read"),
    ],
)
def test_what_add_cannot_do_it_refuses(command, message):
    assert message in refused("add", *command)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("[1]", "one object with the model's sizes"),
        ("{", "config.json: "),
        (" " * (17 << 20), "more than 16 MiB"),
        (json.dumps({**QWEN, "num_zero_experts": 3}), "num_zero_experts = 3 is not modelled"),
        (json.dumps({**QWEN, "num_hidden_layers": 10**9}), "num_hidden_layers must be 1 to 1024"),
    ],
)
def test_a_config_that_is_none_is_refused_with_its_path(text, message, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(text)
    found = refused("add", "--config", str(path), "--gpu", "h100")
    assert found.startswith(str(path))
    assert message in found

"""Runs without a scenario file: from a server's address to the scenario that it stands for."""

import json
from contextlib import asynccontextmanager

import pytest
import yaml
from aiohttp import web
from small_runs import called, served, write_project

from swarm.client.base import Connection
from swarm.client.target.locate import locate
from swarm.errors import BackendError
from swarm.scenario.architecture import architecture_of
from swarm.scenario.quick import parse_levels, slug

PROFILE = "moe-30b-a3b-awq-1x3090"


@pytest.fixture(scope="module")
def server():
    """The address of a simulated server, without its `/v1`."""
    with served() as address:
        yield address.removesuffix("/v1")


def resolved(server, tmp_path, *options):
    """What `swarm init` writes for the server, as `swarm validate` resolves it."""
    path = tmp_path / "mine.yaml"
    done = called("init", path, "--url", server, *options)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(called("validate", path).stdout)


def test_an_address_alone_is_a_scenario_that_can_be_run_again(server, tmp_path):
    found = resolved(server, tmp_path)
    (target,) = found["targets"]
    assert (target["api_base"], target["model"], target["architecture"]) == (f"{server}/v1", PROFILE, "moe")
    assert found["name"] == target["name"] == slug(PROFILE)
    assert found["agents"]["levels"] == [1, 4, 8]
    assert found["agents"]["context"] == 9000
    assert found["stage"]["until"]["turns"] == 10


def test_a_dry_run_of_an_address_tells_what_it_would_take(server):
    for words in (["run", server], ["run", "--url", f"{server}/v1"]):
        done = called(*words, "--concurrency", "1-4", "--dry-run")
        assert done.returncode == 0, done.stderr
        assert "9 stages" in done.stdout
        assert "@4" in done.stdout


def test_the_environment_names_the_server_and_the_load(server, monkeypatch):
    monkeypatch.setenv("SWARM_URL", server)
    monkeypatch.setenv("SWARM_AGENTS", "2")
    done = called("run", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert f"{slug(PROFILE)}@2" in done.stdout


def test_a_scenario_runs_on_another_server_and_leaves_the_old_ones_key_behind(server, tmp_path):
    project = write_project(
        tmp_path,
        targets=[{"name": "mine", "api_base": "http://127.0.0.1:1/v1", "api_key_env": "UNSET_KEY", "gpus": 2}],
    )
    out = tmp_path / "out"
    quick = ("--agents", "1", "--duration", "500ms", "--set", "stage.warmup=100ms")
    done = called("run", project / "small.yaml", "--url", server, *quick, "--out", out, "--quiet")
    assert done.stdout == f"{out}\n", done.stderr
    (target,) = yaml.safe_load((out / "scenario.yaml").read_text())["targets"]
    assert (target["name"], target["gpus"], target["api_base"]) == ("mine", 2, f"{server}/v1")
    assert (target["model"], target["architecture"], target["api_key_env"]) == (PROFILE, "moe", None)
    assert json.loads((out / "results.json").read_text())["targets"][0]["architecture"] == "moe"
    again = called("run", out / "scenario.yaml", "--dry-run")
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize(
    ("given", "key", "value"),
    [
        ("coding", "script", "session"),
        ("quick", "script", "quick"),
        ("folder", "tasks", None),
        ("trace", "driver", "trace"),
    ],
)
def test_one_word_names_the_workload(server, tmp_path, given, key, value):
    write_project(tmp_path)
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"timestamp": 0, "input_length": 500, "output_length": 20, "hash_ids": [1]}\n' * 2)
    word = {"folder": tmp_path / "tasks", "trace": trace}.get(given, given)
    done = called("run", server, "--workload", word, "--dry-run")
    assert done.returncode == 0, done.stderr
    found = resolved(server, tmp_path, "--workload", word)
    assert (found["tasks"]["path"] == str(word)) if key == "tasks" else found["agents"][key] == value


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["run"], 2, "give a server's address or a scenario file"),
        (["run", "URL", "--model", "gpt-9"], 5, "does not serve the model 'gpt-9'; it serves: moe-30b"),
        (
            ["run", "URL", "--workload", "nope"],
            2,
            "--workload nope: no such file or folder; expected coding, coding-64k",
        ),
        (["run", "URL", "--concurrency", "8-1"], 2, "--agents: 8-1: expected 1 to 64 numbers of agents"),
        (["run", "URL", "--concurrency", "many"], 2, "expected numbers of agents such as 4, 1,4,8, 1-16"),
        (["run", "URL", "--api-key-env", "UNSET_KEY"], 2, "the environment variable UNSET_KEY is not set"),
        (["run", "http://127.0.0.1:1"], 5, "127.0.0.1"),
        (["run", "http://me:secret@127.0.0.1:1"], 2, "expected an address without a user, password or key"),
        (["run", "scenarios/four-agents.yaml", "--model", "x"], 2, "--model: goes with a server's address"),
        (["run", "scenarios/four-agents.yaml", "--url", "URL"], 2, "does not have one target"),
        (["soak"], 2, "give a server's address or a scenario file"),
        (["capacity"], 2, "give a server's address or a scenario file"),
    ],
)
def test_what_cannot_be_run_is_refused_with_what_to_do(server, words, code, why):
    done = called(*[server if word == "URL" else word for word in words], "--dry-run" if words[0] == "run" else "-q")
    assert (done.returncode, done.stdout) == (code, "")
    assert why in done.stderr
    assert "secret" not in done.stderr


@asynccontextmanager
async def listing(entries, prefix="/v1"):
    async def models(_):
        return web.json_response({"data": entries})

    app = web.Application()
    app.router.add_get(f"{prefix}/models", models)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.mark.parametrize("prefix", ["/v1", "", "/openai/v1"])
async def test_the_api_is_found_with_and_without_its_version(prefix):
    async with listing([{"id": "m", "max_model_len": 4096}], prefix) as url:
        typed = f"{url}/openai" if prefix.startswith("/openai") else url
        found = await locate(Connection(f"{typed}/", None))
        assert (found.api_base, found.model, found.max_model_len) == (f"{url}{prefix}", "m", 4096)


async def test_several_models_are_listed_and_one_is_to_be_chosen():
    async with listing([{"id": "a"}, {"id": "b"}]) as url:
        with pytest.raises(BackendError, match=r"serves a, b; choose one \(--model NAME"):
            await locate(Connection(url, None))
        assert (await locate(Connection(url, "b"))).model == "b"


@pytest.mark.parametrize(
    ("text", "levels"),
    [("1,4,8", [1, 4, 8]), ("1-16", [1, 2, 4, 8, 16]), ("1-10", [1, 2, 4, 8, 10]), ("4-16:4", [4, 8, 12, 16])],
)
def test_levels_are_listed_doubled_or_stepped(text, levels):
    assert parse_levels(text) == levels


@pytest.mark.parametrize(
    ("model", "architecture"),
    [
        ("Qwen/Qwen2.5-Coder-32B-Instruct-AWQ", "dense"),
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct", "moe"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "moe"),
        ("meta-llama/Llama-4-Scout-17B-16E", "moe"),
        ("openai/gpt-oss-20b", "moe"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "dense"),
        ("my-model", None),
        (None, None),
    ],
)
def test_a_models_name_tells_its_architecture_or_nothing(model, architecture):
    assert architecture_of(model) == architecture


def test_a_claim_that_the_server_contradicts_is_told(server, tmp_path):
    project = write_project(tmp_path, targets=[{"name": "mine", "architecture": "dense", "api_base": f"{server}/v1"}])
    quick = ("--agents", "1", "--duration", "500ms", "--set", "stage.warmup=100ms")
    done = called("run", project / "small.yaml", *quick, "--out", tmp_path / "out")
    assert f"the scenario says architecture: dense, and by its name {PROFILE} is moe" in done.stderr

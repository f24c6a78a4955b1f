"""`swarm run` against other servers: it adapts to what they keep to, and says what it cannot know."""

import asyncio
import json

import pytest
from dialects import NATURAL, llama_cpp, ollama, sglang
from scripted_server import scripted
from small_runs import REPLY_TOKENS, SWARM, records, results, write_project

pytestmark = pytest.mark.realtime


def unhurried(server):
    """With time to the first token, so that no more requests come than a real server would take."""

    def answer(request):
        return [0.05, *server(request)] if request.path.endswith("completions") else server(request)

    return answer


async def run_against(server, model, project):
    async with scripted(unhurried(server)) as at:
        target = {"name": "it", "architecture": "dense", "api_base": at.url, "model": model}
        write_project(
            project,
            targets=[target],
            agents={"levels": [2], "system_tokens": 1500, "context": "4k"},
            stage={"warmup": "100ms", "duration": "2500ms", "trials": 1},
        )
        process = await asyncio.create_subprocess_exec(
            SWARM,
            *("run", "small.yaml", "--out", "out"),
            cwd=project,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
    return process.returncode, " ".join(said.decode().split())


@pytest.mark.parametrize(("server", "model"), [(llama_cpp, "qwen.gguf"), (sglang, "qwen")])
async def test_a_server_that_keeps_to_lengths_gives_a_valid_run_without_its_counters(tmp_path, server, model) -> None:
    code, said = await run_against(server, model, tmp_path)
    assert code == 0, said
    assert "its metrics say what it runs and queues, but count no tokens as vLLM's do" in said
    (stage,) = results(tmp_path / "out")["targets"][0]["stages"]
    assert stage["achieved"]["server_running_mean"] == 0  # what this one shows, always
    attempts = records(tmp_path / "out", "attempt")
    assert {attempt["planned_tokens"] for attempt in attempts} == {REPLY_TOKENS}
    assert {attempt["completion_tokens"] for attempt in attempts if not attempt.get("aborted")} == {REPLY_TOKENS}


async def test_a_server_that_keeps_to_no_lengths_gives_a_valid_run_of_its_own_lengths(tmp_path) -> None:
    code, said = await run_against(ollama, "llama3.2", tmp_path)
    assert code == 0, said
    assert "so its replies are as long as the model likes" in said
    attempts = records(tmp_path / "out", "attempt")
    assert {attempt["planned_tokens"] for attempt in attempts} == {None}
    assert {attempt["completion_tokens"] for attempt in attempts if not attempt.get("aborted")} == {NATURAL}
    facts = json.loads((tmp_path / "out/environment.json").read_text())["targets"]["it"]
    assert (facts["honours"]["pinned_length"], facts["metrics"]) == (False, False)

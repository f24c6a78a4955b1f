"""A small coding agent on the stock `openai` client: what stands behind the proxy in tests, docs and the shipped trace.

    python tests/record/agent.py http://127.0.0.1:8100/v1 WORKSPACE "Fix the failing test." [TURNS]

It works through TURNS completions with tools in a loop; one of them hands a part of the job to a sub-agent.
"""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import openai

SYSTEM = "You are a coding agent. Look at the code with your tools, find what is wrong, and say how you would mend it."


def tool(name: str, description: str, parameter: str, **limits: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {parameter: {"type": "string", **limits}}, "required": [parameter]}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


TOOLS = [
    tool("list_files", "Lists the files below a folder.", "path"),
    tool("read_file", "Shows a text file.", "path"),
    tool("run_tests", "Runs the tests in a file or folder.", "path"),
]
PARTS = ["Read the tests and say in a few words what they expect.", "Look for other places with the same mistake."]
DELEGATE = tool("delegate", "Lets another agent do a part of the job, and returns its answer.", "prompt", enum=PARTS)
RUN_TESTS, HAND_OVER = 2, 4
"""The turns in which the tests are run, and a part of the job is handed over."""


async def work(client: openai.AsyncOpenAI, model: str, workspace: Path, job: str, turns: int, leads: bool) -> str:
    """One session; returns the last reply."""
    messages: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": job}]
    tools = [*TOOLS, DELEGATE] if leads else TOOLS
    for turn in range(1, turns + 1):
        forced = {RUN_TESTS: "run_tests", HAND_OVER: "delegate" if leads else "read_file"}.get(turn)
        choice: Any = {"type": "function", "function": {"name": forced}} if forced else "required"
        reply = await complete(client, model, messages, tools, choice if turn < turns else "none")
        messages.append(reply)
        for call in reply.get("tool_calls", ()):
            result = await carry_out(client, model, workspace, call["function"])
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    return str(messages[-1]["content"])


async def complete(
    client: openai.AsyncOpenAI, model: str, messages: list[Any], tools: list[Any], choice: Any
) -> dict[str, Any]:
    """The assistant message of one streamed completion."""
    text, calls = "", {}
    stream = await client.chat.completions.create(
        model=model, messages=messages, tools=tools, tool_choice=choice, max_tokens=120, stream=True
    )
    async for chunk in stream:
        delta = chunk.choices[0].delta
        text += delta.content or ""
        for part in delta.tool_calls or ():
            call = calls.setdefault(
                part.index, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
            )
            call["id"] += part.id or ""
            call["function"]["name"] += part.function.name or ""
            call["function"]["arguments"] += part.function.arguments or ""
    return {"role": "assistant", "content": text or None} | ({"tool_calls": list(calls.values())} if calls else {})


async def carry_out(client: openai.AsyncOpenAI, model: str, workspace: Path, function: dict[str, Any]) -> str:
    """What a tool says; the model's paths are taken as names below the workspace."""
    arguments = json.loads(function["arguments"])
    path = (workspace / str(arguments.get("path", ".")).lstrip("/")).resolve()
    if function["name"] == "delegate":
        return await work(client, model, workspace, f"A part of a larger job: {arguments['prompt']}", 3, leads=False)
    if not path.is_relative_to(workspace) or not path.exists():
        return f"Error: no {path.name} there"
    if function["name"] == "run_tests":
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)]
        done = await asyncio.to_thread(subprocess.run, command, cwd=workspace, capture_output=True, text=True)
        return done.stdout[-1500:]
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
        return "\n".join(str(file.relative_to(workspace)) for file in found)
    return path.read_text()[:4000]


async def main(base_url: str, workspace: Path, job: str, turns: str = "8") -> None:
    client = openai.AsyncOpenAI(base_url=base_url, api_key="not-needed")
    model = (await client.models.list()).data[0].id
    print(await work(client, model, workspace, job, int(turns), leads=True))


if __name__ == "__main__":
    address, folder, *rest = sys.argv[1:]
    asyncio.run(main(address, Path(folder).resolve(), *rest))

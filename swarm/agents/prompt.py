"""The beginning of a conversation: a system message of a chosen size, and the issue."""

import json
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path

import yaml

from swarm.errors import ScenarioError
from swarm.tasks import Task
from swarm.tasks.calls import tool_schemas

BYTES_PER_TOKEN = 4
SALT_BYTES = 16
_TEXT = Path(__file__).with_name("system_prompt.md")
_NOTES = Path(__file__).with_name("package_notes.yaml")


def system_prompt(tokens: int, salt: str) -> str:
    """A system message that, with the rendered tool schemas, makes `tokens` of 4 bytes, or up to 2% less.

    It opens with a line that holds `salt` (`SALT_BYTES` long), so that prompts of different salts share no prefix and
    are equally long. Shorter ones end early, after a whole line; longer ones go on with notes on packages. Raises
    ScenarioError if the schemas leave no room.
    """
    if len(salt.encode()) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes, not {len(salt.encode())}")
    text = f"Session {salt}\n\n"
    lines = chain(_TEXT.read_text(encoding="utf-8").splitlines(keepends=True), _package_notes())
    text += next(lines)
    schemas = len(rendered_schemas().encode())
    minimum = -(-(schemas + len(text)) // BYTES_PER_TOKEN)
    if tokens < minimum:
        raise ScenarioError(
            f"agents.system_tokens: {tokens} is below {minimum}, the size of the tool schemas and a first line; "
            f"set it to {minimum} or more"
        )
    for line in lines:
        if len(text) + len(line) + schemas > tokens * BYTES_PER_TOKEN:
            break
        text += line
    return text.rstrip()


def opening(task: Task, ticket: str) -> str:
    """The user message. The ticket comes first, so that no two jobs send the same prompt; then the issue."""
    files = sorted(path.name + "/" * path.is_dir() for path in task.repository.iterdir() if path.name[0] not in "._")
    return (
        f"Ticket {ticket}\n\n# {task.title}\n\n{task.issue.strip()}\n\n"
        f"The root of the repository holds {', '.join(files)}. Finish with a short summary of what you changed."
    )


def rendered_schemas() -> str:
    """The tools as chat templates render them: one JSON object a line."""
    return "\n".join(json.dumps(schema) for schema in tool_schemas())


def _package_notes() -> Iterator[str]:
    """Endless lines on the conventions of a large repository; no two sections are alike."""
    words = yaml.safe_load(_NOTES.read_text(encoding="utf-8"))
    areas, parts, advice = list(words["areas"].items()), list(words["parts"].items()), words["advice"]
    yield "\n# Notes on packages\n"
    yield "The larger repositories share the layout below. Where one of these packages exists, its notes apply.\n"
    for number in count():
        # The numbers of areas and of parts have no common divisor, so that every pair comes up before one does again.
        area, subject = areas[number % len(areas)]
        part, rule = parts[number % len(parts)]
        generation = number // (len(areas) * len(parts)) + 1
        yield f"\n## {area}{'' if generation == 1 else f'_v{generation}'}.{part}\n"
        yield f"The {part} of the package for {subject}.\n"
        yield f"- {rule}\n"
        yield f"- {advice[number % len(advice)]}\n"
        yield f"- Tests: tests/{area}/test_{part}.py; run them alone with the keyword {area} before the whole suite.\n"

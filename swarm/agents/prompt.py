"""What a conversation begins with: a system message of a chosen size, and the issue."""

import json
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path

from swarm.errors import ScenarioError
from swarm.tasks import Task
from swarm.tasks.calls import tool_schemas

BYTES_PER_TOKEN = 4
SALT_BYTES = 16
_TEXT = Path(__file__).with_name("system_prompt.md")


def system_prompt(tokens: int, salt: str) -> str:
    """A system message that, with the rendered tool schemas, makes `tokens` of 4 bytes, or up to 2 % less.

    It opens with a line that holds `salt` (`SALT_BYTES` long), so that prompts of different salts share no prefix and are
    equally long. Shorter ones end early, after a whole line; longer ones go on with notes on packages. Raises
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
    """The user message: the ticket first, so that no two jobs send the same prompt, then the issue and where to look."""
    files = sorted(path.name + "/" * path.is_dir() for path in task.repository.iterdir())
    return (
        f"Ticket {ticket}\n\n# {task.title}\n\n{task.issue.strip()}\n\n"
        f"The root of the repository holds {', '.join(files)}. Finish with a short summary of what you changed."
    )


def rendered_schemas() -> str:
    """The tools as chat templates render them: one JSON object a line."""
    return "\n".join(json.dumps(schema) for schema in tool_schemas())


_AREAS = {
    "billing": "invoices, credit notes and the rounding of amounts",
    "catalog": "products, their variants and what can be shown of them",
    "orders": "the life of an order from the cart to its delivery",
    "accounts": "people, their addresses and how they sign in",
    "stock": "what lies in which warehouse, and what is promised",
    "shipping": "parcels, carriers and the labels that they want",
    "search": "the index of products and the ranking of what it finds",
    "pricing": "price lists, discounts and the order in which they apply",
    "reports": "the figures that are sent out every night",
    "mail": "messages to customers, their templates and their bounces",
    "jobs": "work that is done later, its queue and its retries",
    "audit": "who changed what and when, kept for ten years",
    "export": "files for partners, in the form that each has asked for",
    "returns": "goods that come back, and the money that goes back",
    "tax": "rates by country and the rules for choosing one",
    "feeds": "what suppliers send us, checked and brought into shape",
    "sessions": "signed-in browsers, their age and their end",
}
_PARTS = {
    "models": "Frozen dataclasses with no behaviour beyond their own checks; identifiers are strings, amounts whole cents.",
    "storage": "The only place that knows tables. Functions take a connection; they neither open nor commit it.",
    "service": "Rules live here. A function takes plain values, asks storage, and returns a value or raises its own error.",
    "routes": "Thin: parse the request, call the service once, turn its value or error into a response.",
    "errors": "One exception a reason, with the data that a caller needs in attributes; messages are written for people.",
    "validation": "Checks of what comes from outside, all of them before anything is stored; report every mistake at once.",
    "events": "Facts in the past tense with a version number; add fields with defaults, never rename one.",
    "settings": "Read once at the start from a mapping that is passed in; no module reads the environment by itself.",
    "clients": "Calls to other systems with a timeout each; their errors become ours here and nowhere else.",
    "tasks": "Safe to run twice: look first, then do; progress is stored after every step.",
    "formatting": "Text for people; no rule depends on it, and numbers are formatted here only.",
    "fixtures": "Small builders with sensible defaults for tests; a test names only what it is about.",
    "permissions": "Pure functions of a person and a thing, asked by the service, never by storage.",
}
_ADVICE = (
    "Times are aware and in UTC; they are turned into local time only for display.",
    "Its tests run without a database, on the in-memory storage that lies beside the real one.",
    "Lists are returned sorted, so that callers and tests need not sort them again.",
    "A missing thing is an error here, not None; use the function whose name starts with find_ where it may be missing.",
    "Nothing is logged twice: whoever handles an error logs it, whoever passes it on does not.",
    "Iterators are used up once; return a tuple where a caller may want to look twice.",
    "Private names start with an underscore and are not imported by other modules, tests included.",
)


def _package_notes() -> Iterator[str]:
    """Endless lines on the conventions of a large repository; no two sections are alike."""
    yield "\n# Notes on packages\n"
    yield "The larger repositories share the layout below. Where one of these packages exists, its notes apply.\n"
    areas, parts = list(_AREAS), list(_PARTS)
    for number in count():
        area, part = areas[number % len(areas)], parts[number % len(parts)]
        generation = number // (len(areas) * len(parts))
        name = f"{area}.{part}" if not generation else f"{area}_v{generation + 1}.{part}"
        yield f"\n## {name}\n"
        yield f"The {part} of the package for {_AREAS[area]}.\n"
        yield f"- {_PARTS[part]}\n"
        yield f"- {_ADVICE[number % len(_ADVICE)]}\n"
        yield f"- Tests: tests/{area}/test_{part}.py; run them alone with the keyword {area} before the whole suite.\n"

"""The six tools as data: what a call's arguments are, and what the model is told about them.

Scripts are checked against these models when they are loaded, agents execute calls parsed by them, and the JSON schemas
that go to the server are made from them, so that the three cannot drift apart.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class Arguments(BaseModel):
    """The arguments of one tool call. Values are taken as they are: a number in quotes is not a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ListFiles(Arguments):
    """List the files of the repository below a directory, one path a line with its size in bytes, sorted by path.
    Directories are walked to the end; caches, compiled files and hidden directories are left out, and symbolic links
    are shown but not followed. Call it once at the start of a task to learn the layout, before you open anything. Do
    not call it again to see whether an edit was saved: the edit's own result tells you."""

    path: Annotated[
        str, Field(description='Directory to list, relative to the root of the repository; "." lists everything.')
    ]


class ReadFile(Arguments):
    """Read a text file. Every line comes with its number and a tab before it; these are not part of the file, so leave
    them out when you copy text into an edit. Read a file before you change it, and read the tests that cover it. Files
    of more than about 300 lines are better read in ranges around what `search` found. Long results are cut, and say
    so. Binary files and directories cannot be read."""

    path: Annotated[str, Field(description="File to read, relative to the root of the repository.")]
    start_line: Annotated[
        int | None, Field(ge=1, description="First line to return, counted from 1. Null starts at the first line.")
    ] = None
    end_line: Annotated[
        int | None, Field(ge=1, description="Last line to return, inclusive. Null reads to the end of the file.")
    ] = None


class Search(Arguments):
    """Search the text files below a path line by line. Matches come back as path:line: text, in the order of path and
    line. The query is literal text unless regex is true; both are case-sensitive. Use it to find where a name is
    defined and who calls it before you change its meaning. If there are too many matches, narrow the path or make the
    query longer: the list is cut after a fixed number of lines, and says so."""

    query: Annotated[
        str,
        Field(min_length=1, max_length=300, description="Text to look for on one line, or a pattern if regex is true."),
    ]
    path: Annotated[
        str, Field(description='File or directory to search, relative to the root of the repository; "." is all of it.')
    ]
    regex: Annotated[
        bool, Field(description="Read the query as a regular expression in Python's syntax. Prefer false.")
    ] = False


class EditFile(Arguments):
    """Replace one piece of text in an existing file. old_text must occur exactly once, character for character,
    indentation and line breaks included; otherwise nothing is changed and the result says how often it was found. Take
    in a line or two of context to make it unique, but not more than you need. Make one change a call, and keep the
    style of the code around it. To delete text, replace it with an empty string. To make a new file or to rewrite one
    from start to end, use write_file."""

    path: Annotated[str, Field(description="File to change, relative to the root of the repository. It must exist.")]
    old_text: Annotated[
        str, Field(min_length=1, description="The exact text to replace, without the line numbers that read_file adds.")
    ]
    new_text: Annotated[str, Field(description="The text to put in its place. It must differ from old_text.")]


class WriteFile(Arguments):
    """Write a whole text file: make it, with the directories that lead to it, or replace everything in it. Prefer
    edit_file for a change to a file that exists, since a rewrite loses whatever you did not copy. Do not write
    generated files, archives or logs, and do not leave helper scripts behind when you are done."""

    path: Annotated[str, Field(description="File to write, relative to the root of the repository.")]
    content: Annotated[str, Field(description="The complete new text of the file, ending in a line break.")]


class RunTests(Arguments):
    """Run the repository's tests with pytest and return its report, failures with a short traceback. The call fails
    when a test fails, when none was found, or when the time limit is reached. Run the narrowest selection that shows
    the problem first, and everything once before you say that you are done. Output is cut in the middle when it is
    long. Tests have no terminal and no input, so never wait for either."""

    path: Annotated[
        str | None,
        Field(
            description="Test file, directory or node id (file.py::test_name), relative to the root of the repository. "
            "Null runs every test."
        ),
    ] = None
    keyword: Annotated[
        str | None,
        Field(
            max_length=300, description="Only tests whose names match this expression, as with -k. Null takes them all."
        ),
    ] = None


ARGUMENTS: dict[str, type[Arguments]] = {
    "list_files": ListFiles,
    "read_file": ReadFile,
    "search": Search,
    "edit_file": EditFile,
    "write_file": WriteFile,
    "run_tests": RunTests,
}


def tool_schemas() -> list[dict[str, Any]]:
    """The tools in the form of OpenAI's `tools`, strict: no other keys, every key required, optional ones nullable."""
    return [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": " ".join((model.__doc__ or "").split()),
                "strict": True,
                "parameters": _parameters(model),
            },
        }
        for name, model in ARGUMENTS.items()
    ]


def _parameters(model: type[Arguments]) -> dict[str, Any]:
    fields = model.model_json_schema()["properties"]
    properties = {
        name: {key: value for key, value in field.items() if key not in {"title", "default"}}
        for name, field in fields.items()
    }
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}

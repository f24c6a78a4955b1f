"""The tools as the model is told about them."""

import json

import jsonschema
import pytest

from swarm.tasks import load_tasks
from swarm.tasks.calls import ARGUMENTS, tool_schemas

TOOLS = ["list_files", "read_file", "search", "edit_file", "write_file", "run_tests"]


def test_the_six_tools_are_described_in_the_form_of_openai():
    schemas = tool_schemas()
    assert [schema["function"]["name"] for schema in schemas] == TOOLS == list(ARGUMENTS)
    for schema in schemas:
        assert schema["type"] == "function"
        assert schema["function"]["strict"] is True
        assert 200 <= len(schema["function"]["description"]) <= 700
        parameters = schema["function"]["parameters"]
        assert parameters["additionalProperties"] is False
        assert parameters["required"] == list(parameters["properties"])
        assert all(field["description"] for field in parameters["properties"].values())
        assert '"default"' not in json.dumps(schema)
        jsonschema.Draft202012Validator.check_schema(parameters)


@pytest.mark.parametrize(
    ("tool", "arguments", "valid"),
    [
        ("read_file", {"path": "a", "start_line": None, "end_line": 3}, True),
        ("read_file", {"path": "a"}, False),
        ("read_file", {"path": "a", "start_line": 0, "end_line": None}, False),
        ("list_files", {"path": "."}, True),
        ("list_files", {"path": ".", "depth": 1}, False),
        ("search", {"query": "", "path": ".", "regex": False}, False),
        ("run_tests", {"path": None, "keyword": None}, True),
    ],
)
def test_schemas_take_what_they_should(tool, arguments, valid):
    parameters = {schema["function"]["name"]: schema["function"]["parameters"] for schema in tool_schemas()}[tool]
    assert jsonschema.Draft202012Validator(parameters).is_valid(arguments) is valid


def test_every_scripted_call_fits_its_schema():
    functions = [schema["function"] for schema in tool_schemas()]
    validators = {each["name"]: jsonschema.Draft202012Validator(each["parameters"]) for each in functions}
    tasks = load_tasks(["lru-cache", "merge-sort", "cron-tests", "flask-layers", "rate-limiter"])
    calls = [call for task in tasks for turn in task.turns for call in turn.calls]
    assert len(calls) > 250
    assert [call for call in calls if not validators[call.tool].is_valid(call.arguments)] == []

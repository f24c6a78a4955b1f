import json

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.simulator.server.replies import answer
from swarm.simulator.server.tokens import render


def tool(name, parameters=None):
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def strings(*names):
    return {"type": "object", "properties": {name: {"type": "string"} for name in names}, "required": list(names)}


LIST = tool("list_files", {"type": "object", "properties": {}})
READ = tool("read_file", strings("path"))
SEARCH = tool("search", strings("pattern"))
EDIT = tool("edit_file", strings("path", "old", "new"))
WRITE = tool("write_file", strings("path", "content"))
TEST = tool("run_tests", {"type": "object", "properties": {"path": {"type": "string"}}})
TOOLS = [TEST, WRITE, EDIT, SEARCH, READ, LIST]
CODE = "class Cache:\n    def get(self, key):\n        return self.items[key]\n"


def ask(messages, tools=(), tool_choice="auto", limit=2000, **options):
    return answer(render(messages, tools), messages, list(tools), tool_choice, limit=limit, **options)


def user(text="Fix the bug in src/cache.py."):
    return [{"role": "user", "content": text}]


def went_on(messages, reply, result):
    """The chat with the reply's call and its result."""
    call = {"id": reply.call.id, "type": "function"}
    call["function"] = {"name": reply.call.name, "arguments": reply.call.arguments}
    assistant = {"role": "assistant", "content": reply.content, "tool_calls": [call]}
    return [*messages, assistant, {"role": "tool", "tool_call_id": reply.call.id, "content": result}]


@pytest.mark.parametrize("count", [1, 2, 17, 250, 40000])
@pytest.mark.parametrize("pin", [{"ignore_eos": True}, {"min_tokens": None}])
def test_a_pinned_reply_has_exactly_as_many_tokens_as_asked_for(count, pin):
    options = {key: count if value is None else value for key, value in pin.items()}
    reply = ask(user(), TOOLS, limit=count, **options)
    assert (len(reply.pieces), reply.finish, reply.call) == (count, "length", None)
    assert len(reply.content) == 4 * count


def test_the_same_request_gets_the_same_reply_and_another_seed_another_one():
    assert ask(user()) == ask(user())
    assert ask(user(), seed=1) != ask(user(), seed=2)
    assert ask(user("a")) != ask(user("b"))


@given(st.integers(0, 1000))
def test_a_natural_reply_stops_by_itself_within_its_bounds(seed):
    reply = ask(user(), seed=seed)
    assert reply.finish == "stop"
    assert 20 <= len(reply.pieces) <= 600


def test_a_natural_reply_is_not_below_min_tokens_nor_above_the_limit():
    assert len(ask(user(), min_tokens=700).pieces) == 700
    cut = ask(user(), limit=5)
    assert (len(cut.pieces), cut.finish) == (5, "length")


def test_each_token_is_four_characters_that_json_need_not_escape():
    reply = ask(user(), limit=17000, ignore_eos=True)
    assert {len(piece) for piece in reply.pieces} == {4}
    assert json.dumps(reply.content) == f'"{reply.content}"'


def test_a_stop_string_ends_the_reply_before_it():
    whole = ask(user(), limit=100, ignore_eos=True)
    at = whole.content.index(".", 40)
    reply = ask(user(), limit=100, ignore_eos=True, stop=("never there", whole.content[at - 3 : at + 1]))
    assert (reply.finish, reply.stop_reason) == ("stop", whole.content[at - 3 : at + 1])
    assert reply.content == whole.content[: whole.content.index(reply.stop_reason)]
    assert len(reply.pieces) == (len(reply.content) + 4 + 3) // 4
    late = ask(user(), limit=100, min_tokens=90, ignore_eos=True, stop=(".",))
    assert len(late.pieces) >= 90


def test_an_agent_looks_reads_searches_edits_tests_and_answers():
    messages = user()
    called = []
    results = {"list_files": "src/cache.py\ntests/test_cache.py", "read_file": CODE, "run_tests": "3 passed"}
    for _ in range(8):
        reply = ask(messages, TOOLS)
        if reply.call is None:
            break
        assert reply.finish == "tool_calls"
        assert reply.content
        called.append(reply.call.name)
        messages = went_on(messages, reply, results.get(reply.call.name, "ok"))
    assert called == ["list_files", "read_file", "search", "edit_file", "run_tests"]
    assert (reply.finish, reply.call) == ("stop", None)


def test_failing_tests_are_repaired_but_not_for_ever():
    messages = user()
    called = []
    for _ in range(20):
        reply = ask(messages, [READ, EDIT, TEST])
        if reply.call is None:
            break
        called.append(reply.call.name)
        messages = went_on(messages, reply, "1 failed, 2 passed" if reply.call.name == "run_tests" else CODE)
    assert called == ["read_file"] + ["edit_file", "run_tests"] * 3


def test_a_new_user_message_starts_it_all_over():
    messages = went_on(user(), ask(user(), [READ]), CODE)
    assert ask(messages, [READ]).call is None
    reply = ask([*messages, *user("Now read src/other.py.")], [READ])
    assert json.loads(reply.call.arguments) == {"path": "src/other.py"}


def test_an_edit_names_the_file_and_a_line_that_the_conversation_shows():
    messages = went_on(user(), ask(user(), [READ]), CODE)
    reply = ask(messages, [READ, EDIT])
    arguments = json.loads(reply.call.arguments)
    assert arguments["path"] == "src/cache.py"
    assert CODE.count(arguments["old"]) == 1
    assert arguments["new"] == arguments["old"] + "  # reviewed"


STRICT_TEST = tool(
    "run_tests",
    {
        "type": "object",
        "properties": {
            "path": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "keyword": {"type": ["string", "null"]},
            "level": {"enum": ["unit", "all", None]},
            "verbose": {"type": "boolean"},
        },
        "required": ["path", "keyword", "level", "verbose"],
    },
)


def test_what_a_strict_schema_allows_to_leave_out_is_left_out():
    reply = ask(user(), [STRICT_TEST])
    assert json.loads(reply.call.arguments) == {"path": None, "keyword": None, "level": None, "verbose": False}


def test_where_a_test_run_must_name_a_path_it_is_one_of_tests():
    messages = went_on(user(), ask(user(), [LIST]), "README.md\nsrc/cache.py\ntests/test_cache.py")
    reply = ask(messages, [LIST, tool("run_tests", strings("path"))])
    assert json.loads(reply.call.arguments) == {"path": "tests/test_cache.py"}


def test_the_file_that_is_read_is_the_one_that_the_request_names_then_others():
    messages = went_on(user(), ask(user(), [LIST]), "README.md\nsrc/__init__.py\nsrc/api.py\nsrc/cache.py")
    read = []
    for _ in range(3):
        reply = ask(messages, [LIST, READ], {"type": "function", "function": {"name": "read_file"}})
        read.append(json.loads(reply.call.arguments)["path"])
        messages = went_on(messages, reply, CODE)
    assert read == ["src/cache.py", "src/api.py", "src/__init__.py"]


def test_an_edit_is_of_the_file_that_was_read_and_not_of_what_a_later_search_shows():
    tools = [READ, SEARCH, EDIT]
    messages = went_on(user(), ask(user(), tools), "src/cache.py, lines 1-2 of 2\n1\tdef get(key):\n2\t    return key")
    search = ask(messages, tools)
    assert json.loads(search.call.arguments) == {"pattern": "get"}
    messages = went_on(messages, search, "src/api.py:7: def get(self):\nsrc/cache.py:1: def get(key):")
    for seed in range(5):
        arguments = json.loads(ask(messages, tools, seed=seed).call.arguments)
        assert arguments["path"] == "src/cache.py"
        assert arguments["old"] in ("def get(key):", "    return key")


def test_an_edit_of_a_file_without_code_changes_one_of_its_lines():
    messages = went_on(user("Fix notes.txt."), ask(user(), [READ]), "notes.txt, lines 1-3 of 3\n1\ta\n2\tnotes\n3\ta")
    arguments = json.loads(ask(messages, [READ, EDIT]).call.arguments)
    assert (arguments["old"], arguments["new"]) == ("notes", "notes  # reviewed")


def test_a_file_that_could_not_be_read_is_not_edited():
    messages = went_on(user(), ask(user(), [READ]), "Error: src/cache.py: no such file or directory")
    assert json.loads(ask(messages, [READ, EDIT]).call.arguments)["old"] == "pass"


def test_with_nothing_left_to_do_a_required_call_writes_no_file_anew():
    messages = user()
    for _ in range(5):
        reply = ask(messages, TOOLS)
        messages = went_on(messages, reply, "3 passed" if reply.call.name == "run_tests" else CODE)
    called = {ask(messages, TOOLS, "required", seed=seed).call.name for seed in range(40)}
    assert called == {"list_files", "read_file", "search", "edit_file", "run_tests"}


def test_tools_of_unknown_purpose_are_called_once_each():
    messages, called = user(), []
    for _ in range(5):
        reply = ask(messages, [tool("frobnicate"), tool("transmogrify")])
        if reply.call is None:
            break
        called.append((reply.call.name, reply.call.arguments))
        messages = went_on(messages, reply, "ok")
    assert called == [("frobnicate", "{}"), ("transmogrify", "{}")]


def test_a_required_call_is_made_even_when_nothing_is_left_to_do():
    messages = went_on(user(), ask(user(), [READ]), CODE)
    assert ask(messages, [READ]).call is None
    reply = ask(messages, [READ], "required")
    assert (reply.call.name, reply.finish, reply.content) == ("read_file", "tool_calls", "")


def test_a_named_function_is_called_and_none_never():
    named = {"type": "function", "function": {"name": "edit_file"}}
    assert ask(user(), TOOLS, named).call.name == "edit_file"
    assert ask(user(), TOOLS, "none").call is None


@pytest.mark.parametrize("count", [30, 31, 64])
def test_a_pinned_call_is_filled_up_with_spaces_to_its_length(count):
    reply = ask(user(), TOOLS, "required", limit=count, min_tokens=count)
    assert len(reply.pieces) == count
    assert reply.finish == "tool_calls"
    assert json.loads(reply.arguments) == json.loads(reply.call.arguments) == {}


def test_a_call_that_does_not_fit_is_cut_and_says_so():
    reply = ask(user(), [READ], "required", limit=3)
    assert (len(reply.pieces), reply.finish) == (3, "length")
    assert reply.arguments == reply.call.arguments == '{"path":'
    text_only = ask(user(), [READ], limit=4)
    assert (len(text_only.pieces), text_only.finish, text_only.call) == (4, "length", None)


def test_the_pieces_of_a_call_are_its_head_and_then_its_arguments():
    reply = ask(user(), [READ])
    assert reply.pieces[reply.call_at] == ""
    assert "".join(reply.pieces[reply.call_at + 1 :]) == reply.call.arguments == reply.arguments
    assert reply.call.id.startswith("chatcmpl-tool-")


SCHEMAS = [
    {"type": "object", "properties": {"mode": {"enum": ["fast", 3, None]}}, "required": ["mode"]},
    {"type": "object", "properties": {"path": {"enum": ["a.py", "b.py"]}}, "required": ["path"]},
    {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3, "maximum": 3}}, "required": ["n"]},
    {
        "type": "object",
        "properties": {"n": {"type": "integer", "exclusiveMinimum": 3, "maximum": 4}},
        "required": ["n"],
    },
    {"type": "object", "properties": {"n": {"type": "integer", "maximum": -5}}, "required": ["n"]},
    {"type": "object", "properties": {"n": {"type": "integer", "minimum": 7, "multipleOf": 10}}, "required": ["n"]},
    {"type": "object", "properties": {"n": {"type": "number", "minimum": 0.1, "maximum": 0.2}}, "required": ["n"]},
    {"type": "object", "properties": {"b": {"type": "boolean"}, "z": {"type": "null"}}, "required": ["b", "z"]},
    {"type": "object", "properties": {"s": {"type": ["null", "string"], "minLength": 9}}, "required": ["s"]},
    {"type": "object", "properties": {"path": {"type": "string", "maxLength": 3}}, "required": ["path"]},
    {
        "type": "object",
        "properties": {"xs": {"type": "array", "items": {"type": "integer"}, "minItems": 3, "uniqueItems": True}},
        "required": ["xs"],
    },
    {"type": "object", "properties": {"xs": {"type": "array", "maxItems": 0}}, "required": ["xs"]},
    {
        "type": "object",
        "properties": {"edit": {"$ref": "#/$defs/Edit"}},
        "required": ["edit"],
        "$defs": {"Edit": {"type": "object", "properties": {"line": {"type": "integer"}}, "required": ["line"]}},
        "additionalProperties": False,
    },
    {"type": "object", "properties": {"x": {"anyOf": [{"type": "null"}, {"type": "integer"}]}}, "required": ["x"]},
    {"type": "object", "properties": {"x": {"oneOf": [{"type": "boolean"}]}}, "required": ["x"]},
    {
        "type": "object",
        "properties": {"x": {"allOf": [{"type": "object", "required": ["a"]}, {"properties": {"a": {"const": 5}}}]}},
        "required": ["x"],
    },
    {"properties": {"xs": {"items": {"type": "boolean"}}}, "required": ["xs"]},
    {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}, "required": ["children"]},
    {"type": "object", "required": ["anything"]},
    {"type": "object"},
    {},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_arguments_satisfy_the_schema(schema):
    for seed in range(5):
        reply = ask(user(), [tool("thing", schema)], "required", seed=seed)
        jsonschema.validate(json.loads(reply.call.arguments), schema)


def test_a_schema_that_asks_for_endlessly_much_gets_a_little():
    schema = {"type": "object", "properties": {"x": {"type": "array", "items": {"$ref": "#"}, "minItems": 9}}}
    reply = ask(user(), [tool("thing", schema | {"required": ["x"]})], "required", limit=20000)
    assert len(reply.call.arguments) < 100_000


scalars = st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False, width=32) | st.text()
KEYWORDS = (
    "type properties required items enum const anyOf oneOf allOf $ref $defs minimum maximum exclusiveMinimum "
    "multipleOf minItems maxItems minLength maxLength uniqueItems"
)
keys = st.sampled_from(KEYWORDS.split())
anything = st.recursive(
    scalars | st.sampled_from(["object", "array", "integer", "string", "#/$defs/a", "#"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(keys, anything, max_size=5))
def test_no_schema_however_wrong_keeps_it_from_calling(schema):
    reply = ask(user(), [tool("thing", schema)], "required")
    assert isinstance(json.loads(reply.call.arguments), dict)

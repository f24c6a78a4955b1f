"""Tool calls in the fragments of every kind of server come out as the same calls."""

import json
from itertools import pairwise, zip_longest
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_server import DONE, delta, event

from swarm.client.base import Observation, ToolCall
from swarm.client.reply.sse import ChatStream


def calls_of(*deltas: dict[str, Any]) -> list[ToolCall]:
    seen = Observation()
    stream = ChatStream(seen)
    for number, each in enumerate([*deltas, delta(finish_reason="tool_calls")], 1):
        stream.feed(event(each), number)
    stream.feed(DONE, len(deltas) + 2)
    stream.close()
    assert seen.failure is None
    return seen.tool_calls


def part(index: int | None, call_id: str | None = None, name: str | None = None, arguments: Any = None) -> Any:
    numbered = {} if index is None else {"index": index}
    return numbered | {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def each(*parts: Any) -> list[ToolCall]:
    """Every fragment in a chunk of its own."""
    return calls_of(*(delta(tool_calls=[one]) for one in parts))


names = st.sampled_from(["list_files", "read_file", "run_tests"])
objects = st.dictionaries(st.sampled_from(["path", "a b"]), st.text('a"}{\\\n é😀', max_size=6), max_size=2)


@st.composite
def pieces(draw: st.DrawFn, text: str) -> list[str]:
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    borders = [0, *places, len(text)]
    return [text[begin:end] for begin, end in pairwise(borders)]


WAYS = ["openai", "interleaved", "all 0", "repeated", "fresh ids", "no index", "no ids", "whole"]


@st.composite
def dialect(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[ToolCall]]:
    """Chunks in one server's way, and the calls that they are."""
    way = draw(
        st.sampled_from(["openai", "interleaved", "all 0", "repeated", "fresh ids", "no index", "no ids", "whole"])
    )
    made = draw(st.lists(st.tuples(names, objects), min_size=1, max_size=3))
    texts = [json.dumps(arguments, ensure_ascii=False) for _, arguments in made]
    ids = [f"call-{number}" for number in range(len(made))]
    parts: list[list[Any]] = []
    for number, ((name, arguments), text) in enumerate(zip(made, texts, strict=True)):
        first, *rest = draw(pieces(text))
        index: int | None = 0 if way in ("all 0", "no ids", "repeated") else None if way == "no index" else number
        begun = None if way == "no ids" else ids[number]
        if way == "whole":
            parts.append([part(draw(st.sampled_from([0, None])), begun, name, arguments)])
        elif way == "no ids":
            parts.append([part(index, draw(st.sampled_from(["", None])), name, text)])
        elif way == "repeated":
            again = draw(st.sampled_from([name, None, ""]))
            parts.append([part(index, begun, name, first), *(part(index, begun, again, more) for more in rest)])
        elif way == "fresh ids":
            fresh = [f"{begun}-{number}" for number in range(len(rest))]
            later = [part(index, own, None, more) for own, more in zip(fresh, rest, strict=True) if more]
            parts.append([part(index, begun, name, first), *later])
        else:
            none = draw(st.sampled_from([None, ""]))
            parts.append([part(index, begun, name, first), *(part(index, none, none, more) for more in rest)])
    chunks = [[one] for call in parts for one in call]
    if way == "interleaved":
        turns = zip_longest(*parts)
        chunks = [[one for one in turn if one is not None] for turn in turns]
    known = ["" if way == "no ids" else own for own in ids]
    whole = [ToolCall(own, name, text) for own, (name, _), text in zip(known, made, texts, strict=True)]
    return [delta(tool_calls=chunk) for chunk in chunks], whole


@given(dialect())
@settings(max_examples=300)
def test_calls_in_any_servers_fragments_are_the_calls_that_were_made(case: tuple[list[Any], list[ToolCall]]) -> None:
    chunks, whole = case
    assert calls_of(*chunks) == whole


LIST = '{"path": "."}'


def test_several_calls_in_one_chunk_without_numbers_are_told_apart_by_their_place() -> None:
    first = delta(tool_calls=[part(None, "a", "f", '{"x"'), part(None, "b", "g", '{"y"')])
    rest = delta(tool_calls=[part(None, arguments=": 1}"), part(None, arguments=": 2}")])
    assert calls_of(first, rest) == [ToolCall("a", "f", '{"x": 1}'), ToolCall("b", "g", '{"y": 2}')]


@pytest.mark.parametrize("index", [0, None])
def test_a_new_id_is_a_new_call_also_of_the_same_tool_and_before_its_name(index: int | None) -> None:
    both = [ToolCall("a", "f", LIST), ToolCall("b", "f", LIST)]
    assert each(part(index, "a", "f", LIST), part(index, "b", "f", LIST)) == both
    assert (
        each(part(index, "a", "f", LIST), part(index, "b"), part(index, None, "f"), part(index, None, None, LIST))
        == both
    )


def test_an_id_brings_its_fragment_to_its_call_whatever_the_number() -> None:
    once = [ToolCall("a", "f", LIST)]
    assert each(part(0, "a", "f", '{"pa'), part(1, "a", "f", 'th": '), part(2, "a", None, '"."}')) == once
    assert each(part(0, "a", "f", '{"pa'), part(1, None, None, 'th": '), part(2, None, None, '"."}')) == once


def test_calls_without_ids_begin_with_another_name_or_after_a_whole_object() -> None:
    assert each(part(0, None, "f", LIST), part(0, None, "g", LIST), part(0, None, "g", LIST)) == [
        ToolCall("", "f", LIST),
        ToolCall("", "g", LIST),
        ToolCall("", "g", LIST),
    ]
    assert each(part(0, None, "f", ""), part(0, None, "f", '{"pa'), part(0, None, "f", 'th": "."}')) == [
        ToolCall("", "f", LIST)
    ]
    assert each(part(0, "", "list_"), part(0, "", "files"), part(0, "", "", LIST)) == [ToolCall("", "list_files", LIST)]


def test_an_id_that_comes_after_the_name_is_the_calls_own() -> None:
    assert each(part(0, None, "f"), part(0, "a", None, LIST)) == [ToolCall("a", "f", LIST)]


def test_calls_in_older_and_other_forms_are_read() -> None:
    legacy = [delta(function_call={"name": "f", "arguments": '{"pa'}), delta(function_call={"arguments": 'th": "."}'})]
    assert calls_of(*legacy) == [ToolCall("", "f", LIST)]
    assert each(part(0, "a", "f", {"path": "."})) == [ToolCall("a", "f", LIST)]
    assert calls_of(delta(tool_calls=part(0, "a", "f", LIST))) == [ToolCall("a", "f", LIST)]
    assert each(part("0", 7, "f", LIST)) == [ToolCall("7", "f", LIST)]  # type: ignore[arg-type]


def test_a_fragment_that_repeats_what_is_known_is_no_token() -> None:
    seen = Observation()
    stream = ChatStream(seen)
    for number, arguments in enumerate(["", "", "{}"], 1):
        stream.feed(event(delta(tool_calls=[part(0, "a", "f", arguments)])), number)
    assert list(seen.stamps) == [1, 3]

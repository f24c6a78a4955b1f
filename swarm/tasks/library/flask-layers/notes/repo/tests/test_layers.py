import ast
import importlib
import sqlite3
from pathlib import Path

import pytest

import notes

ALLOWED = {
    "routes": {"notes.service", "notes.storage", "notes.web", "sqlite3"},
    "service": {"notes.storage", "dataclasses"},
    "storage": {"dataclasses", "sqlite3"},
}


@pytest.mark.parametrize("layer", ALLOWED)
def test_a_layer_imports_only_what_is_below_it(layer):
    tree = ast.parse((Path(notes.__file__).parent / f"{layer}.py").read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert imported <= ALLOWED[layer]


def test_routes_hold_no_rules_and_no_questions_to_the_storage():
    source = (Path(notes.__file__).parent / "routes.py").read_text()
    assert not [text for text in ("strip(", "lower(", "80", "store.find", "store.remove") if text in source]


def test_the_service_works_without_http():
    service = importlib.import_module("notes.service")
    storage = importlib.import_module("notes.storage")
    notes_service = service.NoteService(storage.NoteStore(sqlite3.connect(":memory:")))
    note = notes_service.create(" Milk ", "two", ["B", "a"])
    assert (note.id, note.title, note.body, note.tags) == (1, "Milk", "two", ("a", "b"))
    assert notes_service.get(1) == note
    with pytest.raises(service.NoteError, match="1 to 80"):
        notes_service.create("", "", [])
    with pytest.raises(service.NoteNotFound):
        notes_service.delete(7)

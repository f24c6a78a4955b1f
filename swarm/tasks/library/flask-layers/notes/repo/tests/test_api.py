import sqlite3

import pytest

from notes.routes import make_app


@pytest.fixture
def app():
    return make_app(sqlite3.connect(":memory:"))


def test_a_note_comes_back_as_it_was_stored(app):
    created = app.post("/notes", {"title": "  Milk ", "body": "two", "tags": ["Shop", "food", "shop"]})
    assert created.status == 201
    assert created.data == {"id": 1, "title": "Milk", "body": "two", "tags": ["food", "shop"]}
    assert app.get("/notes/1").data == created.data


@pytest.mark.parametrize("title", ["", "   ", "x" * 81])
def test_titles_have_limits(app, title):
    response = app.post("/notes", {"title": title})
    assert response.status == 400
    assert response.data == {"error": "a title has 1 to 80 characters"}


def test_a_body_that_is_no_object_is_refused(app):
    assert app.post("/notes", [1]).status == 400


def test_notes_are_listed_newest_first_and_by_tag(app):
    for title, tags in (("a", ["x"]), ("b", ["y"]), ("c", ["x", "y"])):
        app.post("/notes", {"title": title, "tags": tags})
    assert [note["title"] for note in app.get("/notes").data] == ["c", "b", "a"]
    assert [note["title"] for note in app.get("/notes", tag="X").data] == ["c", "a"]


def test_a_note_can_be_deleted_once(app):
    app.post("/notes", {"title": "a"})
    assert app.delete("/notes/1").status == 204
    assert app.delete("/notes/1").status == 404
    assert app.get("/notes/1").data == {"error": "no note 1"}


def test_unknown_pages_and_methods(app):
    assert app.get("/nothing").status == 404
    assert app.delete("/notes").status == 405

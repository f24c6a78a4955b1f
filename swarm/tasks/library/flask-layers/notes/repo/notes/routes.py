"""The API."""

import sqlite3

from notes.storage import Note, NoteStore
from notes.web import App, Request, Response


def make_app(connection: sqlite3.Connection) -> App:
    app = App()
    store = NoteStore(connection)

    @app.route("/notes", "POST")
    def create(request: Request) -> Response:
        data = request.json()
        if not isinstance(data, dict):
            return Response(400, {"error": "expected a JSON object"})
        title = str(data.get("title", "")).strip()
        if not 1 <= len(title) <= 80:
            return Response(400, {"error": "a title has 1 to 80 characters"})
        tags = tuple(sorted({str(tag).lower() for tag in data.get("tags", [])}))
        return Response(201, shown(store.add(title, str(data.get("body", "")), tags)))

    @app.route("/notes")
    def index(request: Request) -> Response:
        tag = request.query.get("tag")
        return Response(200, [shown(note) for note in store.find() if tag is None or tag.lower() in note.tags])

    @app.route("/notes/<number>")
    def show(request: Request, number: str) -> Response:
        found = store.find(number)
        if not found:
            return Response(404, {"error": f"no note {number}"})
        return Response(200, shown(found[0]))

    @app.route("/notes/<number>", "DELETE")
    def delete(request: Request, number: str) -> Response:
        if not store.remove(number):
            return Response(404, {"error": f"no note {number}"})
        return Response(204)

    return app


def shown(note: Note) -> dict[str, object]:
    """A note as JSON."""
    return {"id": note.id, "title": note.title, "body": note.body, "tags": list(note.tags)}

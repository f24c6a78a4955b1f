"""Notes in SQLite."""

import sqlite3
from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    id: int
    title: str
    body: str
    tags: tuple[str, ...]


class NoteStore:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute(
            "CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, title TEXT, body TEXT, tags TEXT)"
        )

    def add(self, title: str, body: str, tags: tuple[str, ...]) -> Note:
        sql = "INSERT INTO notes (title, body, tags) VALUES (?, ?, ?)"
        cursor = self._connection.execute(sql, (title, body, " ".join(tags)))
        return Note(cursor.lastrowid or 0, title, body, tags)

    def find(self, number: str | int | None = None) -> list[Note]:
        """All notes, the newest first, or the one with that number."""
        sql = "SELECT id, title, body, tags FROM notes WHERE ?1 IS NULL OR id = ?1 ORDER BY id DESC"
        rows = self._connection.execute(sql, (number,)).fetchall()
        return [Note(row[0], row[1], row[2], tuple(row[3].split())) for row in rows]

    def remove(self, number: str | int) -> bool:
        return self._connection.execute("DELETE FROM notes WHERE id = ?", (number,)).rowcount > 0

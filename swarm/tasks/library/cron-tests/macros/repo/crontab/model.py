"""What is in a crontab."""

from dataclasses import dataclass

Fields = tuple[str, str, str, str, str]


@dataclass(frozen=True)
class Problem:
    """A mistake; line and column are counted from 1."""

    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.message}"


@dataclass(frozen=True)
class Job:
    """`fields` is None for a job that runs at start-up; `input` is None where the command has none."""

    line: int
    fields: Fields | None
    command: str
    input: str | None
    settings: dict[str, str]


@dataclass(frozen=True)
class Crontab:
    jobs: tuple[Job, ...]
    problems: tuple[Problem, ...]

    @property
    def valid(self) -> bool:
        return not self.problems

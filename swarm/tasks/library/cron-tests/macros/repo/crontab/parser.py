"""From text to a crontab, line by line."""

import re

from crontab.checks import check_field
from crontab.model import Crontab, Fields, Job, Problem

MACROS: dict[str, Fields | None] = {
    "@yearly": ("0", "0", "1", "1", "*"),
    "@annually": ("0", "0", "1", "1", "*"),
    "@monthly": ("0", "0", "1", "*", "*"),
    "@weekly": ("0", "0", "*", "*", "0"),
    "@daily": ("0", "0", "*", "*", "*"),
    "@midnight": ("0", "0", "*", "*", "*"),
    "@hourly": ("0", "*", "*", "*", "*"),
    "@reboot": None,
}
_SETTING = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*(.*?)\s*")


def parse(text: str) -> Crontab:
    """Reads a whole file. Never raises: mistakes are in `problems`, in the order of their lines."""
    jobs: list[Job] = []
    problems: list[Problem] = []
    settings: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if setting := _SETTING.fullmatch(line):
            settings = {**settings, setting[1]: _unquoted(setting[2])}
            continue
        result = _job(number, line, settings)
        if isinstance(result, Job):
            jobs.append(result)
        else:
            problems += result
    return Crontab(tuple(jobs), tuple(problems))


def _job(number: int, line: str, settings: dict[str, str]) -> Job | list[Problem]:
    words = [(match[0], match.start() + 1) for match in re.finditer(r"\S+", line)]
    if words[0][0].startswith("@"):
        return _macro_job(number, line, words, settings)
    if len(words) < 6:
        return [Problem(number, len(line.rstrip()) + 1, f"expected 5 fields and a command, found {len(words)} words")]
    found = [Problem(number, column, message) for index, (word, column) in enumerate(words[:5]) if (message := check_field(index, word))]
    if found:
        return found
    minute, hour, day, month, weekday = (word for word, _ in words[:5])
    command, stdin = _command(line[words[5][1] - 1 :])
    return Job(number, (minute, hour, day, month, weekday), command, stdin, settings)


def _macro_job(number: int, line: str, words: list[tuple[str, int]], settings: dict[str, str]) -> Job | list[Problem]:
    macro, column = words[0]
    if macro not in MACROS:
        return [Problem(number, column, f"unknown macro {macro}")]
    if len(words) < 2:
        return [Problem(number, len(line.rstrip()) + 1, f"no command after {macro}")]
    command, stdin = _command(line[words[1][1] - 1 :])
    return Job(number, MACROS[macro], command, stdin, settings)


def _command(text: str) -> tuple[str, str | None]:
    """The command, and its input if there is one."""
    command, *lines = (part.replace("\\%", "%") for part in re.split(r"(?<!\\)%", text.rstrip()))
    return command.rstrip(), "\n".join(lines) if lines else None


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value

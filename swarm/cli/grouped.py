"""The list of commands in `swarm --help`: in groups, in the order in which people need them, and nothing cut."""

from typing import Any

from typer.core import TyperGroup

GROUPS = {
    "Measure": ("run", "soak", "capacity", "predict", "plan"),
    "Look at results": ("report", "compare", "check", "history"),
    "Get ready": ("init", "validate", "doctor", "profiles", "calibrate"),
    "Servers and traces": ("serve", "record", "trace"),
}
WIDEST = 200
"""Characters of a command's first sentence: it is wrapped and not cut."""


class Grouped(TyperGroup):
    def format_commands(self, ctx: Any, formatter: Any) -> None:
        # `Any`, as newer versions of typer bring a click of their own.
        listed = {name for names in GROUPS.values() for name in names}
        others = tuple(name for name in self.list_commands(ctx) if name not in listed)
        for title, names in {**GROUPS, "Commands": others}.items():
            commands = [(name, command) for name in names if (command := self.get_command(ctx, name))]
            if commands:
                with formatter.section(title):
                    formatter.write_dl([(name, command.get_short_help_str(WIDEST)) for name, command in commands])

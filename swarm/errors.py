"""The exit codes of every command, and the exceptions that carry them.

A failed request is data (see `swarm.client.base.Failure`); only what stops a command is an exception.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    OK = 0
    BUG = 1
    USAGE = 2
    INVALID = 3
    GATE = 4
    BACKEND = 5
    INTERRUPTED = 130


class SwarmError(Exception):
    """Something the user can act on: the message says what is wrong, where, and what to do."""

    exit_code = ExitCode.BUG


class UsageError(SwarmError):
    """A wrong option, path or value on the command line."""

    exit_code = ExitCode.USAGE


class ScenarioError(UsageError):
    """The scenario file does not say something that can be run."""


class BackendError(SwarmError):
    """The server under test cannot be reached, or refuses to be tested."""

    exit_code = ExitCode.BACKEND

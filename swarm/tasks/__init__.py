"""The coding tasks: small repositories with an issue, and the script of turns that solves each."""

from swarm.tasks.load import load_tasks
from swarm.tasks.model import PlannedCall, ReplyLength, ScriptTurn, Task

__all__ = ["PlannedCall", "ReplyLength", "ScriptTurn", "Task", "load_tasks"]

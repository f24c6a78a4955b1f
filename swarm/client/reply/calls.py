"""Tool calls, put together from their fragments."""

import json

from swarm.client.base import ToolCall
from swarm.client.loose_json import text


class _Call:
    __slots__ = ("arguments", "id", "index", "name")

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []

    @property
    def whole(self) -> bool:
        """Its arguments are an object that has ended, to which nothing can be added."""
        if not self.arguments or not self.arguments[-1].rstrip().endswith("}"):
            return False
        try:
            return isinstance(json.loads("".join(self.arguments)), dict)
        except (ValueError, RecursionError):
            return False


class Calls:
    """The calls of one reply, as they grow.

    OpenAI's servers number the calls, name each in its first fragment, and go on by number alone. Others give every
    parallel call the number 0 or none, or repeat the id, the name or both in every fragment, or make up an id for each.
    So this holds for all:

    - A fragment belongs to the call that has its id, or else to the last of its number (without one, its place in the
      list); arguments alone, of a number that no call has, belong to the last call.
    - A new call begins with a new id, unless it comes with arguments and no name; with another name, once there are
      arguments, or where the fragments have no numbers; and, where there are no ids, with the same name again after
      arguments that are a whole object.
    - A name that is repeated is not appended; another one is, before the first argument, as it is the rest of it.

    The order is that of the numbers, and of the same number that in which they began.
    """

    __slots__ = ("_at", "_calls", "_of_id")

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._at: dict[int, _Call] = {}  # number or place -> its last call
        self._of_id: dict[str, _Call] = {}

    def add(self, place: int, index: int | None, call_id: str | None, name: str | None, arguments: str | None) -> bool:
        """One fragment, the `place`-th of its chunk; whether it brought anything."""
        if not (call_id or name or arguments):
            return False
        slot = place if index is None else index
        call = self._at.get(slot)
        brought = bool(arguments)
        if call_id or name or call is None:
            known = len(self._calls)
            call = self._at[slot] = self._called(call, index, call_id or "", name or "", arguments or "")
            brought = brought or len(self._calls) > known
        if arguments:
            call.arguments.append(arguments)
        return brought

    def _called(self, call: _Call | None, index: int | None, call_id: str, name: str, arguments: str) -> _Call:
        """The call that a fragment belongs to, a new one if need be, with its id and name."""
        call = self._of_id.get(call_id) or call
        if call is None and self._calls and not (call_id or name):
            return self._calls[-1]
        if call is None or _begins(call, index, call_id, name, arguments):
            call = _Call(index or 0)
            self._calls.append(call)
        if call_id and not call.id:
            call.id = call_id
            self._of_id[call_id] = call
        if name and name != call.name and not call.arguments:
            call.name += name
        return call

    def made(self) -> list[ToolCall]:
        """The calls as far as they came; an id alone is none."""
        return [
            ToolCall(text([call.id]), text([call.name]), text(call.arguments))
            for call in sorted(self._calls, key=lambda call: call.index)
            if call.name or call.arguments
        ]


def _begins(call: _Call, index: int | None, call_id: str, name: str, arguments: str) -> bool:
    """Whether a fragment that may belong to `call` begins another one."""
    other_id = bool(call_id and call.id and call_id != call.id)
    if other_id:
        return bool(name) or not arguments
    if not name or not call.name:
        return False
    if name != call.name:
        return bool(call.arguments) or index is None or bool(call_id and not call.id)
    same = bool(call_id) and call_id == call.id and index in (None, call.index)
    return bool(arguments) and not same and call.whole

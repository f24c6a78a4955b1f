"""What makes two calls the same call."""

import inspect
from typing import Any, Callable, Hashable

Key = tuple[tuple[str, type, Hashable], ...]


class KeyMaker:
    """Makes keys for the calls of one function; looks at its signature once."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._signature = inspect.signature(function)

    def key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Key:
        """Name, type and value of every argument, defaults filled in.

        Raises TypeError for arguments that do not fit the signature and for those that cannot be hashed.
        """
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return tuple(self._part(name, value) for name, value in self._flat(bound.arguments))

    def _flat(self, arguments: dict[str, Any]) -> list[tuple[str, Any]]:
        """`*args` and `**kwargs` are taken apart, so that the types of what is in them count as well."""
        flat: list[tuple[str, Any]] = []
        for name, value in arguments.items():
            kind = self._signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                flat += [(f"*{name}", item) for item in value]
            elif kind is inspect.Parameter.VAR_KEYWORD:
                flat += [(f"**{key}", value[key]) for key in sorted(value)]
            else:
                flat.append((name, value))
        return flat

    @staticmethod
    def _part(name: str, value: Any) -> tuple[str, type, Hashable]:
        try:
            hash(value)
        except TypeError:
            raise TypeError(f"argument {name!r} cannot be hashed: {type(value).__name__}") from None
        return name, type(value), value

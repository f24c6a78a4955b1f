"""The arguments of a tool call: values that its JSON schema allows."""

import math
import random
from collections.abc import Callable
from typing import Any

_MAX_ITEMS, _MAX_LENGTH, _MAX_VALUES = 64, 4096, 4096  # of what a schema demands
_MAX_DEPTH = 16
_NUMBER = (int, float)


class Arguments:
    """Values for a JSON schema, as far as one can be met by construction (`pattern` and `not`, for instance, cannot).

    Whatever a schema says in a form that JSON schema does not know is as if it were not there.
    """

    def __init__(self, root: dict[str, Any], text: Callable[[str], str], rng: random.Random) -> None:
        """`text` gives the text for a parameter of a name."""
        self._root = root
        self._text = text
        self._rng = rng
        self._values_left = _MAX_VALUES

    def value(self, schema: Any, name: str, depth: int = 0) -> Any:
        """A value that the schema allows, for the property or item `name`; null, if it allows that.

        Null is how a strict schema says that a parameter may be left out.
        """
        self._values_left -= 1
        if not isinstance(schema, dict) or depth > _MAX_DEPTH or self._values_left < 0:
            return None
        schema = self._resolve(schema)
        if "const" in schema:
            return schema["const"]
        if choices := _said(schema, "enum", list, []):
            return None if None in choices else self._rng.choice(choices)
        for key in ("anyOf", "oneOf"):
            if variants := _said(schema, key, list, []):
                forms = [v for v in variants if isinstance(v, dict)] or [{}]
                chosen = next((v for v in forms if v.get("type") == "null"), forms[0])
                return self.value({**schema, key: None} | chosen, name, depth + 1)
        if parts := _said(schema, "allOf", list, []):
            return self.value(self._merged(schema, parts), name, depth + 1)
        return self._of_type(_type(schema), schema, name, depth)

    def _resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Follows `$ref` into the schema's own definitions."""
        for _ in range(_MAX_DEPTH):
            reference = schema.get("$ref")
            if not isinstance(reference, str) or not reference.startswith("#"):
                break
            found: Any = self._root
            for step in reference.split("/")[1:]:
                found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
            if not isinstance(found, dict):
                break
            schema = found
        return schema

    def _merged(self, schema: dict[str, Any], parts: list[Any]) -> dict[str, Any]:
        merged = {**schema, "allOf": None}
        for part in parts:
            if isinstance(part, dict):
                part = self._resolve(part)
                properties = _said(merged, "properties", dict, {}) | _said(part, "properties", dict, {})
                required = [*_said(merged, "required", list, []), *_said(part, "required", list, [])]
                merged |= part | {"properties": properties, "required": required}
        return merged

    def _of_type(self, sort: str, schema: dict[str, Any], name: str, depth: int) -> Any:
        if sort == "object":
            properties = _said(schema, "properties", dict, {})
            required = [key for key in _said(schema, "required", list, []) if isinstance(key, str)]
            keys = dict.fromkeys([*(key for key in properties if key in required), *required])
            return {key: self.value(properties.get(key, {}), str(key), depth + 1) for key in keys}
        if sort == "array":
            return self._array(schema, name, depth)
        if sort in ("integer", "number"):
            return self._number(sort, schema)
        if sort == "boolean":
            return False  # a switch that nobody asked for
        if sort == "null":
            return None
        text = self._text(name)[: _said(schema, "maxLength", int, None)]
        return text.ljust(min(_said(schema, "minLength", int, 0), _MAX_LENGTH), "x")

    def _array(self, schema: dict[str, Any], name: str, depth: int) -> list[Any]:
        usual = 1 if depth < 4 else 0  # a schema that contains itself comes to an end
        count = min(_said(schema, "minItems", int, usual), _said(schema, "maxItems", int, _MAX_ITEMS), _MAX_ITEMS)
        items: list[Any] = []
        for _ in range(8 * count):
            if len(items) == count:
                break
            item = self.value(schema.get("items", {}), name, depth + 1)
            if not (schema.get("uniqueItems") is True and item in items):
                items.append(item)
        return items

    def _number(self, sort: str, schema: dict[str, Any]) -> Any:
        above, below = (_said(schema, key, _NUMBER, None) for key in ("exclusiveMinimum", "exclusiveMaximum"))
        lows = [bound for bound in (above, _said(schema, "minimum", _NUMBER, None)) if bound is not None]
        highs = [bound for bound in (below, _said(schema, "maximum", _NUMBER, None)) if bound is not None]
        low = max(lows) if lows else min([1, *(bound - 99 for bound in highs)])
        high = min(highs) if highs else low + 99
        if sort == "number":
            return (low + high) / 2
        first = math.floor(low) + 1 if low == above else math.ceil(low)
        last = math.ceil(high) - 1 if high == below else math.floor(high)
        step = max(1, _said(schema, "multipleOf", int, 1))
        first = -(-first // step) * step
        return first + step * self._rng.randint(0, max(0, (last - first) // step))


def _said(schema: dict[str, Any], key: str, kind: Any, default: Any) -> Any:
    """The value of a schema's key, if it is of the kind that belongs there; else `default`."""
    value = schema.get(key)
    return value if isinstance(value, kind) and not isinstance(value, bool) else default


def _type(schema: dict[str, Any]) -> str:
    sort = schema.get("type")
    if isinstance(sort, list):
        sort = "null" if "null" in sort else next(iter(sort), "null")
    if isinstance(sort, str):
        return sort
    return "object" if "properties" in schema else "array" if "items" in schema else "string"

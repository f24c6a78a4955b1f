"""The part of a model that sees: it is in memory, and takes no part in a step that only reads and writes text."""

from collections.abc import Mapping
from typing import Any

_GATED = frozenset({"pixtral", "qwen2_5_vl"})
"""Kinds whose feed-forward network has a third matrix."""


def vision_params(config: Mapping[str, Any], text_hidden: int) -> int:
    """Parameters of a `vision_config`'s transformer and projector, right to some 10%; 0 without one.

    Names differ by maker; where a size is not found under any of them, nothing is counted.
    """
    part = config.get("vision_config")
    if not isinstance(part, Mapping):
        return 0
    depth = _first(part, "num_hidden_layers", "depth", "vt_num_hidden_layers", "layers")
    hidden = _first(part, "hidden_size", "vt_hidden_size", "width", "embed_dim")
    if not depth or not hidden or depth > 1024 or hidden > 1 << 20:
        return 0
    inner = _first(part, "intermediate_size", "vt_intermediate_size") or 4 * hidden
    kind = str(part.get("model_type", ""))
    matrices = 3 if kind in _GATED or kind.startswith("qwen2_5") else 2
    layers = depth * (4 * hidden * hidden + matrices * hidden * inner)
    patch, image = _first(part, "patch_size"), _first(part, "image_size")
    embedding = hidden * (3 * patch * patch + ((image // patch) ** 2 if patch else 0))
    merged = hidden * (_first(part, "spatial_merge_size") or 1) ** 2
    out = _first(part, "out_hidden_size") or text_hidden
    deep = part.get("deepstack_visual_indexes")
    projectors = 1 + (len(deep) if isinstance(deep, list) else 0)
    return layers + embedding + projectors * ((merged * merged if merged > hidden else 0) + merged * out)


def _first(part: Mapping[str, Any], *keys: str) -> int:
    """The whole number above 0 at the first of the keys that has one; else 0."""
    found = (part.get(key) for key in keys)
    return next((value for value in found if type(value) is int and 0 < value < 1 << 24), 0)

"""Names of a checkpoint's modules, and the patterns by which a `quantization_config` means some of them."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

_PREFIXES = ("model.", "model.language_model.", "language_model.model.", "backbone.")
_OTHER_NAMES = {
    "mlp": ("mlp", "feed_forward", "block_sparse_moe", "mixer"),
    "self_attn": ("self_attn", "mixer", "attn"),
}


def names_of(layer: int, module: str) -> Iterator[str]:
    """The names that a module may have in a checkpoint, from `layers.` on; of experts, the first one's."""
    first, _, rest = module.partition(".")
    rest = rest.replace("experts.", "experts.0.", 1) if rest.startswith("experts.") else rest
    for name in _OTHER_NAMES.get(first, (first,)):
        yield f"layers.{layer}.{name}.{rest}"


def matches(pattern: str, names: list[str]) -> bool:
    """As transformers, ModelOpt and compressed-tensors name modules: whole, by an end or part, `*`, or `re:`."""
    if pattern.startswith("re:"):
        expression = _expression(pattern[3:])
        return any(expression.match(prefix + name) for name in names for prefix in _PREFIXES)
    start = pattern.find("layers.")
    short = pattern[start:] if start >= 0 else pattern
    if "*" in short:
        return any(
            fnmatchcase(name, glob) for name in names for glob in (short, f"{short}.*", f"*.{short}", f"*.{short}.*")
        )
    return any(f".{short}." in f".{name}." for name in names)


def _expression(text: str) -> re.Pattern[str]:
    """ValueError for one that is broken, or that could take for ever: repeated groups, more than a few wildcards."""
    if len(text) > 400 or re.search(r"\)[*+{]", text) or len(re.findall(r"[*+]", text)) > 6:
        raise ValueError(f"config.json: quantization_config has the pattern {text!r:.60}, which is too complex")
    try:
        return re.compile(text)
    except re.error as error:
        raise ValueError(f"config.json: quantization_config has the pattern {text!r:.60}: {error}") from None

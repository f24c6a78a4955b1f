"""A model's `config.json` while it is read: its values are checked as they are taken, the rest is looked through.

A key that speaks of experts, windows, layers or number formats, and that the reading did not take, may stand for half
of a model's memory. It is refused by name unless it is known to change no size (`config_keys.json`).
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

NESTED = ("text_config", "llm_config", "language_config")
"""Where models that also see or hear keep the language model's part."""

_UNLIKE = frozenset({"jetmoe", "moshi", "doge", "t5", "bart", "whisper"})
"""Model types whose keys mean something else: experts in attention, several transformers, encoders."""
_TOPIC = re.compile(
    r"expert|moe|window|sliding|swa_|chunk|layer|quant|spars|dense|mamba|ssm|conv|lora|hybrid|pattern|interleav|period"
    r"|interval|recurr|linear|latent|compress|index_|block|mlp|ffn|heads?($|_)|shared|k_eq_v|topk|top_k|local_attn"
    r"|global_attn|attn_config|expand|loop|per_token|hidden_size|intermediate|head_dim|altup|laurel"
)
_OTHER_PART = re.compile(
    r"(^|_)(vision|visual|audio|image|images|video|speech|media|sound)(_|$)|^(mm|vit|vt|img|projector|multimodal)_|^mtp_"
)
"""Parts that see or hear, and draft layers for speculative decoding, which vLLM loads only when asked to."""
_NO_SIZE = re.compile(
    r"(_eps|_epsilon|_bias|_dropout|_theta|_coef|_coeff|_alpha|_softcapping|_token_index|_token_id|_jitter"
    r"|_noise|_kernels|_std|_temperature|_impl|_overlap|_prob|_scale|_scaling_factor"
    r"|_act|_activation|_limits?|_weight|_weights|_norm|_norms|layernorms?|_norm_type|_backend)$"
)
"""Ends of names that set how something is computed, not how much of it there is."""


@cache
def _keys() -> dict[str, Any]:
    """`config_keys.json`: `defaults` by model type, and the keys that change `no_size`."""
    keys: dict[str, Any] = json.loads(resources.files(__package__).joinpath("config_keys.json").read_text("utf-8"))
    return keys


class Config:
    """The language model's keys of a `config.json`, with the defaults of its `model_type`. Remembers what was taken."""

    def __init__(self, raw: Any) -> None:
        """ValueError where it is not one JSON object."""
        if not isinstance(raw, Mapping):
            raise ValueError("expected a config.json: one object with the model's sizes")
        self._outer: Mapping[str, Any] = {}
        inner = next((raw[key] for key in NESTED if raw.get(key)), None)
        if inner is not None:
            if not isinstance(inner, Mapping):
                raise ValueError("config.json: text_config must be an object")
            self._outer = {key: value for key, value in raw.items() if key not in NESTED}
        self._inner: Mapping[str, Any] = raw if inner is None else inner
        self.model_type = str(self._inner.get("model_type") or self._outer.get("model_type") or "")
        defaults = _keys()["defaults"]
        self._defaults: Mapping[str, Any] = (
            defaults.get(self.model_type) or defaults.get(f"{self.model_type}_text") or {}
        )
        self._taken: set[str] = set()

        if self.model_type in _UNLIKE or self._inner.get("is_encoder_decoder"):
            raise ValueError(f"config.json: model_type = {_short(self.model_type)} is not modelled")

    def get(self, key: str, default: Any = None) -> Any:
        """The value, the model type's default where the file has none or null, or `default`."""
        self._taken.add(key)
        value = self._inner.get(key)
        if value is None and key in ("tie_word_embeddings", "quantization_config", "max_position_embeddings"):
            value = self._outer.get(key)
        if value is None:
            value = self._defaults.get(key)
        return default if value is None else value

    def skip(self, *keys: str) -> None:
        """Counts keys as taken that say nothing more, or nothing of this kind of model."""
        self._taken.update(keys)

    def skip_starting(self, *prefixes: str) -> None:
        """The same for all keys that begin so."""
        self._taken.update(key for key in self._inner if isinstance(key, str) and key.startswith(prefixes))

    def has(self, key: str) -> bool:
        """Whether the file itself names the key, be it null."""
        return key in self._inner

    def count(self, key: str, default: int | None = None) -> int:
        return self.first((key,), default)

    def size(self, key: str) -> int:
        """A whole number above 0."""
        value = self.count(key)
        if not value:
            raise ValueError(f"config.json: {key} must be above 0")
        return value

    def first(self, keys: tuple[str, ...], default: int | None = None) -> int:
        """The whole number at the first of `keys` that is there. All of them count as taken."""
        found: dict[str, int] = {}
        for key in keys:
            value = self.get(key)
            if value is not None:
                found[key] = self._whole(key, value)
        if found:
            return next(iter(found.values()))
        if default is None:
            raise ValueError(f"config.json: missing {' or '.join(keys)}")
        return default

    def flag(self, key: str) -> bool:
        value = self.get(key, False)
        if not isinstance(value, bool):
            raise ValueError(f"config.json: {key} must be true or false, not {value!r}")
        return value

    def counts(self, key: str) -> list[int]:
        """A list of whole numbers; empty where the key is absent."""
        return [self._whole(key, value) for value in self._list(key)]

    def words(self, key: str) -> list[str]:
        """A list of texts; empty where the key is absent."""
        found = self._list(key)
        if not all(isinstance(value, str) for value in found):
            raise ValueError(f"config.json: {key} must be a list of texts, not {found!r:.80}")
        return found

    def refuse_untaken(self) -> None:
        """ValueError naming a key that may change the model's sizes and that nothing has taken."""
        for part in (self._inner, self._outer):
            for key, value in part.items():
                if key not in self._taken and _matters(key, value):
                    kind = f" ({self.model_type})" if self.model_type else ""
                    raise ValueError(
                        f"config.json: {key} = {_short(value)} is not modelled{kind}; its sizes would be wrong"
                    )

    def _whole(self, key: str, value: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 40:
            raise ValueError(f"config.json: {key} must be a whole number, not {_short(value)}")
        return value

    def _list(self, key: str) -> list[Any]:
        value = self.get(key)
        if value is None:
            return []
        if not isinstance(value, list | tuple) or len(value) > 4096:
            raise ValueError(f"config.json: {key} must be a list, not {_short(value)}")
        return list(value)


def _matters(key: str, value: Any) -> bool:
    """Whether a key that was not read could change a size. Switched off (null, false, 0, empty) it cannot."""
    if value is None or value is False or value == 0 or value in ("", [], {}, ()):
        return False
    if not isinstance(key, str) or key.startswith("_") or key in _keys()["no_size"]:
        return False
    if _OTHER_PART.search(key) or _NO_SIZE.search(key):
        return False
    return bool(_TOPIC.search(key))


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."

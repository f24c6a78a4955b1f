"""Two small models of random weights, a MoE and a dense one, as vLLM loads them: a configuration and a tokenizer.

    python models.py FOLDER      (with vLLM's Python: it brings `tokenizers`)

There are no weights: vLLM makes them up (`--load-format dummy`). What the models write is noise, what the engine does
with them is real: its scheduler, its paged KV cache, its experts.
"""

import json
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

VOCABULARY = 8192
CONTEXT = 8192
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TOOL_MARKS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
"""Tokens of their own, but plain text: vLLM's hermes parser looks for them in what the model wrote."""

_ANY_MODEL: dict[str, Any] = {
    "hidden_size": 512,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "intermediate_size": 6144,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "initializer_range": 0.02,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
    "max_position_embeddings": CONTEXT,
    "vocab_size": VOCABULARY,
    "tie_word_embeddings": True,
    "dtype": "float32",
}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "moe": {
        "architectures": ["Qwen3MoeForCausalLM"],
        "model_type": "qwen3_moe",
        "num_experts": 32,
        "num_experts_per_tok": 4,
        "moe_intermediate_size": 192,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "norm_topk_prob": True,
    },
    "dense": {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"},
}

CHAT_TEMPLATE = r"""
{%- macro turn(role, text) -%}
  {{- "<|im_start|>" ~ role ~ "\n" ~ text ~ "<|im_end|>\n" -}}
{%- endmacro -%}

{%- set system = namespace(text="") -%}
{%- if messages[0].role == "system" -%}
  {%- set system.text = messages[0].content -%}
  {%- set messages = messages[1:] -%}
{%- endif -%}
{%- if tools -%}
  {%- set system.text = system.text ~ "\n\n# Tools\n\n<tools>\n" -%}
  {%- for tool in tools -%}
    {%- set system.text = system.text ~ (tool | tojson) ~ "\n" -%}
  {%- endfor -%}
  {%- set system.text = system.text ~ "</tools>\n\nCall a tool by writing a JSON object:\n" -%}
  {%- set system.text = system.text ~ '<tool_call>\n{"name": ..., "arguments": ...}\n</tool_call>' -%}
{%- endif -%}
{%- if system.text -%}
  {{- turn("system", system.text) -}}
{%- endif -%}

{%- for message in messages -%}
  {%- if message.role == "tool" -%}
    {{- turn("user", "<tool_response>\n" ~ message.content ~ "\n</tool_response>") -}}
  {%- else -%}
    {%- set written = namespace(text=message.content or "") -%}
    {%- for call in message.tool_calls or [] -%}
      {%- set json = {"name": call.function.name, "arguments": call.function.arguments} | tojson -%}
      {%- set written.text = written.text ~ "\n<tool_call>\n" ~ json ~ "\n</tool_call>" -%}
    {%- endfor -%}
    {{- turn(message.role, written.text) -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- "<|im_start|>assistant\n" -}}
{%- endif -%}
"""


def train() -> Tokenizer:
    """A byte-level BPE tokenizer that knows Python: its text is the standard library of this interpreter."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=VOCABULARY - len(TOOL_MARKS),
        special_tokens=list(SPECIAL),
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_standard_library(), trainer)
    tokenizer.add_tokens(list(TOOL_MARKS))
    return tokenizer


def _standard_library() -> Iterator[str]:
    """The modules and packages at its top, without tests and what is installed: some 5 MB."""
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        yield path.read_text(encoding="utf-8", errors="replace")


def write(folder: Path) -> None:
    """Writes `folder`/moe and `folder`/dense."""
    tokenizer = train()
    vocabulary = tokenizer.get_vocab()
    assert len(vocabulary) == VOCABULARY, f"the tokenizer has {len(vocabulary)} tokens, not {VOCABULARY}"
    ids = {"bos_token_id": None, "eos_token_id": vocabulary["<|im_end|>"], "pad_token_id": vocabulary["<|endoftext|>"]}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONTEXT,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    for name, configuration in CONFIGURATIONS.items():
        model = folder / name
        model.mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(model / "tokenizer.json"))
        _json(model / "tokenizer_config.json", settings)
        _json(model / "config.json", _ANY_MODEL | configuration | ids)


def _json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))

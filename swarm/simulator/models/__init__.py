"""Models as their `config.json` describes them: layers, parameters, KV cache and the bytes of their weights."""

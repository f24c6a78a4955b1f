"""The engine: step times, KV cache, continuous batching."""

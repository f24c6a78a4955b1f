"""The embedded vLLM: a contention model behind an OpenAI-compatible server."""

"""LiteLLM's own words for a request and its own reading of a refusal: all of the load's reaching inside LiteLLM.

`encode` takes the steps that `litellm.acompletion` takes before it sends (the tests compare them), and `refusal` those
that it takes when an answer is not 200. Tools go past it, as all that is in its `extra_body` does: it would drop
`strict` and `additionalProperties` from their schemas, and all routes must ask the model for the same thing.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from swarm.client import failures
from swarm.client.base import ChatRequest, Connection, Failure
from swarm.client.direct import body_of
from swarm.errors import UsageError

_LITELLMS = ("max_tokens", "temperature", "stream", "stream_options", "seed")

NO_KEY = "none"
"""For a target without a key: LiteLLM would send it one that it finds in the environment, OPENAI_API_KEY say."""


class MovedError(Exception):
    """This version of LiteLLM has not the parts that `Codec` builds on."""


def load() -> Any:
    """Imports LiteLLM, about three seconds; asks it to stay quiet and at home, and to send a key where it was told."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or importing it fetches a price list
    import httpx
    import litellm

    # It follows redirects to any host with all of a target's headers, through clients that it makes where none can ask
    # otherwise. To httpx, a response without a place to go to is an answer like others.
    httpx.Response.has_redirect_location = property(lambda _: False)  # type: ignore[method-assign,assignment]

    litellm.telemetry = False
    litellm.disable_aiohttp_trust_env = True  # a proxy of the environment would get the key, and be measured too
    litellm.suppress_debug_info = True
    return litellm


class Codec:
    """Builds requests for one target; raises `UsageError` for a provider of another protocol, `MovedError`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._litellm = load()
        try:
            self._prepare()
            self.encode(_TRIAL)
        except (ImportError, AttributeError, TypeError, KeyError) as error:
            raise MovedError(f"{type(error).__name__}: {error}") from error

    def _prepare(self) -> None:
        from litellm.llms.openai.chat.gpt_transformation import OpenAIGPTConfig
        from litellm.types.utils import LlmProviders
        from litellm.utils import ProviderConfigManager, get_optional_params

        target = self._connection
        if target.provider not in {provider.value for provider in LlmProviders}:
            raise UsageError(f"litellm_provider: LiteLLM knows no provider {target.provider!r}; for vLLM: hosted_vllm")
        model, provider, key, api_base = self._litellm.get_llm_provider(
            model=target.model,
            custom_llm_provider=target.provider,
            api_base=target.api_base,
            api_key=target.api_key or NO_KEY,
        )
        config = ProviderConfigManager.get_provider_chat_config(model=model, provider=LlmProviders(provider))
        if not isinstance(config, OpenAIGPTConfig):
            raise UsageError(
                f"litellm_provider: {provider} does not speak OpenAI's protocol, which the route litellm reads itself; "
                "the route litellm-sdk can talk to it"
            )
        self._config, self._model, self._provider = config, model, provider
        self._optional_params = get_optional_params
        self._headers: dict[str, str] = config.validate_environment(
            api_key=key,
            headers={"Accept": "text/event-stream", "Accept-Encoding": "identity", **target.headers},
            model=model,
            messages=[],
            optional_params={},
            litellm_params={},
            api_base=api_base,
        )
        if self._headers.get("Authorization") == f"Bearer {NO_KEY}":
            del self._headers["Authorization"]
        self._url: str = config.get_complete_url(
            api_base=api_base, api_key=key, model=model, optional_params={}, litellm_params={}, stream=True
        )

    def encode(self, request: ChatRequest) -> tuple[str, dict[str, str], bytes]:
        """Where to, with which headers, and what to post."""
        wanted = body_of(request, self._connection)
        own = {name for name in _LITELLMS if name in wanted and name not in request.extra_body}
        extra = {name: value for name, value in wanted.items() if name not in own and name not in ("model", "messages")}
        optional = self._optional_params(
            model=self._model,
            custom_llm_provider=self._provider,
            allowed_openai_params=list(_LITELLMS),
            extra_body=extra,
            **{name: wanted[name] for name in own},
        )
        optional.pop("extra_body", None)
        body = self._config.transform_request(
            model=self._model,
            messages=[dict(message) for message in request.messages],  # some providers edit them
            optional_params=optional,
            litellm_params={},
            headers=self._headers,
        )
        return self._url, self._headers, msgspec.json.encode(body | extra)

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """LiteLLM's exception for this answer decides the kind, where it knows one better than "an error"."""
        from openai import OpenAIError

        failure = failures.from_status(status, headers, body, self._url)
        error = self._config.get_error_class(
            error_message=body.decode("utf-8", "replace"), status_code=status, headers=dict(headers)
        )
        try:
            self._litellm.exception_type(
                model=self._model, original_exception=error, custom_llm_provider=self._provider
            )
        except (OpenAIError, type(error)) as mapped:
            return replace(failure, kind=failures.litellm_kind(mapped) or failure.kind)
        return failure


def copied(value: Any) -> Any:
    """A deep copy of JSON."""
    return msgspec.json.decode(msgspec.json.encode(value))


_TRIAL = ChatRequest(
    messages=[{"role": "user", "content": "ping"}],
    tools=[{"type": "function", "function": {"name": "ping", "parameters": {"type": "object", "properties": {}}}}],
    max_tokens=1,
    pinned=True,
    seed=1,
    tool_choice="auto",
)

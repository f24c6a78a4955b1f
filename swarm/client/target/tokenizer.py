"""How many tokens a chat has, as the target counts them.

vLLM and its like tell it (`POST /tokenize`, the chat template included). Where a server does not, three small
completions show what a word and a message cost, and every other count is an estimate.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import msgspec

from swarm.client import failures
from swarm.client.base import ChatRequest, Connection, Observation
from swarm.client.direct import DirectClient
from swarm.client.wire import plain_session
from swarm.clock import Clock
from swarm.errors import BackendError
from swarm.scenario.units import BYTES_PER_TOKEN

Messages = Sequence[dict[str, Any]]

_TEXT = (
    "the and for not you all can her was one our out day get has him his how man new now old see two way who did its "
    "let put say she too use end set key row map add run top low big red job log bit cut dry eye far few fit fly got "
    "hot ice ink joy kit lab law lay leg lot may met mix net nor"
)
WORDS = tuple(_TEXT.split())
"""Common words of three letters: a token each in most vocabularies, and with the space 4 bytes, so at the simulator."""
LEAST_WORDS = 8
_MAX_DOCUMENT_BYTES = 64 << 20


class Tokenizer(Protocol):
    @property
    def exact(self) -> bool:
        """Whether it is the target's own, and not an estimate."""

    async def count(self, messages: Messages, tools: Messages = ()) -> int:
        """Tokens of a prompt that is ready for the assistant's reply. Raises BackendError."""


@asynccontextmanager
async def open_tokenizer(connection: Connection) -> AsyncIterator[Tokenizer]:
    """The target's own, or one fitted to what it counts. Raises BackendError when it answers neither."""
    async with plain_session(connection) as session:
        server = _ServerTokenizer(session, connection)
        yield server if await server.answers() else await _fitted(connection)


class _ServerTokenizer:
    exact = True

    def __init__(self, session: aiohttp.ClientSession, connection: Connection) -> None:
        self._session = session
        self._model = connection.model
        self._url = connection.api_base.rstrip("/").removesuffix("/v1") + "/tokenize"

    async def answers(self) -> bool:
        try:
            return await self.count([{"role": "user", "content": WORDS[0]}]) > 0
        except BackendError:
            return False

    async def count(self, messages: Messages, tools: Messages = ()) -> int:
        body = {"model": self._model, "messages": messages, "add_generation_prompt": True}
        data = msgspec.json.encode(body | ({"tools": tools} if tools else {}))
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(self._url, data=data, headers=headers) as response:
                document = await response.content.read(_MAX_DOCUMENT_BYTES)
                while not response.content.at_eof() and len(document) < _MAX_DOCUMENT_BYTES:
                    document += await response.content.read(_MAX_DOCUMENT_BYTES)
                status, told = response.status, response.headers
        except (aiohttp.ClientError, OSError) as error:
            failure = failures.from_exception(error, self._url)
            raise BackendError(failure.message if failure else f"{self._url}: {error}") from error
        if status != 200:
            raise BackendError(failures.from_status(status, told, document, self._url).message)
        try:
            return msgspec.json.decode(document, type=_Counted).count
        except msgspec.DecodeError as error:
            raise BackendError(f"{self._url}: no count of tokens: {error}") from None


class _Counted(msgspec.Struct):
    count: int


@dataclass(frozen=True)
class _FittedTokenizer:
    per_prompt: float
    per_message: float
    per_word: float
    exact: bool = False

    async def count(self, messages: Messages, tools: Messages = ()) -> int:
        words = sum(len(str(message.get("content")).split()) for message in messages)
        schemas = len(msgspec.json.encode(tools)) / BYTES_PER_TOKEN if tools else 0
        return round(self.per_prompt + self.per_message * len(messages) + self.per_word * words + schemas)


async def _fitted(connection: Connection) -> Tokenizer:
    few, more = LEAST_WORDS, len(WORDS)
    first, word = {"role": "user", "content": " ".join(WORDS[:few])}, {"role": "user", "content": WORDS[0]}
    short = await _counted(connection, [first])
    long = await _counted(connection, [{"role": "user", "content": " ".join(WORDS)}])
    three = await _counted(connection, [first, {"role": "assistant", "content": WORDS[0]}, word])
    per_word = (long - short) / (more - few)
    per_message = (three - short) / 2 - per_word
    return _FittedTokenizer(short - per_message - few * per_word, per_message, per_word)


async def _counted(connection: Connection, messages: list[dict[str, Any]]) -> int:
    """As the usage of a completion of one token says."""
    client, seen = DirectClient(connection, Clock()), Observation()
    try:
        await client.complete(ChatRequest(messages, [], max_tokens=1, pinned=False), seen)
    finally:
        await client.close()
    if seen.failure is not None:
        raise BackendError(f"a small chat completion failed: {seen.failure.message}")
    if not seen.prompt_tokens:
        raise BackendError(f"{connection.api_base}: counts no tokens (usage), so prompts cannot be made to length")
    return seen.prompt_tokens


async def one_token_words(tokenizer: Tokenizer) -> tuple[str, ...]:
    """Those of `WORDS` that are one token, at the beginning of a text and behind a space: often not the same one.

    All of them where too few are, or none can tell.
    """
    if not tokenizer.exact:
        return WORDS
    counts = {}
    for word in WORDS:
        alone, eight = ([{"role": "user", "content": " ".join([word] * times)}] for times in (1, 8))
        counts[word] = await tokenizer.count(alone), await tokenizer.count(eight)
    least = min(alone for alone, _ in counts.values())
    found = tuple(word for word, both in counts.items() if both == (least, least + 7))
    return found if len(found) >= LEAST_WORDS else WORDS

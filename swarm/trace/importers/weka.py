"""Traces of WEKA's kv-cache-tester, which SemiAnalysis' AgentX publishes: a document for each session.

`requests` are in the order of `t` (seconds): completions (`s` streamed, `n` not) with lengths and `hash_ids`, an id for
each block of the prompt, and sub-agents with requests of their own, which the next request of their parent waits for
unless they were launched to run beside it (`async_launched`). Described by ai-dynamo/aiperf,
src/aiperf/dataset/graph/adapters/weka/trace_models.py.
"""

from collections.abc import Hashable
from typing import Any

from swarm.trace.format import Parent, TraceTurn
from swarm.trace.importers.draft import Draft, Session, Times, Usage, replace
from swarm.trace.importers.values import count_of, fields, items, scaled_ns, word

NOTES = (
    "it has no contents: prompts are made up, with the recorded lengths and shared blocks",
    "it has neither calls nor their results: the time after a reply that stopped for tools is theirs",
)
_MOST_BLOCK_TOKENS = 1 << 20
_MOST_BLOCKS = 1 << 20
"""The longest prompt."""


class Weka:
    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        draft.notes += NOTES
        self._ids: dict[Hashable, int] = {}
        """A block after those before it -> its id."""

    def add(self, document: Any) -> None:
        """A session. Raises ValueError for one whose blocks have another size than those of the one before."""
        document = fields(document)
        size = count_of(document.get("block_size"))
        if not size or size > _MOST_BLOCK_TOKENS or self._draft.block_tokens not in (None, size):
            raise ValueError(f"blocks of {size} tokens beside others of {self._draft.block_tokens}")
        self._draft.block_tokens = size
        session = self._draft.new_session(word(document.get("id")) or "session")
        scope = None if document.get("hash_id_scope") == "global" else session.name
        self._requests(session, items(document.get("requests")), scope, size)

    def _requests(self, session: Session, requests: list[Any], scope: str | None, size: int) -> None:
        waits: list[str] = []
        for request in map(fields, requests):
            if request.get("type") == "subagent":
                child = self._draft.new_session(f"{session.name}/{word(request.get('agent_id')) or 'agent'}")
                if session.turns:
                    child.parent = Parent(session=session.name, turn=len(session.turns))
                else:
                    self._draft.left_out["sub-agents begin before their session; they are sessions of their own"] += 1
                self._requests(child, items(request.get("requests")), scope, size)
                if request.get("status") != "async_launched" and child.parent:
                    waits.append(child.name)
            elif request.get("type") in ("n", "s") and 0 < (count_of(request.get("in")) or 0) <= size * _MOST_BLOCKS:
                self._request(session, request, scope, size, tuple(waits))
                waits = []
            else:
                self._draft.left_out["requests without a length are left out"] += 1

    def _request(
        self, session: Session, request: dict[str, Any], scope: str | None, size: int, waits: tuple[str, ...]
    ) -> None:
        tokens = count_of(request.get("in")) or 0
        sent = scaled_ns(request.get("t"), 1e9)
        took = scaled_ns(request.get("api_time"), 1e9)
        first = scaled_ns(request.get("ttft"), 1e9)
        known = sent is not None
        session.turn(
            None,
            Usage(tokens, None, count_of(request.get("out"))),
            Times(
                sent,
                sent + first if known and first is not None and sent is not None else None,
                sent + took if known and took is not None and sent is not None else None,
            ),
            finish=request.get("stop"),
            model=request.get("model"),
            streamed=request.get("type") == "s",
        )
        session.turns[-1] = self._with_blocks(session.turns[-1], request, scope, size, waits)

    def _with_blocks(
        self, turn: TraceTurn, request: dict[str, Any], scope: str | None, size: int, waits: tuple[str, ...]
    ) -> TraceTurn:
        """The ids name blocks alone; those of a trace name all that comes before them too."""
        before, blocks = -1, []
        hashes = items(request.get("hash_ids"))
        whole = -(-(turn.prompt_tokens or 0) // size)
        for block in hashes[:whole]:
            before = self._ids.setdefault(
                (scope, before, block if isinstance(block, int) else str(block)), len(self._ids)
            )
            blocks.append(before)
        while len(blocks) < whole:  # what no id names is nobody else's
            before = self._ids.setdefault((turn.session, turn.number, before, len(blocks)), len(self._ids))
            blocks.append(before)
        return replace(turn, blocks=tuple(blocks), results=waits)

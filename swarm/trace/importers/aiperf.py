"""Sessions as AIPerf writes and replays them: a line for each turn, which tells only what is new in it.

`session_id`, `input_length` (new tokens), `output_length`, `hash_ids` of the new tokens' blocks, and `delay` (ms) after
the reply before; a session's first line holds its whole beginning. Described by ai-dynamo/aiperf,
src/aiperf/dataset/agentic_code_gen/README.md.
"""

from collections import Counter
from itertools import groupby
from typing import Any

from swarm.trace.format import TraceMessage
from swarm.trace.importers.draft import Draft, Session, Times, Usage
from swarm.trace.importers.values import assistant, count_of, fields, items, scaled_ns, word

BLOCK_TOKENS = 512
NOTES = (
    "it has no contents: prompts are made up, with the recorded lengths and shared beginnings",
    "it does not say when replies ended: they take no time in it, and a delay is what came after one",
    "it does not say what called tools: all delays count as thinking",
)


def is_delta(document: dict[str, Any]) -> bool:
    return "session_id" in document and "input_length" in document


class AIPerf:
    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        draft.notes += NOTES
        self._lines: dict[str, list[tuple[int, int | None, int, tuple[int | str, ...]]]] = {}
        """The lines of each session: new tokens, reply, delay (ns), and the blocks of its first line."""

    def add(self, line: Any) -> None:
        """Raises ValueError for a line without lengths."""
        line = fields(line)
        new = count_of(line.get("input_length"))
        if not new:
            raise ValueError("no `input_length`")
        lines = self._lines.setdefault(word(line.get("session_id")) or "session", [])
        blocks = tuple(block if isinstance(block, int) else str(block) for block in items(line.get("hash_ids")))
        delay = scaled_ns(line.get("delay"), 1e6) or 0
        lines.append((new, count_of(line.get("output_length")), delay, () if lines else blocks))

    def end(self) -> None:
        """Beginnings are cut where other sessions leave them, so that each piece is a message that some share."""
        shares = Counter[tuple[int | str, ...]]()
        for lines in self._lines.values():
            blocks = lines[0][3]
            shares.update(blocks[: end + 1] for end in range(len(blocks)))
        for name, lines in self._lines.items():
            self._session(self._draft.new_session(name), lines, shares)

    def _session(
        self,
        session: Session,
        lines: list[tuple[int, int | None, int, tuple[int | str, ...]]],
        shares: "Counter[tuple[int | str, ...]]",
    ) -> None:
        now, tokens = 0, 0
        for number, (new, written, delay, blocks) in enumerate(lines):
            now, tokens = now + delay, tokens + new
            if number == 0 and blocks:
                session.prompt += self._beginning(new, blocks, shares)
            else:
                key = self._draft.keys.of([session.name, number])
                session.prompt.append(TraceMessage(role="user", key=key, tokens=new))
            session.turn(assistant(f"{session.name} {number}"), Usage(tokens, None, written), Times(now))
            tokens += written or 0

    def _beginning(
        self, tokens: int, blocks: tuple[int | str, ...], shares: "Counter[tuple[int | str, ...]]"
    ) -> list[TraceMessage]:
        messages: list[TraceMessage] = []
        places = groupby(range(len(blocks)), key=lambda at: shares[blocks[: at + 1]])
        runs = [list(run) for _, run in places]
        for run in runs:
            size = tokens if run is runs[-1] else min(tokens, len(run) * BLOCK_TOKENS)
            tokens -= size
            key = self._draft.keys.of(["blocks", blocks[: run[-1] + 1]])
            messages.append(TraceMessage(role="user" if messages else "system", key=key, tokens=size))
        return messages

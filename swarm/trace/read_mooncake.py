"""Arrivals with the hashes of their prompts' blocks, as Mooncake published them (Qin et al., FAST 2025).

A line has `timestamp` (ms), `input_length` and `output_length` (tokens), and `hash_ids`: one for each 512 tokens of the
prompt, the last for what is left, each naming all tokens up to its end. A request that goes on where an earlier one's
whole blocks end is the next turn of its session. A block that is followed by more than two others is the beginning of
many conversations and binds none together: of a conversation's last whole block two are known, its own half-filled
end and what came in its place.
"""

from pathlib import Path
from typing import Annotated

import msgspec

from swarm.errors import UsageError
from swarm.trace.documents import Lost, documents
from swarm.trace.format import Trace, TraceHeader, TraceTurn

BLOCK_TOKENS = 512
MOST_SUCCESSORS = 2
_NOTES = (
    "it has no contents: prompts are made up, with the recorded lengths and shared beginnings",
    "it does not say which requests belong together: sessions are made of prompts that continue each other",
    "it does not say when replies ended: the whole time from one arrival to the session's next counts as thinking",
    "it does not say what called tools",
)


class _Arrival(msgspec.Struct):
    timestamp: Annotated[float, msgspec.Meta(ge=0, le=1e12)]
    input_length: Annotated[int, msgspec.Meta(ge=1, le=1 << 30)]
    output_length: Annotated[int, msgspec.Meta(ge=0, le=1 << 30)]
    hash_ids: tuple[int, ...]

    @property
    def whole(self) -> tuple[int, ...]:
        """Its full blocks, which a later prompt may go on from."""
        return self.hash_ids[: self.input_length // BLOCK_TOKENS]


def read_mooncake(path: Path) -> Trace:
    """Raises UsageError with the number of a line that is no arrival; one that is damaged is left out."""
    arrivals, lost = [], Lost()
    for number, line in documents(path, lost):
        try:
            arrival = msgspec.convert(line, _Arrival)
        except msgspec.ValidationError as error:
            raise UsageError(f"{path}:{number}: no arrival: {error}") from None
        if len(arrival.hash_ids) != -(-arrival.input_length // BLOCK_TOKENS):
            raise UsageError(
                f"{path}:{number}: {len(arrival.hash_ids)} blocks of {BLOCK_TOKENS} do not make "
                f"{arrival.input_length} tokens"
            )
        arrivals.append(arrival)
    arrivals.sort(key=lambda arrival: arrival.timestamp)
    notes = (*_NOTES, f"{lost.lines} damaged lines are left out") if lost.lines else _NOTES
    header = TraceHeader(source="mooncake", block_tokens=BLOCK_TOKENS, notes=notes)
    return Trace(header, tuple(_turns(arrivals)))


def _turns(arrivals: list[_Arrival]) -> list[TraceTurn]:
    common = _common(arrivals)
    tails: dict[int, tuple[str, int]] = {}
    """The last whole block of each session that may go on -> its name, and its number of turns."""
    turns = []
    for number, arrival in enumerate(arrivals):
        own = [block for block in arrival.whole if block not in common]
        found = next((block for block in reversed(own) if block in tails), None)
        session, before = (f"s{number:06d}", 0) if found is None else tails.pop(found)
        if own:
            tails[own[-1]] = session, before + 1
        turns.append(
            TraceTurn(
                session=session,
                number=before + 1,
                t_ns=round(arrival.timestamp * 1e6),
                prompt_tokens=arrival.input_length,
                completion_tokens=arrival.output_length,
                blocks=arrival.hash_ids,
            )
        )
    return turns


def _common(arrivals: list[_Arrival]) -> set[int]:
    """Blocks that many conversations begin with."""
    after: dict[int, set[int]] = {}
    for arrival in arrivals:
        for block, following in zip(arrival.hash_ids, arrival.hash_ids[1:], strict=False):
            seen = after.setdefault(block, set())
            if len(seen) <= MOST_SUCCESSORS:
                seen.add(following)
    return {block for block, seen in after.items() if len(seen) > MOST_SUCCESSORS}

"""Where a request's time in the engine went: the simulator's own truth about why requests got slower."""

from typing import NamedTuple


class Spent(NamedTuple):
    """Seconds of one request (or of many, summed), which add up to its time in the engine, to the last token."""

    queue: float
    """In the queue until first scheduled, as vLLM's `request_queue_time_seconds` has it."""
    prefill_alone: float
    """Seconds that its prompt, less the part in the prefix cache, takes in an idle engine."""
    prefill_interference: float
    """Seconds that the wait for the first token took beyond that, without preemptions, and by which other prompts made
    the steps longer in which it was decoding."""
    preemption: float
    """From each preemption to the next token."""
    decode: float
    """The rest between the first token and the last: steps as long as they are without prompts."""

    def plus(self, other: "Spent") -> "Spent":
        return Spent(*map(sum, zip(self, other, strict=True)))


NOTHING = Spent(0.0, 0.0, 0.0, 0.0, 0.0)

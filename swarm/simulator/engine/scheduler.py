"""The engine without its clock and sockets: continuous batching over the contention model and the paged KV cache.

    engine.submit(request, now)         a request arrives
    engine.next_event()                 when something happens next, or None
    engine.begin(now) -> Step           plans a step: decoding requests first, then prompt chunks; says when it ends
    engine.complete() -> Step           applies it: who got a token, who is finished
    engine.cancel(request, now)         at any time, also inside a step

Times are seconds on the caller's time line. The rules are vLLM's (V1 scheduler): every running request gets its token
before prompts get the rest of `max_num_batched_tokens`; waiting requests are admitted first come, first served, and
not in a step that preempted; what runs out of KV blocks preempts the youngest running request, whose tokens are
computed again, but for what the prefix cache still holds of them. Planning a step costs nothing for the requests that
just go on decoding: their contexts are kept as a sum, and only those that fill a block or end in it are looked at.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, Literal

from swarm.simulator.engine.cost import CostModel, Terms, bounded_attention, prefill_attention
from swarm.simulator.engine.kv import KVCache
from swarm.simulator.engine.time_breakdown import Spent
from swarm.simulator.profiles.profiles import Profile

FinishReason = Literal["stop", "length", "tool_calls", "abort"]


class Request:
    """One completion. What the constructor takes is the caller's; the rest is the engine's, and may be read.

    `hashes` are the chained hashes of all full blocks of prompt and reply; `output_tokens` is the length of the reply.
    """

    __slots__ = (
        "arrived_at",
        "blocks",
        "cached_tokens",
        "computed",
        "decoding_since",
        "dropped",
        "finish_reason",
        "finished_at",
        "first_token_at",
        "generated",
        "hashes",
        "output_tokens",
        "owner",
        "preempted_at",
        "preempted_early_s",
        "preempted_s",
        "preemptions",
        "prefill_alone_s",
        "prefill_stall_s",
        "prompt_tokens",
        "queued_at",
        "ready_at",
        "request_id",
        "scheduled_at",
        "window_blocks",
    )

    def __init__(
        self,
        prompt_tokens: int,
        output_tokens: int,
        hashes: Sequence[int] = (),
        finish_reason: FinishReason = "stop",
        owner: Any = None,
        request_id: str = "",
    ) -> None:
        self.prompt_tokens = prompt_tokens
        self.output_tokens = output_tokens
        self.hashes = hashes
        self.finish_reason: FinishReason = finish_reason
        self.owner = owner
        self.request_id = request_id
        self.arrived_at = 0.0
        self.ready_at = 0.0
        """When the API has done its part."""
        self.queued_at = 0.0
        """When the engine took it into its queue, which it does between two steps."""
        self.scheduled_at: float | None = None
        self.first_token_at: float | None = None
        self.finished_at: float | None = None
        self.preempted_at: float | None = None
        self.preempted_s = 0.0
        """Time without progress between a preemption and the next token."""
        self.preempted_early_s = 0.0
        """The part of it before the first token, in seconds."""
        self.prefill_alone_s = 0.0
        """Seconds that its prompt takes in an idle engine with the same prefix cached; known with the first token."""
        self.prefill_stall_s = 0.0
        """By how much other requests' prompt chunks made the steps longer that this one decoded in."""
        self.preemptions = 0
        self.cached_tokens: int | None = None
        """Prompt tokens that the prefix cache served when it was first scheduled."""
        self.blocks: list[int] = []
        """Its tokens' blocks in order, the first `dropped` of them given back."""
        self.dropped = 0
        self.window_blocks: list[int] = []
        """Beside them, room for the layers that keep only a window."""
        self.computed = 0
        """Tokens whose keys and values are in its blocks; of a decoding request, as of step `decoding_since`."""
        self.generated = 0
        """Tokens of the reply so far; of a decoding request, as of step `decoding_since`."""
        self.decoding_since: int | None = None

    @property
    def queue_s(self) -> float | None:
        return None if self.scheduled_at is None else self.scheduled_at - self.queued_at

    @property
    def prefill_s(self) -> float | None:
        if self.scheduled_at is None or self.first_token_at is None:
            return None
        return self.first_token_at - self.scheduled_at

    @property
    def decode_s(self) -> float | None:
        """From the first token to the last; None before the end. Preemptions are part of it, as vLLM has it."""
        if self.first_token_at is None or self.finished_at is None:
            return None
        return self.finished_at - self.first_token_at

    @property
    def spent(self) -> Spent | None:
        """Where its time in the engine went; None before its end."""
        if self.first_token_at is None or self.finished_at is None or self.queue_s is None:
            return None
        waited = self.first_token_at - self.ready_at - self.queue_s - self.preempted_early_s
        streamed = self.finished_at - self.first_token_at - (self.preempted_s - self.preempted_early_s)
        return Spent(
            queue=self.queue_s,
            prefill_alone=self.prefill_alone_s,
            prefill_interference=waited - self.prefill_alone_s + self.prefill_stall_s,
            preemption=self.preempted_s,
            decode=streamed - self.prefill_stall_s,
        )


class Step:
    """One forward pass. `begin` fills in what it costs, `complete` what it brought."""

    __slots__ = (
        "admitted",
        "bounded_pairs",
        "decodes",
        "end",
        "finished",
        "first",
        "number",
        "pairs",
        "preempted",
        "prefill_tokens",
        "stalls",
        "start",
        "terms",
        "tokens",
    )

    def __init__(self, number: int, start: float) -> None:
        self.number = number
        self.start = start
        self.end = start
        self.terms: Terms | None = None
        self.decodes = 0
        self.prefill_tokens = 0
        self.pairs = 0
        """Query-key pairs of its prompt tokens; `bounded_pairs`: as far as the profile's window reaches."""
        self.bounded_pairs = 0
        self.admitted: list[Request] = []
        self.preempted: list[Request] = []
        self.tokens: list[Request] = []
        """Every request that got one token, oldest first."""
        self.first: list[Request] = []
        """Those of `tokens` for which it was the first one."""
        self.stalls: list[float] = []
        """Seconds since the token before, of each of `tokens` that had been preempted in between."""
        self.finished: list[Request] = []
        """Those of `tokens` for which it was the last one."""


class Engine:
    """One model's scheduler and cache. Not thread-safe; the caller owns the time."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.cost = CostModel(profile)
        self.kv = KVCache(profile.kv_blocks)
        self.step: Step | None = None
        """The step that is being computed."""
        self.prompt_tokens = 0
        """Prompt tokens of requests that got their first token, as vLLM counts them; so are `cached_tokens`."""
        self.cached_tokens = 0
        self.generation_tokens = 0
        self.preemptions = 0
        self.cache_queries = 0
        """Prompt tokens looked up in the prefix cache; `cache_hits` of them were there. Not again after preemption."""
        self.cache_hits = 0
        self.steps = 0
        self._api_free_at = 0.0
        self._arriving: deque[Request] = deque()
        self._waiting: deque[Request] = deque()
        self._running: dict[Request, None] = {}  # oldest first; each is in one of the next two
        self._prefilling: dict[Request, None] = {}
        self._decoding: dict[Request, None] = {}
        self._context = 0  # sum of the decoding requests' computed tokens
        self._window = profile.window
        self._is_windowed_throughout = profile.is_windowed_throughout
        self._bounded = 0  # the same, each counted up to the window
        self._growing = 0  # decoding requests whose context is still shorter than the window
        self._outgrown: dict[int, dict[Request, None]] = {}  # which of them reach it, by step
        self._full_blocks: list[dict[Request, None]] = [{} for _ in range(profile.block_size)]  # by step % block size
        self._last_tokens: dict[int, dict[Request, None]] = {}  # by step
        self._completing: list[Request] = []  # whose prompt ends in the current step
        self._blocked: tuple[Request, int] | None = None  # the head of the queue that did not fit, and the cache then
        self._cache_version = 0
        self._prefill_excess = 0.0  # seconds by which prompt chunks have lengthened steps that others decoded in

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def submit(self, request: Request, now: float) -> None:
        """A request arrives; the engine has it when the API has done its part. ValueError if it can never fit."""
        total = request.prompt_tokens + request.output_tokens
        if request.prompt_tokens < 1 or request.output_tokens < 1:
            raise ValueError("a request has at least one prompt token and one output token")
        if total > self.profile.max_context:
            raise ValueError(f"{total} tokens of prompt and reply, but a context holds {self.profile.max_context}")
        if not self.profile.enable_prefix_caching:
            request.hashes = ()
        request.arrived_at = now
        busy = self.profile.api_request_s + self.profile.api_token_s * request.prompt_tokens
        self._api_free_at = max(now, self._api_free_at) + busy
        request.ready_at = self._api_free_at + self.profile.api_overhead_s
        self._arriving.append(request)

    def next_event(self) -> float | None:
        """When the current step ends; between steps, when the next one can begin (in the past: at once); None: idle."""
        if self.step is not None:
            return self.step.end
        if self._running or self._waiting:
            return float("-inf")
        return self._arriving[0].ready_at if self._arriving else None

    def begin(self, now: float) -> Step | None:
        """Plans the step that starts now; None if there is nothing to do. Its `end` is when to call `complete`."""
        if self.step is not None:
            raise RuntimeError("the current step is not complete")
        while self._arriving and self._arriving[0].ready_at <= now:
            request = self._arriving.popleft()
            request.queued_at = now  # as in vLLM, whose queue time leaves out the wait for the step under way
            self._waiting.append(request)
        if not self._running and not self._waiting:
            return None
        step = Step(self.steps, now)
        self._grow_decoding(step)
        self._schedule_prompts(step)
        decodes = step.decodes = len(self._decoding)
        context, bounded = self._context + decodes, self._bounded + self._growing
        sampled = decodes + len(self._completing)
        step.terms = self.cost.terms(
            decodes, context, step.prefill_tokens, step.pairs, sampled, bounded, step.bounded_pairs
        )
        duration = step.terms.total
        if decodes and step.prefill_tokens:
            self._prefill_excess += duration - self.cost.terms(decodes, context, bounded=bounded).total
        step.end = now + duration
        self.step = step
        return step

    def complete(self) -> Step:
        """Ends the current step: its tokens exist from `step.end` on."""
        step = self.step
        if step is None:
            raise RuntimeError("no step has begun")
        self.step = None
        self.steps += 1
        step.tokens = list(self._decoding)
        self._context += len(step.tokens)
        if self._growing:
            self._bounded += self._growing
            self._growing -= len(self._outgrown.pop(self.steps, ()))
        for request in self._last_tokens.pop(step.number, ()):
            self._stop_decoding(request)
            step.finished.append(request)
        for request in self._completing:
            self._end_prompt(request, step)
        self._completing = []
        for request in step.finished:
            request.finished_at = step.end
            self._leave(request)
        self.generation_tokens += len(step.tokens)
        return step

    def cancel(self, request: Request, now: float) -> bool:
        """Drops a request; False if it has already ended. The current step takes as long as it takes."""
        if request.finished_at is not None:
            return False
        if request in self._running:
            if request.decoding_since is not None:
                self._stop_decoding(request)
            elif request in self._completing:
                self._completing.remove(request)
            self._leave(request)
        elif request in self._waiting:
            self._waiting.remove(request)
        else:
            self._arriving.remove(request)
        request.finish_reason = "abort"
        request.finished_at = now
        return True

    # Decoding

    def _grow_decoding(self, step: Step) -> None:
        """Gives a block to each decoding request whose last one is full, oldest first; preempts where none is left."""
        for request in list(self._full_blocks[step.number % self.profile.block_size]):
            if request.decoding_since is None:
                continue  # it has just been preempted for the sake of an older one
            computed = request.computed + step.number - request.decoding_since
            self._give_back(request, computed)
            if not self._make_room(self._missing_blocks(request, computed + 1), request, step):
                continue
            self._register_last(request, computed)
            self._allocate(request, computed + 1)

    def _start_decoding(self, request: Request) -> None:
        """From the next step on (number `self.steps`) it gets one token a step."""
        request.decoding_since = self.steps
        request.prefill_stall_s -= self._prefill_excess
        self._decoding[request] = None
        self._context += request.computed
        self._bounded += min(request.computed, self._window)
        if request.computed < self._window:
            self._growing += 1
            self._outgrown.setdefault(self.steps + self._window - request.computed, {})[request] = None
        self._full_blocks[(self.steps - request.computed) % self.profile.block_size][request] = None
        last = self.steps + request.output_tokens - request.generated - 1
        self._last_tokens.setdefault(last, {})[request] = None

    def _stop_decoding(self, request: Request) -> None:
        """Takes it out of the sums and writes down how far it has come."""
        since = request.decoding_since
        assert since is not None
        del self._decoding[request]
        del self._full_blocks[(since - request.computed) % self.profile.block_size][request]
        last = since + request.output_tokens - request.generated - 1
        if last in self._last_tokens:
            self._last_tokens[last].pop(request, None)
        done = self.steps - since
        if request.computed + done < self._window:
            self._growing -= 1
            del self._outgrown[since + self._window - request.computed][request]
        request.computed += done
        request.generated += done
        request.decoding_since = None
        request.prefill_stall_s += self._prefill_excess
        self._context -= request.computed
        self._bounded -= min(request.computed, self._window)

    # Prompts

    def _schedule_prompts(self, step: Step) -> None:
        """Spends what decoding leaves of the step's tokens on prompts."""
        budget = self.profile.max_num_batched_tokens - len(self._decoding)
        for request in list(self._prefilling):
            if budget and request in self._running:
                tokens = min(budget, self._known(request) - request.computed, self.profile.chunk_tokens)
                self._give_back(request, request.computed)
                if self._make_room(self._missing_blocks(request, request.computed + tokens), request, step):
                    self._schedule_chunk(request, tokens, step)
                    budget -= tokens
        if step.preempted:
            return
        while budget and self._waiting and len(self._running) < self.profile.max_num_seqs:
            request = self._waiting[0]
            if not self._admit(request, budget, step.start):
                break
            self._waiting.popleft()
            step.admitted.append(request)
            tokens = min(budget, self._known(request) - request.computed, self.profile.chunk_tokens)
            self._schedule_chunk(request, tokens, step)
            budget -= tokens

    def _admit(self, request: Request, budget: int, now: float) -> bool:
        """Lets it run with what the prefix cache has of it, if its prompt (or first chunk) fits the free blocks."""
        if self._blocked == (request, self._cache_version):
            return False
        size, known = self.profile.block_size, self._known(request)
        # The last token is always computed: its logits are what the first token is sampled from.
        hits = self.kv.lookup(request.hashes, (known - 1) // size)
        cached = len(hits) * size
        must_fit = known if self.profile.admission == "full_prompt" else min(known, cached + budget)
        outside = self._outside(cached)
        if not self.kv.can_allocate(self._to_admit(must_fit, len(hits), budget), besides=hits[outside:]):
            self._blocked = (request, self._cache_version)
            return False
        self.kv.acquire(hits[outside:])
        request.blocks, request.dropped = hits, outside
        request.computed = cached
        self._running[request] = self._prefilling[request] = None
        if request.scheduled_at is None:
            request.scheduled_at = now
            request.cached_tokens = cached
            if self.profile.enable_prefix_caching:
                self.cache_queries += known
                self.cache_hits += cached
        return True

    def _to_admit(self, tokens: int, cached_blocks: int, budget: int) -> int:
        """Blocks to be free for a request of `tokens`; where old ones are given back, no more than are held at once."""
        size = self.profile.block_size
        blocks = -(-tokens // size) - cached_blocks
        if self._is_windowed_throughout:
            blocks = min(blocks, -(-(self._window + budget) // size) + 1)
        return blocks + self.profile.window_blocks(tokens)

    def _schedule_chunk(self, request: Request, tokens: int, step: Step) -> None:
        before = request.computed
        self._allocate(request, before + tokens)
        # As in vLLM they can be shared at once: who shares them in this very step reads what the step writes first.
        size = self.profile.block_size
        for at in range(before // size, min((before + tokens) // size, len(request.hashes))):
            self.kv.register(request.blocks[at], request.hashes[at])
        self._cache_version += 1
        request.computed = before + tokens
        step.prefill_tokens += tokens
        if request.computed == self._known(request):
            self._completing.append(request)
        step.pairs += prefill_attention(before, tokens)
        step.bounded_pairs += bounded_attention(before, tokens, self._window)

    def _end_prompt(self, request: Request, step: Step) -> None:
        """All its tokens are computed, so the step has sampled the next: the first, or the one after a preemption."""
        step.tokens.append(request)
        request.generated += 1
        del self._prefilling[request]
        stall = 0.0 if request.preempted_at is None else step.end - request.preempted_at
        request.preempted_s += stall
        request.preempted_at = None
        if request.first_token_at is None:
            request.first_token_at = step.end
            request.preempted_early_s = request.preempted_s
            request.prefill_alone_s = self.cost.prefill_alone(
                request.cached_tokens or 0, request.prompt_tokens, self.profile.chunk_tokens
            )
            step.first.append(request)
            self.prompt_tokens += request.prompt_tokens
            self.cached_tokens += request.cached_tokens or 0
        else:
            step.stalls.append(stall)
        if request.generated == request.output_tokens:
            step.finished.append(request)
        else:
            self._start_decoding(request)

    # Blocks

    def _known(self, request: Request) -> int:
        """Tokens to compute before the next one can be sampled; after a preemption the reply so far is among them."""
        return request.prompt_tokens + request.generated

    def _missing_blocks(self, request: Request, tokens: int) -> int:
        missing = -(-tokens // self.profile.block_size) - len(request.blocks)
        return missing + self.profile.window_blocks(tokens) - len(request.window_blocks)

    def _allocate(self, request: Request, tokens: int) -> None:
        request.blocks += self.kv.allocate(-(-tokens // self.profile.block_size) - len(request.blocks))
        if more := self.profile.window_blocks(tokens) - len(request.window_blocks):
            request.window_blocks += self.kv.allocate(more)

    def _outside(self, computed: int) -> int:
        """Leading blocks that no layer looks at any more, where all layers have a window."""
        return max(0, computed - self._window) // self.profile.block_size if self._is_windowed_throughout else 0

    def _give_back(self, request: Request, computed: int) -> None:
        """Releases the blocks outside the window; whoever sends the same prefix still finds them until eviction."""
        outside = self._outside(computed)
        if outside > request.dropped:
            self.kv.release(request.blocks[request.dropped : outside])
            request.dropped = outside

    def _make_room(self, blocks: int, request: Request, step: Step) -> bool:
        """Preempts the youngest until `blocks` are free; False if that was the request itself."""
        while self.kv.free < blocks:
            youngest = next(reversed(self._running))
            self._preempt(youngest, step)
            if youngest is request:
                return False
        return True

    def _preempt(self, request: Request, step: Step) -> None:
        if request.decoding_since is not None:
            self._stop_decoding(request)
        self._leave(request)
        request.computed = 0
        request.preemptions += 1
        if request.preempted_at is None:
            request.preempted_at = step.start
        self._waiting.appendleft(request)
        self.preemptions += 1
        step.preempted.append(request)

    def _leave(self, request: Request) -> None:
        """Its blocks are free for others, and found by who shares its prefix until then."""
        del self._running[request]
        self._prefilling.pop(request, None)
        self._register_last(request, request.computed)
        self.kv.release(request.blocks[request.dropped :] + request.window_blocks)
        request.blocks, request.window_blocks, request.dropped = [], [], 0
        self._cache_version += 1

    def _register_last(self, request: Request, computed: int) -> None:
        """Registers the block that the last of its computed tokens has filled, if it has."""
        count, rest = divmod(computed, self.profile.block_size)
        if count and not rest and count <= len(request.hashes):
            self.kv.register(request.blocks[count - 1], request.hashes[count - 1])

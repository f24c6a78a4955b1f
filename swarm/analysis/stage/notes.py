"""Notes on a stage: facts that a reader should know and that do not make its numbers invalid."""

from collections import Counter
from collections.abc import Iterator, Sequence

from swarm.analysis.plan import Limits
from swarm.analysis.stage.totals import best_hit_rate, enough_jobs, tool_errors, total
from swarm.analysis.trial.client import processes, timing_of
from swarm.analysis.trial.jobs import ENOUGH_PER_AGENT
from swarm.analysis.trial.trial import Trial
from swarm.analysis.trial.warmup import warmup
from swarm.recording.records import WindowEnd
from swarm.recording.redaction import one_line
from swarm.results import Code, Finding
from swarm.text import counted, milliseconds, percent

FIRST_TOKENS = 8
"""More tokens than this in a first chunk came before it: speculative decoding makes fewer in one step."""
CACHE_MISSED = 0.05
"""Share of the prompt tokens, prefilled again, that is worth a note."""
Note = tuple[Code, str]


def notes(agents: int, trials: Sequence[Trial], limits: Limits) -> list[Finding]:
    """Each note once. `trials`: those that ran, at least one."""
    found = [
        *_on_entering(trials),
        *_on_jobs(agents, trials),
        *_on_calls(trials),
        *_on_replies(trials),
        *_on_cache(trials),
        *_on_counters(trials),
        *_on_windows(agents, trials),
        *(_on_client(trials, limits) if limits.real_time else ()),
    ]
    return [Finding(kind="note", code=code, text=text) for code, text in dict.fromkeys(found)]


def _on_entering(trials: Sequence[Trial]) -> Iterator[Note]:
    entered = [trial.began.entered for trial in trials if trial.began.entered]
    if failed := sum(each.failed for each in entered):
        message = next(each.message for each in entered if each.failed)
        yield (
            "contexts_not_prefilled",
            f"{failed} of {sum(each.agents for each in entered)} contexts could not be prefilled before the stage "
            f"({one_line(message or '')}), so the warm-up, and perhaps the window, has their prefill",
        )


def _on_jobs(agents: int, trials: Sequence[Trial]) -> Iterator[Note]:
    jobs, needed = sum(trial.jobs.finished for trial in trials), ENOUGH_PER_AGENT * agents
    if not enough_jobs(trials, agents):
        yield (
            "too_few_jobs",
            f"too few jobs: {jobs} finished in the window, {needed} needed ({ENOUGH_PER_AGENT} per agent), so job "
            "times, jobs/h, TTFAT and slowdown are left out; raise stage.duration",
        )
    if cut := total(trial.jobs.outcomes for trial in trials).get("context_limit", 0):
        yield (
            "context_limit",
            f"cut off by the context: {cut} of {jobs} finished jobs ({percent(cut / jobs, 2)}) hit the context limit "
            "before their work was done, yet count in job times and jobs/h; raise agents.context",
        )


def _on_calls(trials: Sequence[Trial]) -> Iterator[Note]:
    if overruns := sum(trial.overruns for trial in trials):
        calls = f"{counted(overruns, 'tool call')} overran the planned time"
        yield "tools_overran", f"{calls} because this machine was busy; job times include it"
    mistakes = tool_errors(trials)
    if lost := mistakes.get("lost"):
        ended = sum(trial.requests.ended_for_tools for trial in trials)
        yield "tool_calls_lost", f"lost tool calls: {lost} of {ended} replies that ended for tool calls held none"
    if mistaken := mistakes.get("unknown", 0) + mistakes.get("malformed", 0):
        yield (
            "tool_calls_wrong",
            f"the model made {counted(mistaken, 'invalid tool call')} ({mistakes.get('unknown', 0)} to unknown tools, "
            f"{mistakes.get('malformed', 0)} with malformed arguments); each was answered with an error",
        )


def _on_replies(trials: Sequence[Trial]) -> Iterator[Note]:
    """Replies that came whole, and yet not as they should."""
    if truncated := sum(trial.requests.truncated for trial in trials):
        replies = counted(truncated, "reply", "replies")
        yield "truncated", f"truncated: {replies} ended at a limit and not at the planned length"
    firsts = sum((trial.requests.first_tokens for trial in trials), Counter[int]())
    if late := Counter({tokens: count for tokens, count in firsts.items() if tokens > FIRST_TOKENS}):
        yield (
            "ttft_upper_bound",
            f"TTFT is an upper bound: in {late.total() / firsts.total():.0%} of the replies the first chunk "
            f"with text already held more than {FIRST_TOKENS} tokens (up to {max(late)}), so the server had generated "
            "some earlier and buffered them, or sent them in a form that swarm does not read; TPOT leaves them out",
        )
    if doubts := sum(trial.requests.doubts for trial in trials):
        said = next(trial.requests.doubt for trial in trials if trial.requests.doubt)
        yield (
            "token_counts_impossible",
            f"impossible token counts came with {counted(doubts, 'request')} and are treated as unknown; the first: "
            f"{said}",
        )
    if filtered := total(trial.requests.finish_reasons for trial in trials).get("content_filter", 0):
        yield (
            "content_filter",
            f"filtered: {counted(filtered, 'reply', 'replies')} that the server's content filter ended count as well",
        )
    if uncounted := sum(trial.requests.uncounted for trial in trials):
        text = f"{counted(uncounted, 'request')} left out of all rates because the server did not count the tokens"
        yield "usage_missing", text


def _on_cache(trials: Sequence[Trial]) -> Iterator[Note]:
    cached = sum(trial.requests.cached_tokens or 0 for trial in trials)
    prompt = sum(trial.requests.prompt_tokens or 0 for trial in trials)
    told = any(trial.requests.cached_tokens is not None for trial in trials)
    best = best_hit_rate(trials)
    if told and best is not None and (missed := best - cached / prompt) >= CACHE_MISSED:
        yield (
            "cache_missed",
            f"prefix cache: {percent(cached / prompt)} of the prompt tokens were cached where {percent(best)} could "
            f"have been; the other {percent(missed)} were prefilled again, as the server's cache gave them up, or "
            "prompts changed near their beginning",
        )


def _on_counters(trials: Sequence[Trial]) -> Iterator[Note]:
    for trial in trials:
        if why := _counters_skipped(trial):
            yield "counters_not_checked", f"token counts were not checked against the server's own counters{why}"


def _counters_skipped(trial: Trial) -> str | None:
    if trial.window.holes:
        return " because the soak was interrupted"
    if trial.lost:
        return " because those of lost shards are missing"
    if trial.ended is None or trial.ended.counters:
        return None
    return ": it has none, or they were not read"


def _on_windows(agents: int, trials: Sequence[Trial]) -> Iterator[Note]:
    for trial in trials:
        if trial.closed:
            yield from (("until_not_reached", text) for text in _too_early(trial.closed))
    # A soak whose pattern lets agents rest never settles, and is not meant to.
    constant = all(trial.began.planned_alive in (None, agents) for trial in trials)
    settled = warmup([trial.output for trial in trials]) if constant else None
    if settled and (complaint := settled.complaint()):
        yield "warmup", complaint


def _too_early(closed: WindowEnd) -> Iterator[str]:
    """Complaints about a window that ran to its longest and had still not seen enough."""
    if closed.metric and closed.asked is not None and (closed.reached is None or closed.reached > closed.asked):
        known = "unknown" if closed.reached is None else f"known to ± {percent(closed.reached, 2)}"
        yield (
            f"stage.until: {closed.metric} was {known} at the end of the longest window, ± {percent(closed.asked, 2)} "
            "needed; raise stage.until.max"
        )
    for name, asked, done in (("turns", closed.turns_asked, closed.turns), ("jobs", closed.jobs_asked, closed.jobs)):
        if asked is not None and (done or 0) < asked:
            yield (
                f"stage.until: {done or 0} {name} were done at the end of the longest window, {asked} needed; raise "
                "stage.until.max"
            )


def _on_client(trials: Sequence[Trial], limits: Limits) -> Iterator[Note]:
    watched = processes(trial.client for trial in trials)
    if not watched:
        yield "client_not_watched", "the load generator did not monitor itself in the window, so that check is missing"
        return
    timing = timing_of(watched)
    lag, error = timing.lag_p99_s(), timing.p99_s()
    if lag is None or error is None or lag <= limits.max_lag_s or error > limits.max_lag_s:
        return
    yield (
        "chunks_read_late",
        f"swarm read chunks up to {milliseconds(lag)} late (p99), which delayed agents as much; the measured times are "
        f"still right to {milliseconds(error, 2)}, as the kernel stamps the chunks",
    )

"""Sessions are told apart by what prompts repeat: histories that grow, are rewritten, begin alike, and fork."""

from swarm.proxy.sessions import Message, Request, Response, Sessions, opening, quote


def said(text, role="user", calls=()):
    return Message(key=f"{role}:{text}", gist=f"{role}:{text.strip()}", role=role, calls=tuple(calls))


def text_of(message):
    return message.key.partition(":")[2]


SYSTEM = said("you are an agent", "system")


class Recorded(Sessions):
    """Turns as they end, by name: `turn(prompt, reply, at)` takes ten units of time."""

    def turn(self, prompt, reply, at, *, whole=True, quotes=(), text="", until=None):
        asked = Request(prompt, at, opening(text))
        return self._take(
            asked, reply, Response(reply, tuple(filter(None, map(quote, quotes))), until or at + 10, whole)
        )

    def spoken(self, prompt, reply, at, *, quotes=(), tools=True):
        """The same with texts: those that the messages are made of."""
        texts = [text_of(message) for message in prompt]
        said = [text for message, text in zip(prompt, texts, strict=True) if message.role == "user"]
        asked = Request(prompt, at, opening("\n".join(said[:1])), texts, tools)
        quoted = tuple(filter(None, map(quote, quotes)))
        return self._take(asked, reply, Response(reply, quoted, at + 10, True, text_of(reply)))

    def _take(self, asked, reply, answered):
        session = self.of(asked)
        parent = self.begin(session, asked) if session.turns == 0 else None
        results = self.results(session, asked)
        self.take(session, asked, answered)
        self.seen = [*getattr(self, "seen", []), (session.name, results)]
        return session.name if parent is None else (session.name, parent)


def answer(text, *calls):
    return said(text, "assistant", calls)


def result(text, call):
    return said(text, "tool", [call])


def test_a_prompt_that_goes_on_with_the_reply_is_the_sessions_next_turn():
    sessions, first = Recorded(), [SYSTEM, said("mend it")]
    assert sessions.turn(first, answer("looking", "c1"), 0) == "s1"
    longer = [*first, answer("looking", "c1"), result("a file", "c1")]
    assert sessions.turn(longer, answer("done"), 20) == "s1"
    assert sessions.turn([*longer, answer("done"), said("thanks")], answer("bye"), 40) == "s1"
    assert len(sessions) == 1


def test_two_conversations_that_begin_alike_are_told_apart_while_both_wait():
    sessions, first = Recorded(), [SYSTEM, said("mend it")]
    assert sessions.turn(first, answer("one"), 0) == "s1"
    assert sessions.turn(first, answer("two"), 5) == "s2"  # sent before the first had its reply
    assert sessions.turn([*first, answer("two"), said("go on")], answer("x"), 30) == "s2"
    assert sessions.turn([*first, answer("one"), said("go on")], answer("y"), 31) == "s1"


def test_a_conversation_that_begins_like_one_that_ended_is_another():
    sessions, first = Recorded(), [SYSTEM, said("mend it")]
    assert sessions.turn(first, answer("one"), 0) == "s1"
    assert sessions.turn(first, answer("one"), 100) == "s2"


def test_a_request_that_is_made_again_after_a_failure_belongs_to_the_same_session():
    sessions, first = Recorded(), [SYSTEM, said("mend it")]
    assert sessions.turn(first, None, 0, whole=False) == "s1"
    assert sessions.turn(first, answer("one"), 20) == "s1"


def test_a_reply_that_the_client_writes_down_otherwise_is_still_that_reply():
    sessions, first = Recorded(), [SYSTEM, said("mend it")]
    sessions.turn(first, answer("one"), 0)
    sessions.turn(first, answer("two"), 5)
    assert sessions.turn([*first, answer(" one\n"), said("go on")], answer("x"), 30) == "s1"


def test_a_system_message_that_changes_each_time_does_not_hide_a_session():
    sessions = Recorded()
    assert sessions.turn([said("now 10:00", "system"), said("mend it")], answer("one"), 0) == "s1"
    later = [said("now 10:01", "system"), said("mend it"), answer("one"), said("and?")]
    assert sessions.turn(later, answer("two"), 20) == "s1"


def test_a_history_whose_old_results_were_dropped_is_known_by_the_calls_in_it():
    sessions, first = Recorded(), [SYSTEM, said("mend it")]
    sessions.turn(first, answer("looking", "c1"), 0)
    sessions.turn([*first, answer("looking", "c1"), result("a file", "c1")], answer("more", "c2"), 20)
    cut = [SYSTEM, said("summary so far"), answer("more", "c2"), result("another", "c2")]
    assert sessions.turn(cut, answer("done"), 40) == "s1"


def test_ids_of_calls_that_two_sessions_share_prove_nothing():
    sessions = Recorded()
    sessions.turn([SYSTEM, said("one")], answer("looking", "call_0"), 0)
    sessions.turn([SYSTEM, said("two")], answer("looking", "call_0"), 5)
    third = [SYSTEM, said("three"), answer("else", "call_0"), result("r", "call_0")]
    assert sessions.turn(third, answer("x"), 40) == "s3"


def test_most_of_a_prompt_is_enough_where_its_end_was_rewritten():
    sessions = Recorded()
    long = [SYSTEM, said("mend it"), answer("a"), said("b"), answer("c"), said("d")]
    assert sessions.turn(long, answer("e"), 0) == "s1"
    assert sessions.turn([*long[:5], said("rather this")], answer("f"), 20) == "s1"


def test_the_same_system_prompt_alone_makes_no_session():
    sessions = Recorded()
    assert sessions.turn([SYSTEM, said("one job")], answer("a"), 0) == "s1"
    assert sessions.turn([SYSTEM, said("another job")], answer("b"), 20) == "s2"


def test_a_sub_agent_has_the_parent_whose_call_its_first_message_repeats():
    sessions, first = Recorded(), [SYSTEM, said("mend it")]
    part = "look  at the tests and say\nwhat they expect"
    assert sessions.turn(first, answer("delegating", "c1"), 0, quotes=[part]) == "s1"
    child = [said("you are a helper", "system"), said("part")]
    text = f"A part of a job: {part.replace('  ', ' ')}. Be brief."
    assert sessions.turn(child, answer("they expect"), 20, text=text) == ("s2", ("s1", 1))
    assert sessions.turn([*first, answer("delegating", "c1"), result("they expect", "c1")], answer("ok"), 40) == "s1"


def test_an_argument_of_a_few_words_makes_nobody_a_parent():
    sessions = Recorded()
    sessions.turn([SYSTEM, said("one")], answer("reading", "c1"), 0, quotes=["src/app/main.py", "pytest -q tests"])
    assert sessions.turn([SYSTEM, said("two")], answer("x"), 20, text="run pytest -q tests in src/app/main.py") == "s2"


def test_a_call_that_was_made_later_starts_no_earlier_session():
    sessions, text = Recorded(), "look at the tests and say what they expect"
    sessions.turn([SYSTEM, said("one")], answer("delegating", "c1"), 0, quotes=[text], until=50)
    assert sessions.turn([said("two")], answer("x"), 20, text=text, until=60) == "s2"


JOB = "Find out why the total of the cart is wrong and mend it."
SUMMARY = (
    "The total of the cart mixed cents and euros. cart.py was changed to count in cents, its tests pass, and what is "
    "left to do is to look at report.py, which formats the total for the monthly mail."
)
TOOLS = said("you are an agent with tools", "system")


def worked(sessions):
    """A session of two turns, from 0 to 30."""
    first = [TOOLS, said(JOB)]
    sessions.spoken(first, answer("looking", "c1"), 0, quotes=["read cart.py and all of its tests"])
    longer = [*first, answer("looking", "c1"), result("a file", "c1")]
    assert sessions.spoken(longer, answer("I changed it."), 20) == "s1"
    return [*longer, answer("I changed it.")]


def test_a_session_whose_history_became_a_summary_goes_on():
    sessions = Recorded()
    history = worked(sessions)
    assert sessions.spoken([*history, said("Summarise the conversation so far.")], answer(SUMMARY), 40) == "s1"
    compacted = [TOOLS, said(f"This goes on from an earlier conversation. Summary:\n{SUMMARY}"), said("Go on.")]
    assert sessions.spoken(compacted, answer("report.py next", "c2"), 60) == "s1"
    assert sessions.spoken([*compacted, answer("report.py next", "c2"), result("x", "c2")], answer("done"), 80) == "s1"
    assert len(sessions) == 1


def test_a_summariser_of_a_transcript_is_a_call_beside_its_session_and_no_sub_agent():
    sessions = Recorded()
    worked(sessions)
    transcript = said(f"Summarise: user: {JOB} assistant: looking, read cart.py and all of its tests. tool: a file")
    summarise = [said("you write summaries", "system"), transcript]
    assert sessions.spoken(summarise, answer(SUMMARY), 40, tools=False) == ("s2", ("s1", 2))
    compacted = [TOOLS, said("What did we do so far?"), answer(SUMMARY), said("Go on.")]
    assert sessions.spoken(compacted, answer("report.py next"), 60) == "s1"


def test_thirty_compactions_of_a_job_are_one_session():
    sessions = Recorded()
    worked(sessions)
    for number in range(30):
        at, summary = 40 * (number + 1), f"{SUMMARY} This is summary {number}."
        transcript = said(f"Summarise: user: {JOB} assistant: looked at file {number}")
        sessions.spoken([said("you write summaries", "system"), transcript], answer(summary), at, tools=False)
        assert sessions.spoken([TOOLS, said(f"{summary} Go on.")], answer(f"step {number}"), at + 20) == "s1"


def test_a_title_belongs_to_the_session_whose_user_it_quotes_before_and_after_its_first_turn():
    title = [said("you write titles", "system"), said(f"Title for: {JOB}")]
    sessions = Recorded()
    worked(sessions)
    assert sessions.spoken(title, answer("Wrong total"), 40, tools=False) == ("s2", ("s1", 2))
    early = Recorded()
    assert early.spoken(title, answer("Wrong total"), 0, tools=False) == "s1"
    session = early.of(asked := Request([TOOLS, said(JOB)], 1, JOB, ["", JOB], True))
    early.take(session, asked, Response(answer("looking"), (), 30))
    assert [each.name for each in early.bind(session)] == ["s1"]


def test_the_same_job_of_an_agent_without_tools_is_no_call_beside_the_first():
    sessions = Recorded()
    assert sessions.spoken([SYSTEM, said(JOB)], answer("ls"), 0, tools=False) == "s1"
    assert sessions.spoken([SYSTEM, said(JOB)], answer("ls"), 5, tools=False) == "s2"
    assert sessions.spoken([SYSTEM, said(JOB)], answer("ls"), 50, tools=False) == "s3"


def test_a_sub_agent_that_is_told_the_last_ones_report_is_a_new_sub_agent():
    sessions = Recorded()
    task = f"Review this plan and say what is missing: {SUMMARY}"
    first = [TOOLS, said(JOB)]
    sessions.spoken(first, answer("planning", "c1"), 0, quotes=["write a plan for the cart and its totals"])
    planner = [said("you plan", "system"), said("write a plan for the cart and its totals")]
    assert sessions.spoken(planner, answer(SUMMARY), 20) == ("s2", ("s1", 1))
    longer = [*first, answer("planning", "c1"), result(SUMMARY, "c1")]
    assert sessions.spoken(longer, answer("reviewing", "c2"), 40, quotes=[task]) == "s1"
    assert sessions.spoken([said("you review", "system"), said(task)], answer("nothing"), 60) == ("s3", ("s1", 2))


def test_a_prompt_that_holds_a_sub_agents_last_reply_holds_its_result():
    sessions, report = Recorded(), "checkout.py and report.py call total with cents"
    first = [TOOLS, said(JOB)]
    sessions.spoken(first, answer("asking", "c1"), 0, quotes=["list all callers of total in this repository"])
    child = [said("you are a helper", "system"), said("list all callers of total in this repository")]
    longer = [*first, answer("asking", "c1"), result("launched", "c1")]
    sessions.spoken(longer, answer("I wait."), 20)
    assert sessions.spoken(child, answer(report), 15) == ("s2", ("s1", 1))
    told = [*longer, answer("I wait."), said(f"<done>{report}</done>".replace("<done>", "done: "))]
    assert sessions.spoken(told, answer("good"), 60) == "s1"
    assert sessions.spoken([*told, answer("good"), said("thanks")], answer("bye"), 80) == "s1"
    assert [results for name, results in sessions.seen if name == "s1"] == [(), (), ("s2",), ()]

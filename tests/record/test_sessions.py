"""Sessions are told apart by what prompts repeat: histories that grow, are rewritten, begin alike, and fork."""

from swarm.proxy.sessions import Message, Request, Response, Sessions, opening, quote


def said(text, role="user", calls=()):
    return Message(key=f"{role}:{text}", gist=f"{role}:{text.strip()}", role=role, calls=tuple(calls))


SYSTEM = said("you are an agent", "system")


class Recorded(Sessions):
    """Turns as they end, by name: `turn(prompt, reply, at)` takes ten units of time."""

    def turn(self, prompt, reply, at, *, whole=True, quotes=(), text="", until=None):
        asked = Request(prompt, at, opening(text))
        session = self.of(asked)
        parent = self.parent(asked) if session.turns == 0 else None
        self.take(session, asked, Response(reply, tuple(filter(None, map(quote, quotes))), until or at + 10, whole))
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

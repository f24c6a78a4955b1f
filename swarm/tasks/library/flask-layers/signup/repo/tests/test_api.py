import pytest

from accounts.routes import make_app

ANN = {"email": "ann@example.org", "password": "correct horse 1"}


@pytest.fixture
def app(store, outbox, random_hex):
    return make_app(store, outbox, random_hex)


def code(outbox):
    return outbox.mails[-1].text[-7:-1]


def test_the_way_from_sign_up_to_a_session(app, outbox, store):
    assert app.post("/accounts", {**ANN, "email": " Ann@Example.org "}).data == {"email": "ann@example.org"}
    assert app.post("/sessions", ANN).status == 403
    confirmed = app.post("/accounts/confirm", {"email": "ann@example.org", "code": code(outbox)})
    assert confirmed.data == {"email": "ann@example.org", "confirmed": True}
    session = app.post("/sessions", ANN)
    assert session.status == 201
    assert store.tokens == {session.data["token"]: "ann@example.org"}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"email": "ann"}, "that is no address"),
        ({"email": "a@b@c.org"}, "that is no address"),
        ({"password": "short 1"}, "a password has at least 10 characters, with a letter and a digit"),
        ({"password": "no digit at all"}, "a password has at least 10 characters, with a letter and a digit"),
        ({"password": None}, "a password has at least 10 characters, with a letter and a digit"),
    ],
)
def test_bad_input_is_refused(app, outbox, change, error):
    response = app.post("/accounts", {**ANN, **change})
    assert (response.status, response.data) == (400, {"error": error})
    assert outbox.mails == []


def test_an_address_is_taken_once(app):
    app.post("/accounts", ANN)
    assert app.post("/accounts", {**ANN, "email": "ANN@example.org"}).status == 409


def test_a_code_is_good_once(app, outbox):
    app.post("/accounts", ANN)
    right = {"email": ANN["email"], "code": code(outbox)}
    assert app.post("/accounts/confirm", {**right, "code": "x"}).status == 400
    assert app.post("/accounts/confirm", right).status == 200
    assert app.post("/accounts/confirm", right).status == 400


def test_strangers_and_wrong_passwords_look_alike(app):
    app.post("/accounts", ANN)
    wrong = app.post("/sessions", {**ANN, "password": "something else 2"})
    stranger = app.post("/sessions", {**ANN, "email": "bob@example.org"})
    assert (wrong.status, wrong.data) == (stranger.status, stranger.data) == (401, {"error": "address or password are wrong"})

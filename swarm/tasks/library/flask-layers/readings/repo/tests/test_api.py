import pytest

from meters.routes import make_app

SPRING = "date,kwh\n2024-02-29,1000\n2024-03-15,1040.25\n\n2024-03-31,1075.5\n2024-04-30,1150\n"


@pytest.fixture
def app():
    return make_app()


def test_consumption_belongs_to_the_month_of_the_later_reading(app):
    assert app.post("/meters/a", SPRING).data == {"stored": 4}
    assert app.get("/meters/a/months").data == {
        "months": [{"month": "2024-03", "kwh": 75.5}, {"month": "2024-04", "kwh": 74.5}],
        "total": 150.0,
    }


def test_the_same_as_text(app):
    app.post("/meters/a", SPRING)
    assert app.get("/meters/a/months", format="text").data.splitlines() == [
        "2024-03        75.5",
        "2024-04        74.5",
        "total         150.0",
    ]


def test_a_meter_without_readings(app):
    assert app.get("/meters/x/months").data == {"months": [], "total": 0}


def test_a_second_file_goes_on_where_the_first_ended(app):
    app.post("/meters/a", SPRING)
    assert app.post("/meters/a", "date,kwh\n2024-05-31,1200\n").status == 201
    assert app.get("/meters/a/months").data["total"] == 200.0
    again = app.post("/meters/a", "date,kwh\n2024-05-31,1300\n")
    assert (again.status, again.data["line"]) == (400, 2)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("day;kwh\n", 1),
        ("date,kwh\n2024-02-30,1\n", 2),
        ("date,kwh\n2024-01-01,1\n\n2024-01-01,2\n", 4),
        ("date,kwh\n2024-01-01,5\n2024-01-02,4\n", 3),
        ("date,kwh\n2024-01-01\n", 2),
    ],
)
def test_a_bad_file_is_refused_as_a_whole(app, text, line):
    response = app.post("/meters/a", text)
    assert (response.status, response.data["line"]) == (400, line)
    assert app.get("/meters/a/months").data["months"] == []

import pytest

from telemetry.reading import BadReading, Reading, parse
from telemetry.window import WindowedReadings


def reading(at, sensor="a"):
    return Reading(at, sensor, "voltage", 1.0)


def test_windows_come_in_order_and_so_do_their_readings():
    windows = WindowedReadings(100)
    for at in (120, 30, 110, 10, 20, 190, 150):
        assert windows.add(reading(at))
    assert [[one.at for one in window] for window in windows.close_until(200)] == [
        [10, 20, 30],
        [110, 120, 150, 190],
    ]


def test_the_same_millisecond_keeps_the_order_of_arrival():
    windows = WindowedReadings(100)
    for sensor in "dbac":
        windows.add(reading(50, sensor))
    windows.add(reading(7, "e"))
    (window,) = windows.close_until(100)
    assert "".join(one.sensor for one in window) == "edbac"


def test_what_comes_after_its_window_is_late():
    windows = WindowedReadings(100)
    list(windows.close_until(200))
    assert not windows.add(reading(199))
    assert windows.add(reading(200))
    assert windows.late == 1


@pytest.mark.parametrize("line", ["", "1;a;voltage", "x;a;voltage;1", "1;;voltage;1", "1;a;mood;1", "1;a;voltage;high"])
def test_bad_lines_are_refused(line):
    with pytest.raises(BadReading):
        parse(line)

import pytest

from playlist import Playlist, Track

TRACKS = [
    Track("Nina", "Sinner", 610, added=1),
    Track("bill", "Lovely", 254, added=2),
    Track("Nina", "Blue", 254, added=3),
    Track("Abbey", "Blue", 301, added=4),
]


@pytest.fixture
def playlist():
    playlist = Playlist()
    for track in TRACKS:
        playlist.append(track)
    return playlist


@pytest.mark.parametrize(
    ("order", "expected"), [("artist", [4, 2, 3, 1]), ("title", [3, 4, 2, 1]), ("length", [2, 3, 4, 1]), ("added", [1, 2, 3, 4])]
)
def test_orders(playlist, order, expected):
    playlist.sort(order)
    assert [track.added for track in playlist] == expected
    assert len(playlist) == 4


def test_a_track_appended_after_sorting_comes_last(playlist):
    playlist.sort("length")
    playlist.append(Track("Zoot", "Out", 1, added=9))
    assert [track.added for track in playlist] == [2, 3, 4, 1, 9]


def test_removing_keeps_the_end_right(playlist):
    assert playlist.remove(TRACKS[3])
    assert not playlist.remove(TRACKS[3])
    playlist.append(TRACKS[3])
    assert list(playlist) == TRACKS


def test_an_unknown_order_is_refused(playlist):
    with pytest.raises(ValueError, match="mood"):
        playlist.sort("mood")

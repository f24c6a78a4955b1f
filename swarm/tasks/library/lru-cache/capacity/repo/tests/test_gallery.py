import pytest

from thumbs import Gallery
from thumbs.render import Renderer, UnknownSize


@pytest.fixture
def renderer():
    return Renderer()


def test_a_thumbnail_is_rendered_once(renderer):
    gallery = Gallery(renderer, keep=4)
    first = gallery.thumbnail("lamp.jpg")
    assert gallery.thumbnail("lamp.jpg") is first
    assert renderer.rendered == 1


def test_sizes_are_kept_apart(renderer):
    gallery = Gallery(renderer, keep=4)
    assert gallery.thumbnail("lamp.jpg", "small").edge == 64
    assert gallery.thumbnail("lamp.jpg", "large").edge == 320
    assert renderer.rendered == 2


def test_memory_stays_bounded(renderer):
    gallery = Gallery(renderer, keep=4)
    gallery.page(f"photo-{number}.jpg" for number in range(50))
    assert gallery.kept == 4


def test_a_popular_photo_survives_a_crowd(renderer):
    gallery = Gallery(renderer, keep=2)
    for number in range(10):
        gallery.thumbnail("popular.jpg")
        gallery.thumbnail(f"rare-{number}.jpg")
    assert renderer.rendered == 11


def test_an_unknown_size_is_refused_before_rendering(renderer):
    with pytest.raises(UnknownSize, match="huge"):
        Gallery(renderer).thumbnail("lamp.jpg", "huge")
    assert renderer.rendered == 0

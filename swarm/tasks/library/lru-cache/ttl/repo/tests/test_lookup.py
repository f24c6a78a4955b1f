import pytest

from geocode.cache import TTLCache
from geocode.lookup import Lookup
from geocode.service import FixedService, Place, ServiceError

DEPOT = Place(52.5, 13.4)


@pytest.fixture
def service():
    return FixedService({"main street 1": DEPOT})


def test_the_second_question_is_free(service):
    lookup = Lookup(service, TTLCache(10, 60))
    assert lookup.locate("Main  Street 1") == DEPOT
    assert lookup.locate("main street 1") == DEPOT
    assert service.questions == ["main street 1"]
    assert lookup.stats().share == 0.5


def test_that_an_address_does_not_exist_is_remembered_too(service):
    lookup = Lookup(service, TTLCache(10, 60))
    assert lookup.locate("nowhere") is None
    assert lookup.locate("nowhere") is None
    assert len(service.questions) == 1


def test_a_failure_is_not_remembered(service):
    lookup = Lookup(service, TTLCache(10, 60))
    service.broken = True
    with pytest.raises(ServiceError):
        lookup.locate("main street 1")
    service.broken = False
    assert lookup.locate("main street 1") == DEPOT


def test_old_answers_are_asked_for_again(service):
    now = [0.0]
    lookup = Lookup(service, TTLCache(10, 60, clock=lambda: now[0]))
    lookup.locate("main street 1")
    now[0] = 60.0
    lookup.locate("main street 1")
    assert len(service.questions) == 2

"""Questions about addresses, answered from memory where that is possible."""

from dataclasses import dataclass

from geocode.cache import TTLCache
from geocode.service import Place, Service


@dataclass(frozen=True)
class Stats:
    questions: int
    from_memory: int

    @property
    def share(self) -> float:
        """The share of questions answered from memory, 0..1; 0 before the first question."""
        return self.from_memory / self.questions if self.questions else 0.0


@dataclass(frozen=True)
class Answer:
    """What is remembered of a question: also that there is no such address."""

    place: Place | None


class Lookup:
    """Asks `service` for what `cache` does not know."""

    def __init__(self, service: Service, cache: TTLCache[str, Answer]) -> None:
        self._service = service
        self._cache = cache
        self._questions = 0
        self._from_memory = 0

    def locate(self, address: str) -> Place | None:
        """Where `address` is, or None. Case and surplus spaces do not matter. Raises ServiceError."""
        key = " ".join(address.lower().split())
        self._questions += 1
        known = self._cache.get(key)
        if known is not None:
            self._from_memory += 1
            return known.place
        answer = Answer(self._service.locate(key))
        self._cache.put(key, answer)
        return answer.place

    def stats(self) -> Stats:
        return Stats(self._questions, self._from_memory)

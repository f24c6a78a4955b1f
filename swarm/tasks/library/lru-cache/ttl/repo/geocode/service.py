"""The paid service, as far as we use it."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Place:
    """Degrees: latitude -90..90, longitude -180..180."""

    latitude: float
    longitude: float

    def __post_init__(self) -> None:
        if not -90 <= self.latitude <= 90:
            raise ValueError(f"latitude {self.latitude} is not between -90 and 90")
        if not -180 <= self.longitude <= 180:
            raise ValueError(f"longitude {self.longitude} is not between -180 and 180")


class ServiceError(Exception):
    """The service did not answer, or refused to."""


class Service(Protocol):
    def locate(self, address: str) -> Place | None:
        """Where `address` is; None if there is no such address. Raises ServiceError."""


class FixedService:
    """A service for tests: knows some places, counts its questions, and fails on request."""

    def __init__(self, places: dict[str, Place]) -> None:
        self.places = places
        self.questions: list[str] = []
        self.broken = False

    def locate(self, address: str) -> Place | None:
        self.questions.append(address)
        if self.broken:
            raise ServiceError("the service is down")
        return self.places.get(address)

"""What a sensor sends."""

from dataclasses import dataclass

KINDS = ("temperature", "pressure", "humidity", "voltage")


class BadReading(ValueError):
    """A line that is no reading; the message says why."""


@dataclass(frozen=True)
class Reading:
    """`at` is milliseconds since the sensor's station was started, `value` is in the unit of its kind."""

    at: int
    sensor: str
    kind: str
    value: float


def parse(line: str) -> Reading:
    """A reading from `at;sensor;kind;value`. Raises BadReading."""
    fields = [field.strip() for field in line.split(";")]
    if len(fields) != 4:
        raise BadReading(f"expected 4 fields, found {len(fields)}: {line!r}")
    at, sensor, kind, value = fields
    if not at.isdecimal():
        raise BadReading(f"time {at!r} is not a number of milliseconds")
    if not sensor:
        raise BadReading("the sensor has no name")
    if kind not in KINDS:
        raise BadReading(f"kind {kind!r} is none of {', '.join(KINDS)}")
    try:
        number = float(value)
    except ValueError:
        raise BadReading(f"value {value!r} is not a number") from None
    return Reading(int(at), sensor, kind, number)

"""What a shard that nobody leads says of itself, and whether it is one of a run."""

from collections.abc import Iterable
from typing import Any

import msgspec

from swarm.engine.hosts import is_loopback


class Card(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a shard says of itself when it comes. All but `shard`, `instance` and `machine` must be alike."""

    shard: int
    shards: int
    instance: str
    """Of the process: one that was started again is another."""
    machine: str
    """The same for two shards if 127.0.0.1 is."""
    swarm: str
    python: str
    scenario: dict[str, Any]
    servers: dict[str, tuple[str | None, str | None]]
    """Target -> model and version, as this shard finds them."""


def refusal(host: Card, guest: Card) -> str | None:
    """Why a guest is not of the host's run; None: it is."""
    name = f"shard {guest.shard} of {guest.shards}"
    if guest.shards != host.shards or not 0 < guest.shard < host.shards:
        return f"{name}: this run has {host.shards} shards, 0 to {host.shards - 1}, and 0 is here; see --shard I/N"
    if (guest.swarm, guest.python) != (host.swarm, host.python):
        return (
            f"{name}: swarm {guest.swarm} on Python {guest.python}, and shard 0 is swarm {host.swarm} on Python "
            f"{host.python}; install the same everywhere"
        )
    for what, ours, theirs in (("scenario", host.scenario, guest.scenario), ("server", host.servers, guest.servers)):
        if differing := sorted(_differing(ours, theirs)):
            return f"{name}: its {what} is not that of shard 0, as to {', '.join(differing[:5])}"
    for target in host.scenario["targets"] if guest.machine != host.machine else ():
        if is_loopback(address := target["api_base"]):
            return f"{name}: {target['name']} at {address} is another server there than for shard 0; name one for both"
    return None


def _differing(ours: Any, theirs: Any, path: str = "") -> Iterable[str]:
    """Paths of the values that differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in ours.keys() | theirs.keys():
            yield from _differing(ours.get(key), theirs.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from _differing(one, other, f"{path}.{number}")
    elif ours != theirs:
        yield path

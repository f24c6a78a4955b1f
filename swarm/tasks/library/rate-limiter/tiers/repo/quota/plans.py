"""Plans by name."""

import re
from dataclasses import dataclass
from typing import Callable, Mapping

from quota.limits import Limit, Quota

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


class BadPlan(ValueError):
    """A text that is no plan."""


@dataclass(frozen=True)
class Plan:
    name: str
    limits: tuple[Limit, ...]
    cents: int


def read_plan(name: str, text: str) -> Plan:
    """A plan from a text such as `10 per second, 1000 per hour; 4900 cents`. Raises BadPlan."""
    limits_text, _, price = text.partition(";")
    match = re.fullmatch(r"\s*(\d+) cents\s*", price or "0 cents")
    if not match:
        raise BadPlan(f"{name}: cannot read the price {price.strip()!r}")
    limits = tuple(_limit(name, part) for part in limits_text.split(","))
    return Plan(name, tuple(sorted(limits, key=lambda limit: limit.seconds)), int(match[1]))


def _limit(name: str, text: str) -> Limit:
    match = re.fullmatch(r"\s*(\d+) per (second|minute|hour|day)\s*", text)
    if not match:
        raise BadPlan(f"{name}: cannot read the limit {text.strip()!r}")
    return Limit(int(match[1]), _UNITS[match[2]])


class Customers:
    """Which customer has which plan. Customers of a plan share nothing but its limits."""

    def __init__(self, plans: Mapping[str, Plan], clock: Callable[[], float]) -> None:
        self._quotas = {name: Quota(plan.limits, clock) for name, plan in plans.items()}
        self._plan_of: dict[str, str] = {}

    def subscribe(self, customer: str, plan: str) -> None:
        if plan not in self._quotas:
            raise KeyError(f"no plan {plan!r}; the plans are {', '.join(self._quotas)}")
        self._plan_of[customer] = plan

    def quota(self, customer: str) -> Quota:
        """The quota of a customer's plan. Raises KeyError."""
        return self._quotas[self._plan_of[customer]]

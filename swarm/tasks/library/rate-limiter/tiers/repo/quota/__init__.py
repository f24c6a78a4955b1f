"""Several limits that hold together."""

from quota.limits import Answer, Limit, Quota

__all__ = ["Answer", "Limit", "Quota"]

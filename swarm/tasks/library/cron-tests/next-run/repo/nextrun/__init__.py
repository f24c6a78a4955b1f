"""When is a cron expression due next?"""

from nextrun.parse import BadExpression, parse
from nextrun.search import NeverDue, next_run

__all__ = ["BadExpression", "NeverDue", "next_run", "parse"]

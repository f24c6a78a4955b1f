"""Cron expressions: is this one due now?"""

from cronlite.cron import Cron
from cronlite.fields import CronError

__all__ = ["Cron", "CronError"]

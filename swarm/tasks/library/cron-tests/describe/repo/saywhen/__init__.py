"""Cron expressions in plain English."""

from saywhen.sentence import describe

__all__ = ["describe"]

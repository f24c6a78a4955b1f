"""Crontab files and everything that is wrong with them."""

from crontab.model import Crontab, Job, Problem
from crontab.parser import parse

__all__ = ["Crontab", "Job", "Problem", "parse"]

"""Lengths of time on a command line."""

from __future__ import annotations

import re

from gpt2x.errors import UsageError, quoted

LONGEST_S = 366 * 24 * 3600.0


def parse_seconds(option: str, text: str) -> float:
    """A length of time in words: 90, 90s, 3m.

    Raises:
        UsageError: it is none, naming the option.

    >>> parse_seconds("--budget", "3m")
    180.0
    """
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(s|m|h)?", text.strip())
    seconds = float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2] or "s"] if match is not None else 0.0
    if not 0 < seconds <= LONGEST_S:
        raise UsageError(f"{option} {quoted(text)} is no length of time up to a year; write 90s or 3m")
    return seconds

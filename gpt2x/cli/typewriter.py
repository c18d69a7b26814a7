"""Text that appears character by character, at the pace of a person at a typewriter."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS_A_CHARACTER = 0.035
PAUSES = {",": 0.15, ";": 0.2, ".": 0.3, "!": 0.3, "?": 0.3, "\n": 0.3}
"""Seconds after these, in place of the usual."""


class Typewriter:
    """Writes a text one character at a time.

    Each character is due so long after the one before; time that the model took for it counts, so that a pause to think
    is not followed by another.

    Args:
        write: takes a character.
        clock: seconds that only rise.
        sleep: waits so many seconds.

    """

    def __init__(
        self,
        write: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._write, self._clock, self._sleep = write, clock, sleep
        self._due = clock()

    def __call__(self, text: str) -> None:
        """Write a piece of the text."""
        for character in text:
            early = self._due - self._clock()
            if early > 0:
                self._sleep(early)
            self._write(character)
            self._due = self._clock() + PAUSES.get(character, SECONDS_A_CHARACTER)

"""Lines of a song: their words, and a song written with the end of each line before the line.

A model reads from left to right and meets a rhyme when it is too late to prepare for one. Told first which word a line
ends with, it has the whole line to get there, and the first words of a song's lines stand in a row in which a rhyme is
easy to learn and easy to ask for (as in Pasini et al., arXiv 2405.05176; PoeLM, arXiv 2205.12206, tells a whole poem's
rhymes at its beginning). A line ``I walk all night`` becomes `` night|I walk all night``; `EndWordFilter` takes the
plan away again.
"""

from __future__ import annotations

import re

END_OF_PLAN = "|"
"""Stands between the word that a line will end with and the line."""

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*['’]?")


def words_of(line: str) -> list[str]:
    """The words of a line.

    >>> words_of("Rock 'n' roll, don't stop!")
    ['Rock', "n'", 'roll', "don't", 'stop']
    """
    return _WORD.findall(line)


def last_word(line: str) -> str:
    """The word that a line ends with, "" for a line without one."""
    words = words_of(line)
    return words[-1] if words else ""


def is_sung(line: str) -> bool:
    """Whether a line has words to sing: empty lines and labels such as ``[Chorus]`` have none."""
    line = line.strip()
    return bool(line) and not (line.startswith("[") and line.endswith("]"))


def with_end_words(text: str) -> str:
    r"""A song with a plan before each sung line: a blank, the last word in small letters, `END_OF_PLAN`.

    The blank makes the word the same tokens as at the end of the line.

    >>> with_end_words("[Verse]\nI walk, all Night!\n\n...")
    '[Verse]\n night|I walk, all Night!\n\n...'
    """
    return "\n".join(map(_with_end_word, text.split("\n")))


def _with_end_word(line: str) -> str:
    line = line.replace(END_OF_PLAN, "/")
    word = last_word(line) if is_sung(line) else ""
    return f" {word.lower()}{END_OF_PLAN}{line}" if word else line


class EndWordFilter:
    r"""Takes the plans out of a text that comes in pieces; each line's words leave as soon as its plan is complete.

    >>> lines = EndWordFilter()
    >>> [lines.feed(piece) for piece in (" nig", "ht|I wa", "lk all night\n[Ver", "se]\n")], lines.flush()
    (['', 'I wa', 'lk all night\n', '[Verse]\n'], '')
    """

    def __init__(self) -> None:
        self._plan: str | None = (
            ""  # what was read of a line whose plan is not complete; None inside of a line
        )

    def feed(self, piece: str) -> str:
        """Read a piece; give what can be shown of it and of what was held back."""
        shown = []
        for part in re.split(r"(?<=\n)", piece):
            shown.append(self._within_line(part))
            if part.endswith("\n"):
                self._plan = ""
        return "".join(shown)

    def _within_line(self, part: str) -> str:
        if self._plan is None:
            return part
        self._plan += part
        _, plan, rest = self._plan.partition(END_OF_PLAN)
        if not plan and not part.endswith("\n"):
            return ""
        shown, self._plan = (rest if plan else self._plan), None
        return shown

    def flush(self) -> str:
        """What is still held back, at the end of the text: a line without a plan."""
        rest, self._plan = self._plan or "", ""
        return rest


def without_end_words(text: str) -> str:
    r"""The song as it is shown.

    >>> without_end_words(with_end_words("[Verse]\nI walk all night"))
    '[Verse]\nI walk all night'
    """
    lines = EndWordFilter()
    return lines.feed(text) + lines.flush()

"""Splitting by patterns that the core does not know: with the `regex` package, step after step, against a clock.

Such a pattern is one of two things. A regular expression, as tiktoken is given it: its matches are the pieces, and
what no alternative matches is dropped. Or the pre-tokenizer of a ``tokenizer.json``, as JSON: Hugging Face's steps,
each of which divides the pieces of the one before; most keep what their pattern does not match.

A regular expression can take a time exponential in the text, and patterns come from files that somebody else wrote. So
all matching for one text has a time limit, which is far above what any sensible pattern takes.
"""

from __future__ import annotations

import functools
import itertools
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from gpt2x.errors import InputDataError, UsageError, quoted
from gpt2x.tokenizer.dialects import neutral
from gpt2x.tokenizer.engines import Dialect

BASE_SECONDS = 5.0
"""What any text is given to be split in."""
SECONDS_PER_MILLION_CHARACTERS = 15.0
"""And what is added for its length; usual patterns take half a second for a million characters."""

MAX_STEPS = 20

ISOLATED, REMOVED, CONTIGUOUS = "Isolated", "Removed", "Contiguous"
MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT = "MergedWithPrevious", "MergedWithNext"
BEHAVIORS = (REMOVED, ISOLATED, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT, CONTIGUOUS)
"""What becomes of a match, in Hugging Face's words."""

Span = tuple[int, int]


class Deadline:
    """When splitting one text must be over."""

    def __init__(self, text: str) -> None:
        self.budget = BASE_SECONDS + SECONDS_PER_MILLION_CHARACTERS * len(text) / 1e6
        self._num_characters = len(text)
        self._end = time.monotonic() + self.budget

    def left(self) -> float:
        """Seconds; 0 or less when the time is over."""
        return self._end - time.monotonic()

    def exceeded(self, pattern: str, position: int) -> NoReturn:
        """Say which pattern stands where.

        Raises:
            InputDataError: always.

        """
        raise InputDataError(
            f"the pattern {quoted(pattern)} takes too long at character {position:,} of {self._num_characters:,}: it "
            f"was stopped after {self.budget:.3g} s; take a pattern without nested repetitions, or a vocabulary whose "
            "pattern is built in"
        )


@dataclass(frozen=True, slots=True)
class Step:
    """One division of a text: by the matches of a pattern, and by what becomes of them."""

    pattern: str
    """As it was given, for messages."""
    dialect: Dialect
    behavior: str
    invert: bool = False
    """Take what is between the matches for the matches."""

    def check(self) -> None:
        """See that the pattern can be used.

        Raises:
            UsageError: it is no regular expression, or not known to mean the same to `regex`.

        """
        _compile(self.pattern, self.dialect)

    def spans(self, text: str, offset: int, deadline: Deadline) -> list[Span]:
        """The pieces of a text, which begins at character `offset` of a longer one.

        Raises:
            InputDataError: it takes too long.

        """
        matches = self._matches(text, offset, deadline)
        if (
            self.invert and self.behavior == REMOVED
        ):  # only the matches: as tiktoken does, and so the usual case
            return [(start, end) for start, end in matches if start < end]
        parts = _with_gaps(matches, len(text), self.invert)
        return [(start, end) for start, end in _BEHAVE[self.behavior](parts) if start < end]

    def _matches(self, text: str, offset: int, deadline: Deadline) -> list[Span]:
        """All matches, as Rust's and Oniguruma's iterators find them.

        After an empty match the search goes on one character further, and an empty match right behind another match
        does not count. (`regex` would look for a match that is not empty at the same place first.)
        """
        compiled = _compile(self.pattern, self.dialect)
        matches: list[Span] = []
        search_from = 0
        while search_from <= len(text):
            try:
                for match in compiled.finditer(text, search_from, timeout=max(deadline.left(), 1e-3)):
                    start, end = match.span()
                    if start < end:
                        matches.append((start, end))
                        continue
                    if not matches or matches[-1][1] < end:
                        matches.append((start, end))
                    search_from = end + 1
                    break
                else:
                    break
            except (TimeoutError, MemoryError):
                last_end = matches[-1][1] if matches else 0
                # The clock of `regex` is that of all threads together; ours is the one on the wall.
                if deadline.left() <= 0:
                    deadline.exceeded(self.pattern, offset + last_end)
                search_from = max(search_from, last_end)
        return matches


class Splitter:
    """Steps in a row."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self.steps = tuple(steps)

    def split(self, text: str) -> list[str]:
        """The pieces of a text.

        Raises:
            InputDataError: it takes too long; the sentence names the pattern and the place.

        """
        deadline = Deadline(text)
        pieces: list[Span] = [(0, len(text))] if text else []
        for step in self.steps:
            pieces = [
                (start + one, start + other)
                for start, end in pieces
                for one, other in step.spans(text[start:end], start, deadline)
            ]
        return [text[start:end] for start, end in pieces]


@functools.cache
def _compile(pattern: str, dialect: Dialect) -> Any:
    import regex

    try:
        return regex.compile(neutral(pattern, dialect), regex.V1)
    except (regex.error, RecursionError, MemoryError) as error:
        raise UsageError(f"the pattern {quoted(pattern)} is no regular expression: {error}") from error


# ----------------------------------------------------------------------------------------------------------------
# What becomes of matches: Hugging Face's five behaviours, on spans that follow each other without a gap


Parts = list[tuple[int, int, bool]]


def _with_gaps(matches: list[Span], length: int, invert: bool) -> Parts:
    """The matches and what is between them, in order; True for the former, or, inverted, for the latter."""
    parts: Parts = []
    previous = 0
    for start, end in matches:
        if previous < start:
            parts.append((previous, start, invert))
        parts.append((start, end, not invert))
        previous = end
    if previous < length:
        parts.append((previous, length, invert))
    return parts


def _removed(parts: Parts) -> list[Span]:
    return [(start, end) for start, end, is_match in parts if not is_match]


def _isolated(parts: Parts) -> list[Span]:
    return [(start, end) for start, end, _ in parts]


def _contiguous(parts: Parts) -> list[Span]:
    """Matches side by side are one piece."""
    runs = (list(run) for _, run in itertools.groupby(parts, key=lambda part: part[2]))
    return [(run[0][0], run[-1][1]) for run in runs]


def _merged_with_previous(parts: Parts) -> list[Span]:
    """A match ends the piece before it, unless that is one itself."""
    pieces: list[Span] = []
    previous = False
    for start, end, is_match in parts:
        if is_match and not previous and pieces:
            pieces[-1] = (pieces[-1][0], end)
        else:
            pieces.append((start, end))
        previous = is_match
    return pieces


def _merged_with_next(parts: Parts) -> list[Span]:
    """A match begins the piece behind it, unless that is one itself."""
    backwards = [(-end, -start, is_match) for start, end, is_match in reversed(parts)]
    return [(-end, -start) for start, end in reversed(_merged_with_previous(backwards))]


_BEHAVE = {
    ISOLATED: _isolated,
    REMOVED: _removed,
    CONTIGUOUS: _contiguous,
    MERGED_WITH_PREVIOUS: _merged_with_previous,
    MERGED_WITH_NEXT: _merged_with_next,
}


# ----------------------------------------------------------------------------------------------------------------
# From the text that a vocabulary keeps


def splitter_of(pat_str: str) -> Splitter:
    """What splits by a vocabulary's pattern: a regular expression, or a pre-tokenizer as JSON.

    Raises:
        UsageError: it is neither.

    """
    pre_tokenizer = as_pre_tokenizer(pat_str)
    if pre_tokenizer is None:
        steps = [Step(pat_str, Dialect.RUST, REMOVED, invert=True)]
    else:
        steps = list(itertools.chain.from_iterable(map(steps_of, flatten(pre_tokenizer))))
    for step in steps:
        step.check()
    return Splitter(steps)


def as_pre_tokenizer(pat_str: str) -> dict[str, Any] | None:
    """The pre-tokenizer that a pattern spells as JSON; None for a regular expression."""
    if not pat_str.startswith('{"'):
        return None
    try:
        found = json.loads(pat_str)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and "type" in found else None


def flatten(pre_tokenizer: Any) -> list[dict[str, Any]]:
    """The pre-tokenizers in a sequence, and those in sequences in it.

    Raises:
        UsageError: it is damaged, or has too many.

    """
    flat: list[dict[str, Any]] = []
    waiting = [pre_tokenizer]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, dict) or not isinstance(one.get("type"), str):
            raise UsageError(f"{quoted(one)} is no pre-tokenizer: it is to be an object with a type")
        if one["type"] != "Sequence":
            flat.append(one)
        elif not isinstance(members := one.get("pretokenizers"), list):
            raise UsageError(f"a Sequence has pretokenizers = {quoted(members)}, which is to be a list")
        else:
            waiting += reversed(members)
        if len(flat) + len(waiting) > MAX_STEPS:
            raise UsageError(
                f"there are more than {MAX_STEPS} pre-tokenizers in a row, which is the most that is taken"
            )
    return flat


def steps_of(pre_tokenizer: dict[str, Any]) -> list[Step]:
    """What one of Hugging Face's pre-tokenizers does, but for ByteLevel.

    Raises:
        UsageError: it is damaged, or not known to be done here as there.

    """
    kind = pre_tokenizer["type"]
    if kind == "Split":
        behavior = _field(pre_tokenizer, "behavior", str)
        if behavior not in BEHAVIORS:
            raise UsageError(f"a Split has the behavior {quoted(behavior)}; known: {', '.join(BEHAVIORS)}")
        pattern = _pattern(pre_tokenizer.get("pattern"))
        return [Step(pattern, Dialect.ONIGURUMA, behavior, _field(pre_tokenizer, "invert", bool))]
    if kind == "Digits":
        behavior = ISOLATED if _field(pre_tokenizer, "individual_digits", bool) else CONTIGUOUS
        return [Step(r"\p{N}", Dialect.ONIGURUMA, behavior)]
    if kind == "WhitespaceSplit":
        return [Step(r"\s", Dialect.ONIGURUMA, REMOVED)]
    if kind == "Whitespace":
        return [Step(r"\w+|[^\w\s]+", Dialect.RUST, REMOVED, invert=True)]
    if kind == "CharDelimiterSplit":
        delimiter = _field(pre_tokenizer, "delimiter", str)
        if len(delimiter) != 1:
            raise UsageError(
                f"a CharDelimiterSplit has the delimiter {quoted(delimiter)}; it is to be one character"
            )
        return [Step(_escaped(delimiter), Dialect.ONIGURUMA, REMOVED)]
    if kind in ("Punctuation", "BertPreTokenizer"):
        raise UsageError(
            f"the pre-tokenizer {kind} takes for punctuation what an older version of Unicode says, which is not "
            "done here; use a vocabulary that splits by a pattern"
        )
    raise UsageError(
        f"the pre-tokenizer {quoted(kind)} is not known here; use a vocabulary that splits by a pattern"
    )


def _pattern(pattern: Any) -> str:
    """The regular expression of a Split's `{"Regex": …}`, or of its `{"String": …}`."""
    if isinstance(pattern, dict) and len(pattern) == 1:
        ((kind, text),) = pattern.items()
        if kind == "Regex" and isinstance(text, str):
            return text
        if kind == "String" and isinstance(text, str) and text:
            return _escaped(text)
    raise UsageError(
        f'a Split has the pattern {quoted(pattern)}; it is to be {{"Regex": …}} or {{"String": …}}'
    )


def _escaped(text: str) -> str:
    return "".join(f"\\{character}" if character in r"\.+*?()|[]{}^$" else character for character in text)


def _field(pre_tokenizer: dict[str, Any], name: str, kind: type) -> Any:
    value = pre_tokenizer.get(name)
    if not isinstance(value, kind):
        raise UsageError(
            f"the pre-tokenizer {pre_tokenizer['type']} has {name} = {quoted(value)}, which is to be a {kind.__name__}"
        )
    return value

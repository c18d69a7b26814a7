"""How many tokens a text has, and how much of it fits, in time that depends on the limit and not on the text.

The text is looked at stretch by stretch (`seams`), until there are more tokens than the limit.
"""

from __future__ import annotations

from typing import NamedTuple

from gpt2x.tokenizer import fitting
from gpt2x.tokenizer.seams import Seams, Stretch, num_characters

STRETCH_CHARACTERS = 1 << 14
"""How much of a text is looked at in one step; English has 3,000 to 4,000 tokens in it."""


class Fitted(NamedTuple):
    """The beginning of a text that fits, and its tokens."""

    ids: list[int]
    """Its ids."""
    num_characters: int
    """How many characters it has: the text goes on with ``text[num_characters:]``."""


def count_up_to(seams: Seams, text: str, limit: int) -> int:
    """The number of tokens, or limit + 1 where there are more; see `Tokenizer.count_up_to`."""
    count = 0
    for stretch in seams.stretches(text, STRETCH_CHARACTERS):
        count += seams.core.count(stretch.data, seams.specials)
        if count > limit:
            return limit + 1
    return count


def encode_up_to(seams: Seams, text: str, limit: int) -> Fitted:
    """The longest beginning that has at most `limit` tokens; see `Tokenizer.encode_up_to`."""
    ids: list[int] = []
    covered = 0
    for stretch in seams.stretches(text, STRETCH_CHARACTERS):
        more = seams.core.encode(stretch.data, seams.specials)
        if len(ids) + len(more) > limit:
            prefix = _longest_prefix(seams, stretch, limit - len(ids))
            ids += seams.core.encode(prefix, seams.specials)
            whole = text[covered : covered + stretch.num_characters]
            covered += num_characters(whole, prefix)
            break
        ids += more
        covered += stretch.num_characters
    return Fitted(ids, covered)


def _longest_prefix(seams: Seams, stretch: Stretch, limit: int) -> bytes:
    """The longest beginning of a stretch that has at most `limit` tokens and ends inside no special token."""
    data = stretch.data
    places = seams.specials.find_all(data).tolist() if seams.specials is not None else []
    done = 0
    for start, end, _ in [*places, (len(data), len(data), None)]:
        plain = data[done:start]
        count = seams.core.count(plain)
        if count > limit:
            return data[:done] + fitting.truncate(seams.core, plain, limit)
        if count == limit:  # no room for the special token
            return data[:start]
        limit -= count + 1
        done = end
    return data

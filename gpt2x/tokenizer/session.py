"""`Session`: the tokens of a text that changes, without encoding it anew.

A text is kept in blocks that begin at places to cut (`seams`): each is encoded by itself, and whether a place is one
depends on the text near it. So after a change the blocks that it touches are joined, changed, cut and encoded again,
and all others stay as they are, on both sides:

1. Let `reach` be the length of the longest special or added token, at least 1. A place to cut that has `reach`
   unchanged characters on each side is one after the change, too.
2. So take the last block border at or before ``start - reach`` and the first at or after ``end + reach`` (or the ends
   of the text). The text before the one, between them, and after the other can be encoded one by one.
3. Before and after, nothing has changed; between them, the new text is cut and encoded.
"""

from __future__ import annotations

from itertools import chain
from typing import NamedTuple

from gpt2x.errors import UsageError, quoted
from gpt2x.tokenizer.arguments import check_text, whole_number
from gpt2x.tokenizer.seams import Seams

BLOCK_BYTES = 1024
"""How long a block is at least. Shorter ones cost less to encode again, and more memory."""


class Change(NamedTuple):
    """What a change of the text did to the ids: ``ids[change.start : change.end] = change.ids``."""

    start: int
    """How many ids stayed as they were before the change: what a model has computed for them is still right."""
    end: int
    """Where those begin again that stayed as they were, counted before the change."""
    ids: list[int]
    """What now stands between."""


class _Block(NamedTuple):
    text: str
    ids: list[int]


class Session:
    """A text that changes, and its ids, which are always those that `Tokenizer.encode` would give.

    A change takes time linear in what is put in and taken out, in the one or two blocks (of a thousand bytes, or as
    many as there are without a place to cut) that it touches, and in the number of blocks between it and the change
    before. A session belongs to one thread at a time.

    >>> from gpt2x.tokenizer import train
    >>> session = train(["low lower lowest low low"], 259, special_tokens=()).session("low")
    >>> session.append("est"), session.ids
    (Change(start=1, end=1, ids=[68, 82, 83]), [257, 68, 82, 83])
    """

    def __init__(self, seams: Seams, text: str = "") -> None:
        """Start with a text; `Tokenizer.session` does so, and says what is refused."""
        self._seams = seams
        # The blocks before and after a gap, which lies where the last change began; the nearest ones come last.
        self._before: list[_Block] = []
        self._after: list[_Block] = []
        self._characters_before = self._ids_before = 0
        self._num_characters = self._num_ids = 0
        self.append(text)

    @property
    def text(self) -> str:
        """The text, put together from its blocks."""
        return "".join(block.text for block in self._blocks())

    @property
    def ids(self) -> list[int]:
        """The ids of the text as a new list, which takes time linear in their number."""
        ids: list[int] = []
        for block in self._blocks():
            ids += block.ids
        return ids

    @property
    def num_characters(self) -> int:
        """How many characters the text has."""
        return self._num_characters

    def __len__(self) -> int:
        """How many ids there are."""
        return self._num_ids

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._num_characters:,} characters, {self._num_ids:,} ids>"

    def append(self, text: str) -> Change:
        """Put text at the end; see `edit`."""
        return self.edit(self._num_characters, self._num_characters, text)

    def edit(self, start: int, end: int, text: str) -> Change:
        """Put `text` in the place of the characters from `start` up to `end`.

        Raises:
            DisallowedSpecialError: the text would then hold a special token that is refused; it stays as it is.
            UsageError: no such place in the text, or half a character (a surrogate) in what is put in.
            ArgumentTypeError: `text` is no str, or a place no whole number (a TypeError).

        """
        start, end = self._checked_place(start, end)
        _check_characters(text)
        self._move_gap(start - self._seams.reach)
        first = self._characters_before
        blocks = self._blocks_up_to(end + self._seams.reach)
        old = "".join(block.text for block in blocks)
        new = old[: start - first] + text + old[end - first :]
        self._seams.check(new, first)
        made = self._encode(new)
        self._replace(blocks, made)
        return _change(self._ids_before, _ids(blocks), _ids(made))

    def copy(self) -> Session:
        """A session of its own with the same text; it shares the blocks, so little is copied."""
        other = Session(self._seams)
        other._before, other._after = self._before.copy(), self._after.copy()
        other._characters_before, other._ids_before = self._characters_before, self._ids_before
        other._num_characters, other._num_ids = self._num_characters, self._num_ids
        return other

    __copy__ = copy

    def _blocks(self) -> chain[_Block]:
        return chain(self._before, reversed(self._after))

    def _checked_place(self, start: int, end: int) -> tuple[int, int]:
        start, end = whole_number(start, "start"), whole_number(end, "end")
        if not start <= end <= self._num_characters:
            raise UsageError(
                f"start is {start} and end is {end}; give places in this order, up to the text's "
                f"{self._num_characters} characters"
            )
        return start, end

    def _move_gap(self, position: int) -> None:
        """Put the gap at the last border up to `position`, or at the start of the text."""
        while self._before and self._characters_before > position:
            block = self._before.pop()
            self._after.append(block)
            self._characters_before -= len(block.text)
            self._ids_before -= len(block.ids)
        while self._after and self._characters_before + len(self._after[-1].text) <= position:
            block = self._after.pop()
            self._before.append(block)
            self._characters_before += len(block.text)
            self._ids_before += len(block.ids)

    def _blocks_up_to(self, position: int) -> list[_Block]:
        """The blocks behind the gap up to the first border from `position` on, or to the end of the text."""
        blocks: list[_Block] = []
        reached = self._characters_before
        for block in reversed(self._after):
            if reached >= position:
                break
            blocks.append(block)
            reached += len(block.text)
        return blocks

    def _encode(self, text: str) -> list[_Block]:
        parts = list(self._seams.parts(text.encode(), BLOCK_BYTES))
        ids = self._seams.core.encode_batch_lists(parts, 1, self._seams.specials)
        return [_Block(part.decode(), block_ids) for part, block_ids in zip(parts, ids, strict=True)]

    def _replace(self, blocks: list[_Block], made: list[_Block]) -> None:
        """Put new blocks in the place of those behind the gap."""
        del self._after[len(self._after) - len(blocks) :]
        self._after += reversed(made)
        for sign, changed in ((-1, blocks), (1, made)):
            self._num_characters += sign * sum(len(block.text) for block in changed)
            self._num_ids += sign * sum(len(block.ids) for block in changed)


def _check_characters(text: str) -> None:
    """See that a text is a str of whole characters, so that a place in it is one in its UTF-8.

    Raises:
        UsageError: it holds a surrogate.
        ArgumentTypeError: it is no str.

    """
    check_text(text)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"text has the surrogate {quoted(text[error.start])}, half a character, at character {error.start}; join "
            'pairs first, as in text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")'
        ) from None


def _ids(blocks: list[_Block]) -> list[int]:
    return [token for block in blocks for token in block.ids]


def _change(first: int, old: list[int], new: list[int]) -> Change:
    """What has changed where ids from `first` on are others, without those at both ends that are the same."""
    shorter = min(len(old), len(new))
    start = next((i for i in range(shorter) if old[i] != new[i]), shorter)
    shorter -= start
    same = next((i for i in range(shorter) if old[-1 - i] != new[-1 - i]), shorter)
    return Change(first + start, first + len(old) - same, new[start : len(new) - same])

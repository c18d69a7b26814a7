"""The form of a song while it is written: stanzas and their rhymes, a hook, a chorus that returns, an end.

`SongForm` reads along, token by token, and answers what a writer must know: must these tokens come now (a chorus that
was sung before), may the song end here, must it, which word should the next line end with, and which earlier ones
should it rhyme with? It chooses nothing itself and can be left out.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gpt2x.data.lines import END_OF_PLAN, last_word, words_of
from gpt2x.generate.rhyme import Rhymes
from gpt2x.generate.song_request import MAX_LINES, MIN_LINES

_LABEL = re.compile(r"\[([^\]]+)\]")
_RETURNS = re.compile(r"(?i)(pre-?chorus|chorus|refrain|hook)\b")
_STANZA = 4
"""Lines after which the search for a rhyme begins anew, where a stanza is longer."""

_SHORTEST_STANZA = 2
CHORUSES = 2
"""How often a chorus is sung; in a long song once in twelve lines."""


class SongForm:
    """What a song has been so far, and what follows from that.

    Args:
        tokenizer: whose tokens are written; needs `decode_single_token_bytes`, `n_vocab` and `eot_token`.
        rhymes: which words rhyme.
        min_lines: before so many sung lines the song may not end.
        max_lines: after so many it ends with the stanza.
        returning_chorus: a chorus that is announced again comes back word for word.
        hook: a word that the chorus brings if the song has not sung it yet; "" for none.
        planned: lines are written as `gpt2x.data.lines.with_end_words` writes them.

    """

    def __init__(
        self,
        tokenizer: Any,
        rhymes: Rhymes,
        *,
        min_lines: int = MIN_LINES,
        max_lines: int = MAX_LINES,
        returning_chorus: bool = True,
        hook: str = "",
        planned: bool = False,
    ) -> None:
        self._tokenizer, self._rhymes = tokenizer, rhymes
        self.min_lines, self.max_lines = min_lines, max_lines
        self._returning = returning_chorus
        self.planned = planned
        self._hook = hook.lower()
        self._has_labels = self._has_outro = False
        self.sung: list[str] = []
        """The sung lines that are complete, without their plans; labels and empty lines are none."""
        self._line = b""
        self._ends: list[str] = []  # the last words of this stanza's lines
        self._rhymed: set[int] = set()  # which of those have found their rhyme
        self._label = ""
        self._block: list[int] = []  # the tokens since the label
        self._sung_to = 0  # how many of those belong to sung lines
        self._sung: dict[str, list[int]] = {}  # label -> the tokens under it, when first written
        self._labels: list[str] = []  # of the stanzas so far
        self._breaks_due = 0  # line ends that have to come before anything else may

    @functools.cached_property
    def _breaks(self) -> Tensor:
        """The tokens that are nothing but line ends, and the end; only a song whose chorus returns looks them up."""
        tokenizer, breaks = self._tokenizer, []
        for token in range(tokenizer.n_vocab):
            try:
                value = tokenizer.decode_single_token_bytes(token)
            except KeyError:  # an id that no token has
                continue
            if token == tokenizer.eot_token or (value and not value.strip(b"\n")):
                breaks.append(token)
        return torch.tensor(breaks, dtype=torch.int64)

    @property
    def lines(self) -> int:
        """How many lines were sung."""
        return len(self.sung)

    # What follows -----------------------------------------------------------------------------------------------

    def must_come(self) -> Sequence[int]:
        """Tokens that come now, whatever the model says: the chorus that was just announced again."""
        if self._line or self._block or not (self._returning and _RETURNS.match(self._label)):
            return ()
        return self._sung.get(self._label, ())

    def allow(self, scores: Tensor) -> Tensor:
        """Rule out what may not come now: the end before its time, and more words after a chorus that is whole."""
        eot = self._tokenizer.eot_token
        is_too_early = self.lines + bool(self._line.strip()) < self.min_lines
        if self._breaks_due:
            only = torch.full_like(scores, -math.inf)
            breaks = self._breaks[self._breaks < len(scores)]
            if is_too_early:
                breaks = breaks[breaks != eot]
            return only.index_copy(0, breaks, scores[breaks])
        if is_too_early and eot < len(scores):
            return scores.index_fill(0, torch.tensor([eot]), -math.inf)
        return scores

    @property
    def is_over(self) -> bool:
        """Whether the song has to end here: a stanza is complete, and it is long enough or that was its outro."""
        is_enough = self.lines >= (self.min_lines if self._has_outro else self.max_lines)
        return is_enough and not self._line and not self._ends and not self._label

    def fits(self, text: str) -> bool:
        """Whether something that is no line, a label or an empty line, may come here.

        A label follows an empty line and is followed by lines; a stanza has two lines at least; a chorus does not
        follow itself, and comes `CHORUSES` times at most.
        """
        label = _LABEL.fullmatch(text.strip())
        if label is None:
            return not text.isspace() or len(self._ends) >= _SHORTEST_STANZA
        name = label[1].strip().lower()
        if self._ends or self._label:
            return False
        returns = bool(_RETURNS.match(name))
        return not returns or (
            self._labels[-1:] != [name] and self._labels.count(name) < max(CHORUSES, self.lines // 12)
        )

    def instead_of(self, text: str) -> str:
        """What comes in place of something that does not fit: the outro for a label, else what it is."""
        return "[Outro]\n" if _LABEL.fullmatch(text.strip()) and not (self._ends or self._label) else text

    def wanted_end(self) -> str:
        """The word that the next line has to end with: the hook, "" for any other line.

        It opens the first chorus, and in a song without labels the second stanza, unless a line has sung it by then.
        """
        if not self._hook or self._line or self._ends:
            return ""
        is_due = _RETURNS.match(self._label) if self._has_labels else self.lines >= _STANZA
        return self._hook if is_due else ""

    def partners(self) -> list[str]:
        """The words with one of which the next line should rhyme; none where it is free.

        Of each four lines the fourth answers what is open: the third line after a pair of rhymes, the second where
        the first has its rhyme or none has, as in the ballad stanza. The others are free; couplets and crossed rhymes
        come about as the model likes. A rhyme that must be found for every line makes lines that are there for it.
        """
        places = self._four()
        if self._line or len(places) != _STANZA - 1:
            return []
        open_ = [self._ends[i] for i in places if i not in self._rhymed and self._rhymes.knows(self._ends[i])]
        return open_[1:2] if len(open_) == _STANZA - 1 else open_[:1]

    def _four(self) -> range:
        """The places of the lines, in this stanza, of the four that the next line belongs to."""
        return range(len(self._ends) // _STANZA * _STANZA, len(self._ends))

    def answers(self, word: str, partners: Sequence[str]) -> bool:
        """Whether a word rhymes with one of these, or there are none, and brings nothing for the third time.

        No line of this stanza has ended on it, and it does not rhyme with a pair of lines that rhyme already.
        """
        if word.lower() in {end.lower() for end in self._ends}:
            return False
        if any(
            self._rhymes.rhyme(word, self._ends[place]) for place in self._rhymed.intersection(self._four())
        ):
            return False
        return not partners or any(self._rhymes.rhyme(word, other) for other in partners)

    def answers_to(self, partners: Sequence[str]) -> list[str]:
        """All words that `answers` accepts, in small letters."""
        words = dict.fromkeys(word for partner in partners for word in self._rhymes.rhymes_of(partner))
        used = {end.lower() for end in self._ends}
        return [word for word in words if word not in used]

    # What was written -------------------------------------------------------------------------------------------

    def write(self, *tokens: int) -> None:
        """Read tokens that were written."""
        for token in tokens:
            self._block.append(token)
            text = self._line + self._tokenizer.decode_single_token_bytes(token)
            *complete, self._line = text.split(b"\n")
            self._breaks_due = max(0, self._breaks_due - len(complete))
            for line in complete:
                self._end_line(line.decode("utf-8", "replace").strip())

    def repeat(self, tokens: Sequence[int]) -> None:
        """Read a chorus that came back; only an empty line or the end may follow."""
        self.write(*tokens)
        self._breaks_due = 2

    def tokens_of(self, text: str) -> list[int]:
        """The tokens of a text that is not written yet."""
        return list(self._tokenizer.encode_ordinary(text))

    def text_of(self, tokens: Sequence[int]) -> str:
        """The text of tokens that are not written yet."""
        return b"".join(map(self._tokenizer.decode_single_token_bytes, tokens)).decode("utf-8", "replace")

    def _end_line(self, line: str) -> None:
        label = _LABEL.fullmatch(line)
        if not line:
            self._end_stanza()
        elif label is not None:
            self._end_stanza()
            self._label = label[1].strip().lower()
            self._has_labels = True
        else:
            if self.planned:
                line = line.rpartition(END_OF_PLAN)[2]
            self.sung.append(line)
            self._sung_to = len(self._block)
            if self._hook and self._hook in map(str.lower, words_of(line)):
                self._hook = ""
            word = last_word(line)
            for place in self._four():
                if self._rhymes.rhyme(word, self._ends[place]):
                    self._rhymed |= {place, len(self._ends)}
            self._ends.append(word)
            return
        self._block = []

    def _end_stanza(self) -> None:
        if self._label and self._ends:
            self._sung.setdefault(self._label, self._without_breaks(self._block[: self._sung_to]))
        if self._ends:
            self._has_outro = self._has_outro or self._label.startswith("outro")
            self._labels.append(self._label)
            self._label = ""
        self._ends, self._rhymed = [], set()

    def _without_breaks(self, tokens: Sequence[int]) -> list[int]:
        kept = list(tokens)
        while kept and not self._tokenizer.decode_single_token_bytes(kept[-1]).strip():
            kept.pop()
        return kept

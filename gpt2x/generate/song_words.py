"""Which words songs use: a planned rhyme is chosen among the common ones, and what is no word is not written.

The list that ships, ``song-words.txt.xz``, was counted in the packaged songs and in public-domain verse
(benchmarks/lyric_writer/song_words.py). A model of small tokens spells most words out of pieces and now and then
invents one, such as "parrotest"; `WordGuard` says which tokens would.
"""

from __future__ import annotations

import functools
import lzma
import re
from collections.abc import Iterable
from typing import Any

from gpt2x.data.lines import words_of
from gpt2x.paths import assets_dir

_CLITICS = frozenset(["", "s", "d", "ll", "m", "re", "ve", "t", "em"])
_LONG_TOKEN = re.compile(r" [a-z]{4,}")
_KNOWN_TOKENS = 0.9
"""Of a vocabulary's tokens that look like words, the share from which it is one of English songs."""


class SongWords:
    """A list of words, some of which are common.

    >>> words = SongWords(common=["rain", "day"], others=["parrot"])
    >>> words.is_common("Rain"), words.is_common("parrot"), words.knows("parrot's"), words.knows("parrotest")
    (True, False, True, False)
    """

    def __init__(self, common: Iterable[str], others: Iterable[str] = ()) -> None:
        self._common = frozenset(common)
        self._known = self._common.union(others)

    @functools.cached_property
    def _beginnings(self) -> frozenset[str]:
        return frozenset(word[:end] for word in self._known for end in range(1, len(word) + 1))

    def with_words(self, words: Iterable[str]) -> SongWords:
        """The same list and these words, such as a topic's."""
        return SongWords(self._common, self._known.union(word.lower().replace("’", "'") for word in words))

    def is_common(self, word: str) -> bool:
        """Whether songs use the word often."""
        return word.lower().replace("’", "'") in self._common

    def knows(self, word: str) -> bool:
        """Whether it is a word: in the list, or that with an ending after an apostrophe, or in another script."""
        return self._is_in(word, self._known)

    def begins(self, part: str) -> bool:
        """Whether some word that `knows` accepts begins so."""
        return self._is_in(part, self._beginnings)

    def _is_in(self, word: str, where: frozenset[str]) -> bool:
        word = word.lower().replace("’", "'")
        if word in where or not word.isascii():
            return True
        stem, _, ending = word.rpartition("'")
        drops_g = not ending and stem + "g" in self._known
        return drops_g or (stem in self._known and ending in _CLITICS)


class WordGuard:
    """Says which tokens may follow in a line so that all of its words are words.

    Args:
        words: that are known.

    >>> guard = WordGuard(SongWords(common=["a", "parrot", "rest"]))
    >>> [guard.allows("a parrot", token) for token in (" rest", "est", "!", " par")]
    [True, False, True, True]
    """

    def __init__(self, words: SongWords) -> None:
        self._words = words
        self._allows = functools.lru_cache(2**14)(self._judge)

    def allows(self, line: str, token: str) -> bool:
        """Whether the words that the token ends or goes on with can still be words.

        Args:
            line: what the line has so far, which is not judged again but for its last word.
            token: what would follow.

        """
        tail = re.search(r"[^\W\d_]*(?:['’][^\W\d_]*)*\Z", line)
        return self._allows(tail[0] if tail else "", token)

    def _judge(self, tail: str, token: str) -> bool:
        text = tail + token
        words = words_of(text)
        if not words:
            return True
        last = words[-1] if text.endswith(words[-1]) else None
        finished = words if last is None else words[:-1]
        return all(map(self._words.knows, finished)) and (last is None or self._words.begins(last))


def is_of_songs(tokenizer: Any, words: SongWords) -> bool:
    """Whether a vocabulary was learned from English songs: its longer words are known, or begin some that are.

    A model of another language, or with GPT-2's own vocabulary, writes words that our list cannot judge.
    """
    known = total = 0
    for token in range(tokenizer.n_vocab):
        try:
            text = tokenizer.decode_single_token_bytes(token).decode("ascii", "replace")
        except KeyError:  # an id that no token has
            continue
        if _LONG_TOKEN.fullmatch(text):
            total += 1
            known += words.begins(text[1:])
    return total > 0 and known >= _KNOWN_TOKENS * total


@functools.cache
def packaged_words() -> SongWords:
    """The list that ships with gpt2x, read once (about 20 ms)."""
    lines = lzma.decompress((assets_dir() / "song-words.txt.xz").read_bytes()).decode("ascii").split("\n")
    return SongWords(lines[0].split(), lines[1].split())

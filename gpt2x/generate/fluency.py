"""How likely a song's words are after each other, by a language model that has nothing to do with ours.

A model that judges itself finds all that it writes likely. This judge is the trigram model of English that pocketsphinx
ships for speech recognition (``pip install gpt2x[judge]``). It sees three words at a time: it notices lines that are no
English, not songs that make no sense. For comparison, in bits a word: songs by people -8.3, the packaged songs -8.3,
the same words in random order -12.0.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import re
from pathlib import Path
from typing import Any

from gpt2x.data.lines import is_sung
from gpt2x.errors import MissingComponentError

PACKAGE = "pocketsphinx"
UNKNOWN_WORD = -20.0
"""Bits of a word that the model does not know, and the least that any word gets."""

_MODEL = Path("model", "en-us", "en-us.lm.bin")
_BITS = math.log2(1.0001)
"""pocketsphinx counts in steps of log 1.0001."""
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")


def fluency(text: str) -> float:
    """Log-probability of the sung words, in bits a word; a line begins anew.

    Raises:
        MissingComponentError: pocketsphinx is not installed.

    """
    words = [word for line in text.split("\n") if is_sung(line) for word in _bits_of_line(line)]
    return sum(words) / len(words) if words else UNKNOWN_WORD


def _bits_of_line(line: str) -> list[float]:
    words = ["<s>", *_WORD.findall(line.lower().replace("’", "'"))]
    return [_bits(words[place], *words[max(0, place - 2) : place][::-1]) for place in range(1, len(words))]


@functools.lru_cache(1 << 16)
def _bits(*words: str) -> float:
    """Of the first word after the others, the nearest first."""
    return max(UNKNOWN_WORD, _trigrams().prob(list(words)) * _BITS)


@functools.cache
def _trigrams() -> Any:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise MissingComponentError(f"{PACKAGE} is not installed; pip install gpt2x[judge] brings it")
    from pocketsphinx import NGramModel

    return NGramModel.readfile(str(Path(found.origin).parent / _MODEL))

"""What the expressions of each engine mean in terms of the others: anchors, word characters, names of properties.

`dialects` translates by these tables.
"""

from __future__ import annotations

import functools
import re
from enum import Enum


class Dialect(Enum):
    """Whose regular expression a pattern is."""

    RUST = "Rust's fancy-regex"
    ONIGURUMA = "Oniguruma"


TEXT_START = r"(?<![\s\S])"
TEXT_END = r"(?![\s\S])"

_LINE_START = r"(?:(?<![\s\S])|(?<=\n)(?=[\s\S]))"  # not after a newline that ends the text
_LINE_END = r"(?![^\n])"

ANCHORS = {
    Dialect.RUST: {"^": TEXT_START, "$": TEXT_END, r"\A": TEXT_START, r"\z": TEXT_END},
    Dialect.ONIGURUMA: {
        "^": _LINE_START,
        "$": _LINE_END,
        r"\A": TEXT_START,
        r"\z": TEXT_END,
        r"\Z": rf"(?=\n?{TEXT_END})",
    },
}
# What is a word character: members of a set. Oniguruma has some more where it is not asked for a set.
WORD_IN_SET = {
    Dialect.RUST: "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\u200c\u200d",
    Dialect.ONIGURUMA: r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}",
}
WORD = WORD_IN_SET | {Dialect.ONIGURUMA: r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}²³¹¼½¾"}
CHARACTERS = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "a": "\a", "e": "\x1b"}
CATEGORIES = frozenset(
    re.findall(
        r"\w+",
        "L Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So Z Zs Zl Zp Cc Cf Co "
        "Letter Mark Number Punctuation Symbol Separator Alphabetic",
    )
)
SCRIPTS = frozenset(
    re.findall(
        r"\w+",
        "Latin Cyrillic Greek Han Hiragana Katakana Hangul Arabic Hebrew Devanagari Bengali Tamil Telugu Thai Georgian "
        "Armenian Ethiopic Gujarati Gurmukhi Kannada Malayalam Sinhala Oriya Khmer Lao Myanmar Tibetan Mongolian "
        "Cherokee Bopomofo Syriac Thaana Common Inherited",
    )
)


@functools.cache
def letters_in_one() -> tuple[str, ...]:
    """What single characters become when case is folded, where that is several: ss, ffi."""
    folded = (chr(code).casefold() for code in range(0xFB20))
    return tuple({letters for letters in folded if len(letters) > 1})

r"""Regular expressions of other engines, spelled so that all engines read them alike.

A splitting pattern comes from tiktoken, whose engine is Rust's, or from a ``tokenizer.json``, whose is Oniguruma; here
Python's `regex` runs it. The three differ where one would not look: to Rust ``$`` is the end of the text, to
Oniguruma the end of a line, to `regex` also the place before a last newline; ``{1,3}+`` is a possessive quantifier to
one and a repeated group to another; a set inside a set is a set to two of them. `neutral` parses a pattern as its own
engine does and writes it with what means the same to all three, tested against the engines themselves. What has no such
spelling is refused with the place where it stands.
"""

from __future__ import annotations

import functools
import re
from typing import NoReturn

from gpt2x.errors import UsageError, quoted
from gpt2x.tokenizer.engines import (
    ANCHORS,
    CATEGORIES,
    CHARACTERS,
    SCRIPTS,
    WORD,
    WORD_IN_SET,
    Dialect,
    letters_in_one,
)

MAX_CHARACTERS = 20_000
"""A longer pattern is refused: compiling it could take minutes."""

_SPECIAL = frozenset(r"\.+*?()|[]{}^$#&-~")
"""What is escaped, in a set and outside."""

_MAX_DEPTH = 50
_MAX_SIZE = 50_000  # with repetitions written out; `regex` would take all memory for more
_MAX_REPEAT = 1000


_SAMPLE = "".join(map(chr, range(0x3100)))  # has characters of all categories but some private ones in it
_GROUPS = ("(?:", "(?>", "(?=", "(?!", "(?<=", "(?<!")
_QUANTIFIER = re.compile(r"[*+?]|\{(\d*)(,?)(\d*)\}", re.ASCII)
_CAN_BE_REPEATED, _CANNOT_BE_REPEATED = True, False


@functools.lru_cache(maxsize=256)
def neutral(pattern: str, dialect: Dialect) -> str:
    r"""The same regular expression, with what means the same to `regex` (with its flag V1), Rust and Oniguruma.

    Args:
        pattern: as it is spelled for its engine.
        dialect: which engine that is.

    Raises:
        UsageError: it is no regular expression, or has something in it that is not known to be the same.

    >>> neutral(r"\p{N}{1,3}+|a$", Dialect.ONIGURUMA), neutral(r"\p{N}{1,3}+|a$", Dialect.RUST)
    ('(?:\\p{N}{1,3})+|a(?![^\\n])', '(?>\\p{N}{1,3})|a(?![\\s\\S])')
    """
    return _Translator(pattern, dialect).translate()


def reads_alike(pattern: str) -> bool:
    """Whether Rust and Oniguruma are known to take a pattern for the same.

    >>> reads_alike(r"\\p{N}{1,3}| ?\\p{L}+"), reads_alike(r"a$")
    (True, False)
    """
    try:
        return neutral(pattern, Dialect.RUST) == neutral(pattern, Dialect.ONIGURUMA)
    except UsageError:
        return False


class _Translator:
    """A recursive descent through one pattern; `_at` is the place reached."""

    def __init__(self, pattern: str, dialect: Dialect) -> None:
        self._pattern = pattern
        self._dialect = dialect
        self._at = 0
        self._depth = 0
        self._letters = ""  # one after the other, where case is ignored
        self._size = 0  # of what was read, with repetitions written out

    def translate(self) -> str:
        if len(self._pattern) > MAX_CHARACTERS:
            raise UsageError(
                f"the pattern {quoted(self._pattern)} has {len(self._pattern):,} characters; {MAX_CHARACTERS:,} is "
                "the most that is taken"
            )
        if (surrogate := re.search("[\ud800-\udfff]", self._pattern)) is not None:
            self._refuse("a lone surrogate", surrogate.start())
        result, _ = self._alternatives(ignore_case=False)
        if self._at < len(self._pattern):
            self._refuse("a ) that closes nothing")
        return result

    def _refuse(self, what: str, at: int | None = None) -> NoReturn:
        place = self._at if at is None else at
        raise UsageError(
            f"the pattern {quoted(self._pattern)} has {what} at character {place}, which this tokenizer does not take "
            f"for a regular expression of {self._dialect.value}; spell it otherwise"
        )

    def _peek(self, text: str) -> bool:
        return self._pattern.startswith(text, self._at)

    def _take(self, text: str) -> bool:
        if not self._peek(text):
            return False
        self._at += len(text)
        return True

    def _next(self) -> str:
        """The next character, which is passed."""
        if self._at >= len(self._pattern):
            self._refuse("an end too early")
        self._at += 1
        return self._pattern[self._at - 1]

    # ------------------------------------------------------------------------------------------------------------
    # Sequences

    def _alternatives(self, ignore_case: bool) -> tuple[str, bool]:
        """What stands up to the group's end, and whether it can be repeated: no alternative is only anchors."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            self._refuse(f"groups more than {_MAX_DEPTH} deep")
        if self._take("(?i)"):  # to the end of the group, all its alternatives included
            ignore_case = True
        branch, can_be_repeated = self._sequence(ignore_case)
        branches = [branch]
        while self._take("|"):
            branch, this_can = self._sequence(ignore_case)
            branches.append(branch)
            can_be_repeated = can_be_repeated and this_can
        self._depth -= 1
        return "|".join(branches), can_be_repeated

    def _sequence(self, ignore_case: bool) -> tuple[str, bool]:
        parts = []
        has_length = False
        self._letters = ""
        while self._at < len(self._pattern) and not (self._peek("|") or self._peek(")")):
            start, size = self._at, self._size
            atom, can_be_repeated = self._atom(ignore_case)
            self._size += 1
            has_length = has_length or can_be_repeated
            parts.append(self._quantified(atom, can_be_repeated, start, self._size - size))
        return "".join(parts), has_length or not parts

    def _quantified(self, atom: str, can_be_repeated: bool, start: int, size: int) -> str:
        quantifier = self._quantifier()
        if not quantifier:
            return atom
        if not can_be_repeated:
            self._refuse("a quantifier on something that has no length", start)
        suffix = next((mark for mark in "?+" if self._take(mark)), "")
        if self._quantifier():
            self._refuse("a quantifier on a quantifier", start)
        repeated = atom + quantifier
        self._size += size * max(map(int, re.findall(r"\d+", quantifier)), default=1)
        if self._size > _MAX_SIZE:
            self._refuse("repetitions of repetitions, too long when they are written out,", start)
        if not quantifier.startswith("{"):
            return repeated + suffix
        if self._dialect is Dialect.RUST:
            if suffix == "+":
                return f"(?>{repeated})"
            return repeated if "," not in quantifier else repeated + suffix
        if suffix == "+" or (suffix == "?" and "," not in quantifier):
            return f"(?:{repeated}){suffix}"
        return repeated + suffix

    def _quantifier(self) -> str:
        """The quantifier that stands here, which is passed, without what makes it lazy or possessive."""
        match = _QUANTIFIER.match(self._pattern, self._at)
        if match is None:
            return ""
        if not match.group().startswith("{"):
            self._at = match.end()
            return match.group()
        low, comma, high = match.groups()
        if not low and not high:  # no quantifier: {} or {,}
            return ""
        if not low and self._dialect is Dialect.RUST:
            self._refuse("a quantifier without a lower bound")
        least = int(low or 0)
        most = int(high) if high else least
        if max(least, most) > _MAX_REPEAT or most < least:
            self._refuse(f"a quantifier that is not between 0 and {_MAX_REPEAT}, smaller number first")
        self._at = match.end()
        return "{" + (f"{least},{high}" if comma else f"{least}") + "}"

    # ------------------------------------------------------------------------------------------------------------
    # Atoms

    def _atom(self, ignore_case: bool) -> tuple[str, bool]:
        """What stands here, and whether it can be repeated."""
        if self._peek("("):
            return self._group(ignore_case)
        start = self._at
        character = self._next()
        if character == "\\":
            return self._escape(ignore_case)
        if character in "^$.[":
            self._letters = ""
        if character in "^$":
            return ANCHORS[self._dialect][character], _CANNOT_BE_REPEATED
        if character in "*+?" or (character == "{" and self._quantifier_at(start)):
            self._refuse("a quantifier on nothing", start)
        if character == ".":
            return r"[^\n]", _CAN_BE_REPEATED
        if character == "[":
            return self._set(ignore_case), _CAN_BE_REPEATED
        return self._literal(character, ignore_case, start), _CAN_BE_REPEATED

    def _quantifier_at(self, start: int) -> bool:
        match = _QUANTIFIER.match(self._pattern, start)
        return match is not None and bool(match.group(1) or match.group(3))

    def _group(self, ignore_case: bool) -> tuple[str, bool]:
        start = self._at
        opening = next((group for group in _GROUPS if self._take(group)), "")
        looks_around = opening in ("(?=", "(?!", "(?<=", "(?<!")
        if not opening:
            opening = "(?:"
            if self._take("(?i:"):
                ignore_case = True
            elif self._take("(?-i:"):
                ignore_case = False
            elif self._peek("(?<") or (self._dialect is Dialect.RUST and self._peek("(?P<")):
                name = re.compile(r"\(\?P?<[A-Za-z_]\w*>", re.ASCII).match(self._pattern, self._at)
                if name is None:
                    self._refuse("a group without a name")
                self._at = name.end()
            elif self._peek("(?") or self._peek("(*"):
                self._refuse(f"the group {quoted(self._pattern[start : start + 4])}")
            else:
                self._at += 1
        inside, can_be_repeated = self._alternatives(ignore_case)
        if not self._take(")"):
            self._refuse("a group that is not closed", start)
        return f"{opening}{inside})", can_be_repeated and not looks_around

    def _escape(self, ignore_case: bool) -> tuple[str, bool]:
        start = self._at - 1
        letter = self._pattern[self._at : self._at + 1]
        anchor = self._boundary(letter) if letter in ("b", "B") else ANCHORS[self._dialect].get(f"\\{letter}")
        if anchor is not None:
            self._at += 1
            self._letters = ""
            return anchor, _CANNOT_BE_REPEATED
        members = self._class_escape(start, ignore_case, WORD[self._dialect])
        if members is None:
            return self._literal(self._character_escape(start), ignore_case, start), _CAN_BE_REPEATED
        self._letters = ""
        is_single = re.fullmatch(r"\\[sS]|\\[pP]\{\w+\}", members) is not None
        return members if is_single else f"[{members}]", _CAN_BE_REPEATED

    def _boundary(self, letter: str) -> str:
        r"""``\b`` or ``\B`` by what is a word character in this dialect."""
        word = f"[{WORD[self._dialect]}]"
        if letter == "b":
            return f"(?:(?<={word})(?!{word})|(?<!{word})(?={word}))"
        return f"(?:(?<={word})(?={word})|(?<!{word})(?!{word}))"

    def _class_escape(self, start: int, ignore_case: bool, word: str) -> str | None:
        r"""The members of ``\s``, ``\p{L}`` and their like, which is passed; None where there is none."""
        letter = self._pattern[self._at : self._at + 1]
        members = {
            "s": r"\s",
            "S": r"\S",
            "d": r"\p{Nd}",
            "D": r"\P{Nd}",
            "h": "0-9A-Fa-f",
            "H": "[^0-9A-Fa-f]",
            "w": word,
            "W": f"[^{word}]",
        }.get(letter)
        if members is not None:
            self._at += 1
            return members
        if letter not in ("p", "P"):
            return None
        if ignore_case:
            self._refuse("a property where case is ignored", start)
        self._at += 1
        if self._dialect is Dialect.RUST and not self._peek("{"):
            name, inverted = self._next(), False
        else:
            match = re.compile(r"\{(\^?)([A-Za-z_]+(?:=[A-Za-z_]+)?)\}").match(self._pattern, self._at)
            if match is None:
                self._refuse("a property without a name", start)
            self._at = match.end()
            inverted, name = bool(match.group(1)), match.group(2)
        if self._dialect is Dialect.RUST:
            name = re.sub(r"^(?:Script|sc)=", "", name)
        if name not in CATEGORIES and name not in SCRIPTS:
            self._refuse(f"the property {quoted(name)}", start)
        return rf"\{'P' if (letter == 'P') != inverted else 'p'}{{{name}}}"

    def _character_escape(self, start: int) -> str:
        """The character that an escape stands for; the backslash is passed."""
        letter = self._next()
        if letter in CHARACTERS:
            return CHARACTERS[letter]
        rust = self._dialect is Dialect.RUST
        starts_or_ends_word = rust and letter in "<>"
        if not ((letter.isalnum() and letter.isascii()) or starts_or_ends_word):
            return letter
        spelled = {
            "x": r"([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]{1,6})\}",
            "u": r"([0-9A-Fa-f]{4})" + (r"|\{([0-9A-Fa-f]{1,6})\}" if rust else ""),
        }.get(letter)
        match = re.compile(spelled).match(self._pattern, self._at) if spelled else None
        code = int(next(filter(None, match.groups())), 16) if match else -1
        is_byte = letter == "x" and match is not None and match.group(1) is not None
        if (
            match is None
            or code > 0x10FFFF
            or 0xD800 <= code < 0xE000
            or (is_byte and code > 0x7F and not rust)
        ):
            self._refuse(f"the escape {quoted(self._pattern[start : start + 2])}", start)
        self._at = match.end()
        return chr(code)

    def _literal(self, character: str, ignore_case: bool, start: int) -> str:
        variants = self._variants(character, start) if ignore_case else character
        if ignore_case:
            self._check_letters(character, start)
        spelled = "".join(map(_spell, variants))
        return spelled if len(variants) == 1 else f"[{spelled}]"

    def _check_letters(self, character: str, start: int) -> None:
        """Refuse ss and its like, for which Oniguruma takes ß, too."""
        self._letters += character.casefold()
        if self._dialect is Dialect.ONIGURUMA and any(map(self._letters.endswith, letters_in_one())):
            self._refuse("letters that can be one in another case", start)

    def _variants(self, character: str, start: int) -> str:
        """The character in every case; the long s is an s, the Kelvin sign a k."""
        if character.isascii():
            both = "".join(dict.fromkeys(character.lower() + character.upper()))
            return both + {"s": "ſ", "k": "\u212a"}.get(character.lower(), "")
        if not character.upper() == character.lower() == character.casefold() == character:
            self._refuse("a letter beyond ASCII where case is ignored", start)
        return character

    # ------------------------------------------------------------------------------------------------------------
    # Sets

    def _set(self, ignore_case: bool) -> str:
        """A set, with the opening bracket passed."""
        start = self._at - 1
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            self._refuse(f"sets more than {_MAX_DEPTH} deep", start)
        negation = "^" if self._take("^") else ""
        operands: list[list[str]] = [[]]
        if self._peek("]"):
            self._refuse("a ] that comes first in a set without a backslash")
        while not self._take("]"):
            if self._take("&&"):
                operands.append([])
            else:
                operands[-1].append(self._set_item(ignore_case, is_first=not operands[-1]))
        if not all(operands):
            self._refuse("an intersection with nothing", start)
        self._depth -= 1
        unions = ["".join(operand) for operand in operands]
        if negation and _has_everything(unions):  # whose negation `regex` takes for everything
            self._refuse("a set of nothing", start)
        if len(unions) == 1:
            return f"[{negation}{unions[0]}]"
        return f"[{negation}{'&&'.join(f'[{union}]' for union in unions)}]"

    def _set_item(self, ignore_case: bool, *, is_first: bool) -> str:
        start = self._at
        for operator in ("--", "~~", "[:"):
            if self._peek(operator):
                self._refuse(f"{operator} in a set")
        if self._take("["):
            return self._set(ignore_case)
        if self._peek("-") and not (is_first or self._peek("-]")):
            self._refuse("a - that is neither first nor last in a set")
        low = self._set_end(start, ignore_case)
        if len(low) != 1:  # a class
            if self._range_follows():
                self._refuse("a range from a class", start)
            return low
        if self._peek("--"):
            self._refuse("-- in a set")
        if not self._range_follows():
            return "".join(map(_spell, self._variants(low, start) if ignore_case else low))
        self._take("-")
        if self._peek("["):
            self._refuse("a range to a set", start)
        high = self._set_end(start, ignore_case)
        if len(high) != 1 or high < low:
            self._refuse("a range that does not run from one character to a later one", start)
        if not ignore_case:
            return f"{_spell(low)}-{_spell(high)}"
        if not high.isascii():
            self._refuse("a range beyond ASCII where case is ignored", start)
        members = "".join(self._variants(chr(code), start) for code in range(ord(low), ord(high) + 1))
        return "".join(map(_spell, dict.fromkeys(members)))

    def _set_end(self, start: int, ignore_case: bool) -> str:
        """A character in a set, which may be where a range begins or ends, or the members of a class."""
        if not self._take("\\"):
            return self._next()
        members = self._class_escape(self._at - 1, ignore_case, WORD_IN_SET[self._dialect])
        return members if members is not None else self._character_escape(start)

    def _range_follows(self) -> bool:
        """True where a - stands here that is not the last in its set."""
        return self._peek("-") and not self._peek("-]")


def _has_everything(unions: list[str]) -> bool:
    """Whether an intersection of unions of set members has all of some thousand characters in it."""
    if not all("[^" in union or r"\S" in union or r"\P" in union for union in unions):
        return False
    import regex

    members = "&&".join(f"[{union}]" for union in unions)
    return regex.compile(f"[{members}]*+", regex.V1).fullmatch(_SAMPLE) is not None


def _spell(character: str) -> str:
    """A character as itself, in a set and outside."""
    named = {"\n": r"\n", "\r": r"\r", "\t": r"\t", "\f": r"\f", "\v": r"\v"}
    if character in named:
        return named[character]
    return "\\" + character if character in _SPECIAL else character

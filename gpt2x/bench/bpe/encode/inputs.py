"""The texts that are tokenized: what every machine has, texts that are made from a seed, and files of your own.

Four natural texts (English, source code, many languages, Chinese-Japanese-Korean) say how fast a tokenizer is at work;
five generated ones say whether somebody can bring it to a halt. No text is ever repeated to make it longer, except a
very short one of your own, since a cache of what was seen before would then be measured.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import os
import random
import re
import string
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path

from gpt2x.bench.text import load_documents
from gpt2x.errors import InputDataError, UsageError, quoted
from gpt2x.paths import open_input, read_text

NATURAL, GENERATED = "natural", "generated"
SEED = 1
BATCH_DOCUMENT_BYTES = 64 * 1024
SHORTEST_BYTES = 100_000
"""A shorter text of your own is repeated up to this size, so that a clock can tell the difference."""

BATCH_BYTES = 40 * BATCH_DOCUMENT_BYTES
"""A batch is made of the start of a text: slow tokenizers need not take the whole of it several times more."""

SURROGATES = range(0xD800, 0xE000)
CJK_CHARACTER = re.compile("[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7a3]")


@dataclass(frozen=True, kw_only=True)
class Input:
    """One text, and what it is."""

    name: str
    kind: str
    """natural or generated: for the first, batches and decoding are measured too."""
    what: str
    text: str

    @property
    def num_bytes(self) -> int:
        """Its size as UTF-8."""
        return len(self.text.encode())


@dataclass(frozen=True, kw_only=True)
class BuiltIn:
    """A text that needs no file: `make` gives its parts, of which as many are taken as it is to be long."""

    name: str
    kind: str
    what: str
    make: Callable[[], Iterable[str]]


# ----------------------------------------------------------------------------------------------------------------
# From what every machine has


def prose() -> Iterator[str]:
    """English: the packaged songs, Python's help pages, and the longer docstrings of its standard library."""
    yield from load_documents(None)
    with contextlib.suppress(ImportError):  # a Python that was stripped of its documentation
        yield from importlib.import_module("pydoc_data.topics").topics.values()
    for source in standard_library():
        yield from (found for found in re.findall(r'"""(.*?)"""', source, re.DOTALL) if len(found) > 80)


def standard_library() -> Iterator[str]:
    """The sources of this Python's standard library, without its tests, in the order of their names."""
    for folder, inner, files in os.walk(sysconfig.get_paths()["stdlib"]):
        inner[:] = sorted(set(inner) - {"site-packages", "dist-packages", "test", "tests"})
        for file in sorted(files):
            if file.endswith(".py"):
                try:
                    yield read_text(Path(folder, file))
                except InputDataError:
                    continue  # a source in an encoding of its own


# ----------------------------------------------------------------------------------------------------------------
# Made from a seed


@dataclass(frozen=True)
class Script:
    """A way of writing, as far as a tokenizer can tell: its letters, what is between words, and how a line ends."""

    letters: str
    longest_word: int
    space: str
    stop: str


def _letters(*ranges: tuple[int, int]) -> str:
    found = (chr(code) for first, last in ranges for code in range(first, last + 1))
    return "".join(filter(str.isalpha, found))


HAN = Script(_letters((0x4E00, 0x9FA5)), 3, "", "。")
KANA = Script(_letters((0x3041, 0x3096), (0x30A1, 0x30FA), (0x4E00, 0x52FF)), 4, "", "。")
HANGUL = Script(_letters((0xAC00, 0xD7A3)), 4, " ", ".")
CJK = (HAN, KANA, HANGUL)
SCRIPTS = (
    Script(_letters((0x61, 0x7A), (0xDF, 0xF6), (0xF8, 0x17F)), 9, " ", "."),
    Script(_letters((0x430, 0x45F)), 9, " ", "."),
    Script(_letters((0x3AC, 0x3CE)), 9, " ", "."),
    Script(_letters((0x5D0, 0x5EA)), 6, " ", "."),
    Script(_letters((0x620, 0x64A)), 6, " ", "؟"),
    Script(_letters((0x904, 0x939), (0x93E, 0x94C)), 6, " ", "।"),
    Script(_letters((0xE01, 0xE33), (0xE40, 0xE45)), 12, "", " "),
    *CJK,
    Script("😀😂🎉🚀❤👍🏽👩‍🌾", 3, " ", "!"),
)


def sentences(scripts: Sequence[Script], words: int = 4000) -> Iterator[str]:
    """Endless lines of invented words, each line in one script; as in a language, few words make up most of a text."""
    rng = random.Random(SEED)
    weights = list(accumulate(1 / rank for rank in range(1, words + 1)))
    lexicons = [
        ["".join(rng.choices(script.letters, k=rng.randint(1, script.longest_word))) for _ in range(words)]
        for script in scripts
    ]
    while True:
        script, lexicon = rng.choice(list(zip(scripts, lexicons, strict=True)))
        yield script.space.join(rng.choices(lexicon, cum_weights=weights, k=rng.randint(4, 16))) + script.stop


def random_choice(alphabet: str) -> Iterator[str]:
    """Endless random characters of an alphabet."""
    rng = random.Random(SEED)
    while True:
        yield "".join(rng.choices(alphabet, k=1000))


def random_unicode() -> Iterator[str]:
    """Endless random code points of all planes, most of them unassigned, without surrogates."""
    rng = random.Random(SEED)
    while True:
        codes = (rng.randrange(0x110000) for _ in range(1000))
        yield "".join(chr(code) for code in codes if code not in SURROGATES)


def _forever(character: str) -> Callable[[], Iterator[str]]:
    def repeat() -> Iterator[str]:
        while True:
            yield character * 1000

    return repeat


BUILT_IN = (
    BuiltIn(
        name="lyrics", kind=NATURAL, what="the packaged songs, Python's help pages and docstrings", make=prose
    ),
    BuiltIn(
        name="code",
        kind=NATURAL,
        what="the sources of this Python's standard library",
        make=standard_library,
    ),
    BuiltIn(
        name="multilingual",
        kind=NATURAL,
        what=f"invented words in {len(SCRIPTS)} scripts",
        make=lambda: sentences(SCRIPTS),
    ),
    BuiltIn(
        name="cjk",
        kind=NATURAL,
        what="invented words in Chinese, Japanese and Korean characters",
        make=lambda: sentences(CJK),
    ),
    BuiltIn(name="letter", kind=GENERATED, what="the letter a, over and over", make=_forever("a")),
    BuiltIn(
        name="letters",
        kind=GENERATED,
        what="random letters without a break",
        make=lambda: random_choice(string.ascii_lowercase),
    ),
    BuiltIn(name="carets", kind=GENERATED, what="^, over and over", make=_forever("^")),
    BuiltIn(
        name="blanks",
        kind=GENERATED,
        what="spaces and line ends, mixed",
        make=lambda: random_choice(" \n"),
    ),
    BuiltIn(name="unicode", kind=GENERATED, what="random code points of all planes", make=random_unicode),
)


# ----------------------------------------------------------------------------------------------------------------
# From files


def documents(path: Path) -> Iterator[str]:
    """The documents of a file (.csv of songs, .jsonl with a field `text`, any other text), or of a folder's files.

    Files may be packed (``.xz``, ``.gz``). In a folder, files of other kinds are passed over.

    Raises:
        InputDataError: it is missing, empty or not UTF-8, or its lines have no field `text`.

    """
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if {".csv", ".jsonl", ".txt"} & set(file.suffixes)]
        if not files:
            raise InputDataError(f"{path} has no .txt, .csv or .jsonl file; give a folder of texts")
        yield from chain.from_iterable(map(documents, files))
    elif ".jsonl" in path.suffixes:
        yield from (text for _, text in named_documents(path))
    else:
        yield from load_documents(path)


def named_documents(path: Path) -> Iterator[tuple[str, str]]:
    """Name and text of each of the JSON lines of a file: its fields ``name``, or the number of the line, and ``text``.

    Raises:
        InputDataError: the file is missing, or a line is no object with a text.

    """
    with open_input(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                values = json.loads(line)
                text, name = str(values["text"]), str(values.get("name", number))
            except (ValueError, KeyError, TypeError) as error:
                raise InputDataError(
                    f'{path}, line {number} is no JSON object with a field "text"; give one text a line'
                ) from error
            yield name, text


def is_cjk(document: str) -> bool:
    """Whether at least a fifth of its characters (about half of its bytes) are Chinese, Japanese or Korean."""
    return not document.isascii() and 5 * len(CJK_CHARACTER.findall(document)) >= len(document)


# ----------------------------------------------------------------------------------------------------------------
# All together


def gather(
    data: Sequence[Path] = (), *, names: str = "all", natural_bytes: int, generated_bytes: int
) -> list[Input]:
    """The texts of a run.

    Args:
        data: files or folders; each becomes an input of its name and takes the place of a built-in one of that name.
            The input `cjk` is made of their documents in these languages, where there are enough.
        names: which inputs, separated by commas, or ``all``.
        natural_bytes: how long a natural text is at most.
        generated_bytes: how long a generated one is.

    Raises:
        UsageError: an unknown name, or two files of the same name.
        InputDataError: a file is missing, empty or of another kind.

    """
    own = _by_name(data)
    known = [*(source.name for source in BUILT_IN), *(name for name in own if name not in _built_in_names())]
    chosen = known if names == "all" else [name.strip() for name in names.split(",")]
    if unknown := [name for name in chosen if name not in known]:
        raise UsageError(f"--inputs {quoted(unknown[0])} is unknown; known: all, {', '.join(known)}")
    contents = {name: list(documents(path)) for name, path in own.items()}
    found = []
    for name in (name for name in known if name in chosen):
        source = next((source for source in BUILT_IN if source.name == name), None)
        if name in own:
            found.append(_own(name, own[name], contents[name], natural_bytes))
        elif name == "cjk" and (real := _real_cjk(contents, natural_bytes)):
            found.append(real)
        elif source is not None:
            found.append(_built_in(source, natural_bytes if source.kind == NATURAL else generated_bytes))
    return [text for text in found if text.text]


def own_name(path: Path) -> str:
    """What an input is called that is made of this file: its name without suffixes."""
    return path.name.partition(".")[0] or path.name


def _by_name(data: Sequence[Path]) -> dict[str, Path]:
    own: dict[str, Path] = {}
    for path in data:
        other = own.setdefault(own_name(path), path)
        if other is not path:
            raise UsageError(
                f"{other} and {path} are both called {quoted(own_name(path))} in the table; rename one"
            )
    return own


def _own(name: str, path: Path, content: Sequence[str], num_bytes: int) -> Input:
    text = take(content, num_bytes)
    if not text.strip():
        raise InputDataError(f"{path} is empty; give a text to tokenize")
    shortest = min(SHORTEST_BYTES, num_bytes)
    if len(text.encode()) < shortest:
        text = take(itertools.repeat(text), shortest)
    return Input(name=name, kind=NATURAL, what=f"from {path.name}", text=text)


def _built_in_names() -> set[str]:
    return {source.name for source in BUILT_IN}


def _built_in(source: BuiltIn, num_bytes: int) -> Input:
    between = "" if source.kind == GENERATED else "\n"
    text = take(source.make(), num_bytes, between=between)
    return Input(name=source.name, kind=source.kind, what=source.what, text=text)


def _real_cjk(contents: Mapping[str, Sequence[str]], num_bytes: int) -> Input | None:
    text = take(filter(is_cjk, chain.from_iterable(contents.values())), num_bytes)
    if len(text.encode()) < SHORTEST_BYTES:
        return None
    what = f"documents in Chinese, Japanese and Korean of {', '.join(contents)}"
    return Input(name="cjk", kind=NATURAL, what=what, text=text)


def take(parts: Iterable[str], num_bytes: int, *, between: str = "\n\n") -> str:
    r"""Join parts until that many bytes of UTF-8 are reached; what is too much is cut off, between two characters.

    >>> take(["low", "löwest", "never seen"], 6, between=" ")
    'low l'
    """
    joined = bytearray()
    for part in parts:
        if joined:
            joined += between.encode()
        joined += part.encode(errors="replace")  # a lone surrogate, which JSON can hold
        if len(joined) >= num_bytes:
            break
    return joined[:num_bytes].decode(errors="ignore")


def split_documents(text: str, num_bytes: int = BATCH_DOCUMENT_BYTES) -> list[str]:
    """Cut a text into documents of at most that many bytes, between two characters.

    >>> split_documents("aé€", 3)
    ['aé', '€']
    """
    data = text.encode()
    cuts, start = [], 0
    while start < len(data):
        end = min(start + num_bytes, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80:  # inside a character
            end -= 1
        cuts.append(data[start:end].decode())
        start = end
    return cuts

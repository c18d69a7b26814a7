"""Where the vocabularies of GPT-2 and of OpenAI's later encodings come from.

They are OpenAI's, so they do not ship with gpt2x. Each is looked for, in this order: a path that is given, the path in
``GPT2X_VOCAB``, gpt2x's cache, files that other tools have downloaded (tiktoken, Hugging Face) or that installed
packages carry (Whisper), and last a download from OpenAI (``GPT2X_OFFLINE=1`` forbids it). Whatever is found
counts only if its ranks have the checksum of OpenAI's own file: there is never a silent wrong vocabulary.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from gpt2x.download import DownloadError, download, is_offline
from gpt2x.errors import InputDataError, MissingComponentError, OutputError
from gpt2x.paths import cache_dir
from gpt2x.tokenizer import formats
from gpt2x.tokenizer.arguments import check_path
from gpt2x.tokenizer.published import ENCODINGS, R50K, Published, RankFile, published
from gpt2x.tokenizer.vocabulary import Vocabulary, of_published

NAMES = tuple(ENCODINGS)
"""The names that `find` knows: the encodings that OpenAI has published."""

DOWNLOAD_SECONDS = 60.0
"""How long a download may take before it is given up."""

RANK_FILE_BYTES = 16 << 20
"""How long a downloaded rank file may be; the longest has 4 MB."""

# GPT-2's vocabulary also comes as a pair of files; these are its names with OpenAI and in tiktoken's cache.
_GPT2_PAIR = ("vocab.bpe", "encoder.json")
_TIKTOKEN_PAIR = ("6d1cbeee0f20b3d9449abfede4726ed8212e3aee", "6c7ea1a7e38e3a7f062df639a5b80947f075ffe6")

_GPT2_REMEDY = (
    "set GPT2X_VOCAB to a file or folder that holds it (r50k_base.tiktoken, vocab.bpe with encoder.json, or the "
    "tokenizer.json of GPT-2), install a package that carries it (openai-whisper), or allow the download once"
)


class Found(NamedTuple):
    """A published vocabulary, and where it was found."""

    vocabulary: Vocabulary
    source: str
    path: Path


class Search:
    """Goes through the candidates for one encoding and remembers why each was not taken."""

    def __init__(self, encoding: Published) -> None:
        """Begin with nothing refused."""
        self.encoding = encoding
        self.refused: list[str] = []

    def first(self, candidates: Iterator[tuple[str, Path]]) -> Found | None:
        """The first candidate that holds the genuine vocabulary."""
        for source, path in candidates:
            try:
                return Found(genuine(path.absolute(), self.encoding.name), source, path)
            except InputDataError as error:
                self.refused.append(f"{source}: {error}")
        return None


def find(path: str | os.PathLike[str] | None = None, *, name: str = "gpt2", download: bool = True) -> Found:
    """Look for a published vocabulary.

    Args:
        path: the only place to look at, if given.
        name: which one.
        download: whether the last resort may be tried.

    Raises:
        UsageError: an unknown name.
        InputDataError: `path` or ``GPT2X_VOCAB`` does not hold that vocabulary.
        MissingComponentError: the vocabulary is nowhere to be found and cannot be downloaded.

    """
    encoding = published(name)
    if path is not None:
        check_path(path, "path")
    if path:
        return Found(genuine(Path(path).absolute(), name), "given path", Path(path))
    if place := _named_place(encoding.ranks):
        try:
            return Found(genuine(place.absolute(), name), "GPT2X_VOCAB", place)
        except InputDataError as error:
            raise InputDataError(f"GPT2X_VOCAB is set, but {error}") from error
    search = Search(encoding)
    found = search.first(_candidates(encoding.ranks))
    if found is None and download:
        found = _download(search)
    if found is None:
        tried = f" (looked at: {'; '.join(search.refused)})" if search.refused else ""
        raise MissingComponentError(
            f"{_title(encoding.ranks)} is not on this machine{tried}: {_remedy(encoding.ranks)}"
        )
    return found


def describe() -> dict[str, Any]:
    """What `Tokenizer.load("gpt2")` would use, without downloading anything; for `gpt2x env`.

    Returns:
        ``name``, ``source`` ("GPT2X_VOCAB", "cache", "package NAME", …, or "missing"), ``path`` (None when missing) and
        ``reason``, a sentence.

    """
    try:
        found = find(download=False)
    except (InputDataError, MissingComponentError) as error:
        return {"name": "gpt2", "source": "missing", "path": None, "reason": str(error)}
    reason = f"from {found.source}, checksum as OpenAI published it"
    return {"name": "gpt2", "source": found.source, "path": str(found.path), "reason": reason}


@functools.lru_cache(maxsize=8)
def genuine(path: Path, name: str) -> Vocabulary:
    """Read a vocabulary that must be the published one; its ranks are compared by checksum, so any format will do."""
    encoding = ENCODINGS[name]
    vocabulary = _read(path, encoding)
    if vocabulary.fingerprint != encoding.ranks.sha256:
        raise InputDataError(
            f"{path} holds another vocabulary than {_owner(encoding.ranks)}'s ({len(vocabulary.mergeable_ranks)} "
            f"ranks, sha256 {vocabulary.fingerprint[:12]}…); load it by its path instead of by the name {name!r}"
        )
    return of_published(encoding, vocabulary.mergeable_ranks)


def _read(path: Path, encoding: Published) -> Vocabulary:
    if path.name == _TIKTOKEN_PAIR[0]:
        return formats.read_gpt2_pair(path, path.with_name(_TIKTOKEN_PAIR[1]), encoding.pattern)
    inside = (path / file_name for file_name in encoding.ranks.file_names)
    return formats.read(next((file for file in inside if file.is_file()), path), encoding.pattern)


def _owner(ranks: RankFile) -> str:
    return "GPT-2" if ranks is R50K else ranks.name


def _title(ranks: RankFile) -> str:
    return f"the {_owner(ranks)} vocabulary"


def _remedy(ranks: RankFile) -> str:
    if ranks is R50K:
        return _GPT2_REMEDY
    return (
        f"put {ranks.name}.tiktoken into a folder and set GPT2X_VOCAB to it, install a package that carries it "
        "(litellm), or allow the download once"
    )


# ----------------------------------------------------------------------------------------------------------------
# Places


def cached_path(ranks: RankFile = R50K) -> Path:
    """Where gpt2x keeps a vocabulary once it was downloaded."""
    return cache_dir() / "vocab" / ranks.file_names[0]


def _named_place(ranks: RankFile) -> Path | None:
    """What ``GPT2X_VOCAB`` names: GPT-2's vocabulary, or a file or folder of others, which it need not hold."""
    named = os.environ.get("GPT2X_VOCAB")
    if not named:
        return None
    place = Path(named)
    if not place.exists() and ranks is not R50K:  # for GPT-2, reading it says so
        raise InputDataError(
            f"GPT2X_VOCAB is set, but there is no tokenizer at {place}; set it to a file or a folder"
        )
    holds = place.name in ranks.file_names or any((place / name).is_file() for name in ranks.file_names)
    return place if holds or ranks is R50K else None


def _candidates(ranks: RankFile) -> Iterator[tuple[str, Path]]:
    if cached_path(ranks).exists():
        yield "cache", cached_path(ranks)
    yield from _tiktoken_cache(ranks)
    if ranks is R50K:
        yield from _hub_cache()
    yield from _installed_packages(ranks)


def _tiktoken_cache(ranks: RankFile) -> Iterator[tuple[str, Path]]:
    """What tiktoken has downloaded; its rules for the folder are in tiktoken/load.py."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    if folder == "":
        return
    if folder is None:
        import tempfile

        folder = str(Path(tempfile.gettempdir(), "data-gym-cache"))
    for name in (ranks.tiktoken_name, *(_TIKTOKEN_PAIR[:1] if ranks is R50K else ())):
        if Path(folder, name).is_file():
            yield "tiktoken's cache", Path(folder, name)


def _hub_cache() -> Iterator[tuple[str, Path]]:
    """What huggingface_hub has downloaded of GPT-2."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(os.environ.get("HF_HOME") or caches / "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    for repository in ("models--gpt2", "models--openai-community--gpt2"):
        for snapshot in sorted((hub / repository / "snapshots").glob("*")):
            if (snapshot / "tokenizer.json").exists() or (snapshot / "merges.txt").exists():
                yield "Hugging Face's cache", snapshot


def _installed_packages(ranks: RankFile) -> Iterator[tuple[str, Path]]:
    """Files of installed packages that are named as this one is; whether they are it is left to the checksum."""
    import importlib.metadata

    names = (*ranks.file_names, *((_GPT2_PAIR[0], _TIKTOKEN_PAIR[0]) if ranks is R50K else ()))
    for distribution in importlib.metadata.distributions():
        listing = distribution.read_text("RECORD") or ""
        if not any(name in listing for name in names):
            continue
        for file in distribution.files or []:
            if file.name in names:
                path = Path(str(distribution.locate_file(file)))
                if path.is_file():
                    yield f"package {distribution.metadata['Name']}", path


# ----------------------------------------------------------------------------------------------------------------
# Download


def _download(search: Search) -> Found | None:
    """Fetch OpenAI's rank file into our cache."""
    if is_offline():
        search.refused.append("download: forbidden by GPT2X_OFFLINE")
        return None
    from gpt2x.console import say

    ranks = search.encoding.ranks
    target = cached_path(ranks)
    say(f"fetching {_title(ranks)} from {ranks.address} …")
    try:
        download(ranks.address, target, limit=RANK_FILE_BYTES, sha256=ranks.sha256, seconds=DOWNLOAD_SECONDS)
        vocabulary = genuine(target.absolute(), search.encoding.name)
    except (DownloadError, InputDataError, OutputError) as error:
        search.refused.append(f"download: {error}")
        return None
    return Found(vocabulary, "download", target)

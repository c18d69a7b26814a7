"""Where the GPT-2 vocabulary comes from.

It is OpenAI's, so it does not ship with gpt2x. It is looked for, in this order: a path that is given, the path in
``GPT2X_VOCAB``, gpt2x's cache, files that installed packages carry or that other tools have downloaded (Whisper,
tiktoken, Hugging Face), and last a download through tiktoken (``GPT2X_OFFLINE=1`` forbids it). Whatever is found
counts only if its ranks have the checksum of OpenAI's own file: there is never a silent wrong vocabulary.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt2x.errors import InputDataError, MissingComponentError, OutputError, UsageError
from gpt2x.paths import cache_dir
from gpt2x.tokenizer import formats
from gpt2x.tokenizer.vocabulary import GPT2_FINGERPRINT, Vocabulary, gpt2

if TYPE_CHECKING:
    from gpt2x.tokenizer.encoding import Tokenizer

NAMES = ("gpt2",)
"""The names that `get` knows."""

DOWNLOAD_SECONDS = 20.0
"""How long a download may take before it is given up."""

# The names of GPT-2's files in packages. tiktoken names what it downloads by the SHA-1 of the address; some packages
# carry such a cache: the first name is its rank file, then vocab.bpe and encoder.json.
_TIKTOKEN_RANKS = "0ea1e91bbb3a60f729a8dc8f777fd2fc07cd8df4"
_TIKTOKEN_PAIR = ("6d1cbeee0f20b3d9449abfede4726ed8212e3aee", "6c7ea1a7e38e3a7f062df639a5b80947f075ffe6")
_FILE_NAMES = ("gpt2.tiktoken", "r50k_base.tiktoken", "vocab.bpe", _TIKTOKEN_RANKS, _TIKTOKEN_PAIR[0])

_REMEDY = (
    "set GPT2X_VOCAB to a file or folder that holds it (r50k_base.tiktoken, vocab.bpe with encoder.json, or the "
    "tokenizer.json of GPT-2), install a package that carries it (openai-whisper), or allow the download once"
)


@dataclass(frozen=True)
class Found:
    """The GPT-2 vocabulary, and where it was found."""

    vocabulary: Vocabulary
    source: str
    path: Path


@dataclass
class Search:
    """Goes through the candidates and remembers why each was not taken."""

    refused: list[str] = field(default_factory=list)

    def first(self, candidates: Iterator[tuple[str, Path]]) -> Found | None:
        """The first candidate that holds the genuine vocabulary."""
        for source, path in candidates:
            try:
                return Found(_genuine(path.absolute()), source, path)
            except InputDataError as error:
                self.refused.append(f"{source}: {error}")
        return None


def get(name: str = "gpt2", path: str | os.PathLike[str] | None = None) -> Tokenizer:
    """The tokenizer of that name.

    Args:
        name: "gpt2".
        path: where its vocabulary is, if you know; nothing else is tried then.

    Raises:
        UsageError: an unknown name.
        InputDataError: `path` or ``GPT2X_VOCAB`` holds no GPT-2 vocabulary.
        MissingComponentError: the vocabulary is nowhere to be found and cannot be downloaded.

    >>> get("gpt2").encode("hello world")  # doctest: +SKIP
    [31373, 995]
    """
    if name not in NAMES:
        raise UsageError(
            f"unknown tokenizer {name!r}; known names: {', '.join(NAMES)}; a path goes to Tokenizer.load"
        )
    return _build(find(path).path.absolute())


def find(path: str | os.PathLike[str] | None = None, *, download: bool = True) -> Found:
    """Look for the GPT-2 vocabulary; see `get`.

    Args:
        path: the only place to look at, if given.
        download: whether the last resort may be tried.

    """
    if path:
        return Found(_genuine(Path(path).absolute()), "given path", Path(path))
    if named := os.environ.get("GPT2X_VOCAB"):
        try:
            return Found(_genuine(Path(named).absolute()), "GPT2X_VOCAB", Path(named))
        except InputDataError as error:
            raise InputDataError(f"GPT2X_VOCAB is set, but {error}") from error
    search = Search()
    found = search.first(_candidates())
    if found is None and download:
        found = _download(search)
    if found is None:
        tried = f" (looked at: {'; '.join(search.refused)})" if search.refused else ""
        raise MissingComponentError(f"the GPT-2 vocabulary is not on this machine{tried}: {_REMEDY}")
    return found


def describe() -> dict[str, Any]:
    """What `get("gpt2")` would use, without downloading anything; for `gpt2x env`.

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


@functools.lru_cache(maxsize=4)
def _build(path: Path) -> Tokenizer:
    from gpt2x.tokenizer.encoding import Tokenizer

    return Tokenizer.from_vocabulary(_genuine(path))


@functools.lru_cache(maxsize=4)
def _genuine(path: Path) -> Vocabulary:
    """Read a vocabulary that must be GPT-2's; its ranks are compared by checksum, so any file format will do."""
    if path.name == _TIKTOKEN_PAIR[0]:
        ranks = formats.read_gpt2_pair(path, path.with_name(_TIKTOKEN_PAIR[1])).mergeable_ranks
    elif path.name == _TIKTOKEN_RANKS:
        ranks = formats.read_rank_file(path)
    else:
        ranks = formats.read(path).mergeable_ranks
    vocabulary = gpt2(ranks)
    if vocabulary.fingerprint != GPT2_FINGERPRINT:
        raise InputDataError(
            f"{path} holds another vocabulary than GPT-2's ({len(ranks)} ranks, sha256 "
            f"{vocabulary.fingerprint[:12]}…); load it by its path instead of by the name 'gpt2'"
        )
    return vocabulary


# ----------------------------------------------------------------------------------------------------------------
# Places


def cached_path() -> Path:
    """Where gpt2x keeps the vocabulary once it was downloaded."""
    return cache_dir() / "vocab" / "gpt2.tiktoken"


def _candidates() -> Iterator[tuple[str, Path]]:
    if cached_path().exists():
        yield "cache", cached_path()
    yield from _tiktoken_cache()
    yield from _hub_cache()
    yield from _installed_packages()


def _tiktoken_cache() -> Iterator[tuple[str, Path]]:
    """What tiktoken has downloaded; its rules for the folder are in tiktoken/load.py."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    if folder == "":
        return
    places = Path(folder) if folder else Path(tempfile.gettempdir()) / "data-gym-cache"
    for name in (_TIKTOKEN_RANKS, _TIKTOKEN_PAIR[0]):
        if (places / name).is_file():
            yield "tiktoken's cache", places / name


def _hub_cache() -> Iterator[tuple[str, Path]]:
    """What huggingface_hub has downloaded."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(os.environ.get("HF_HOME") or caches / "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    for repository in ("models--gpt2", "models--openai-community--gpt2"):
        for snapshot in sorted((hub / repository / "snapshots").glob("*")):
            if (snapshot / "tokenizer.json").exists() or (snapshot / "merges.txt").exists():
                yield "Hugging Face's cache", snapshot


def _installed_packages() -> Iterator[tuple[str, Path]]:
    """Files of installed packages that are named as GPT-2's; whether they are is left to the checksum."""
    for distribution in importlib.metadata.distributions():
        listing = distribution.read_text("RECORD") or ""
        if not any(name in listing for name in _FILE_NAMES):
            continue
        for file in distribution.files or []:
            if file.name in _FILE_NAMES:
                path = Path(str(distribution.locate_file(file)))
                if path.is_file():
                    yield f"package {distribution.metadata['Name']}", path


# ----------------------------------------------------------------------------------------------------------------
# Download

_FETCH = "import tiktoken; tiktoken.get_encoding('r50k_base')"


def _download(search: Search) -> Found | None:
    """Let tiktoken fetch its rank file into our cache.

    In a process of its own: tiktoken waits for a server without a time limit, and a process can be ended.
    """
    if os.environ.get("GPT2X_OFFLINE", "0") not in ("", "0"):
        search.refused.append("download: forbidden by GPT2X_OFFLINE")
        return None
    from gpt2x.console import say

    say("fetching the GPT-2 vocabulary (1 MB) through tiktoken …")
    try:
        with tempfile.TemporaryDirectory(prefix="gpt2x-vocab-") as folder:
            environment = os.environ | {"TIKTOKEN_CACHE_DIR": folder}
            subprocess.run(
                [sys.executable, "-c", _FETCH],
                env=environment,
                timeout=DOWNLOAD_SECONDS,
                check=True,
                stdin=subprocess.DEVNULL,
                capture_output=True,
            )
            vocabulary = _genuine.__wrapped__(Path(folder) / _TIKTOKEN_RANKS)
            formats.write_rank_file(vocabulary, cached_path())
    except subprocess.TimeoutExpired:
        search.refused.append(f"download: no answer within {DOWNLOAD_SECONDS:g} seconds")
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        search.refused.append(f"download: {lines[-1].split(':')[0]}")
    except (InputDataError, OutputError) as error:
        search.refused.append(f"download: {error}")
    else:
        return Found(vocabulary, "download", cached_path())
    return None

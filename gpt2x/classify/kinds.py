"""The six classifiers and their peers by name, as data: a name costs no import until its class is asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gpt2x.errors import InputDataError, UsageError, quoted
from gpt2x.paths import VOCABULARY_BYTES, read_text

HEADER = "classifier.json"
"""The file that makes a folder a saved classifier."""

FORMAT = "gpt2x-classifier"
FORMAT_VERSION = 6
"""Format 6 says what each hashed number was seen as (which nothing told before); format 5 has four numbers for the
confidence (a temperature and an offset before); format 4 says how the RNN reads fields (as one before); format 3 adds
the temperature (1 before); format 2 says how texts are read (text form, token pattern, …), for which format 1 had one
way. All are still read."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One classifier: its name on the command line, its title in a table, and where its class lives."""

    name: str
    title: str
    module: str
    class_name: str
    neural: bool = False
    peer: bool = False
    """Somebody else's, to compare with: it can be neither saved nor loaded."""


KINDS = {
    kind.name: kind
    for kind in (
        Kind("nb", "naive Bayes", "naive_bayes", "NaiveBayes"),
        Kind("hashed-nb", "hashed Bayes", "hashed_bayes", "HashedBayes"),
        Kind("linear", "hashed linear", "hashed", "HashedLinear"),
        Kind("tfidf", "TF-IDF linear", "linear", "TfidfLinear"),
        Kind("rnn", "RNN", "rnn", "RNNClassifier", neural=True),
        Kind("gpt2-lstm", "LSTM over GPT-2", "gpt2_lstm", "GPT2LSTMClassifier", neural=True),
    )
}


PRETRAIN = "pretrain"
"""What `gpt2-lstm` is given in place of a GPT-2's name, to have one pretrained on the training texts."""

PEERS = {
    kind.name: kind
    for kind in (
        Kind("sklearn-svc", "sklearn SVC", "peers", "SklearnSVC", peer=True),
        Kind("sklearn-logistic", "sklearn logistic", "peers", "SklearnLogistic", peer=True),
        Kind("fasttext", "fastText", "peers", "FastText", peer=True),
        Kind("minilm", "MiniLM", "minilm", "MiniLM", peer=True),
    )
}

PEER_FAMILIES = {
    "sklearn": ("sklearn-svc", "sklearn-logistic"),
    "fasttext": ("fasttext",),
    "minilm": ("minilm",),
}
"""What ``--peer`` calls them: a package, and the rows that it gives."""

COMPARED = KINDS | PEERS
"""All that `compare` can run."""


def get_peers(families: Iterable[str]) -> list[str]:
    """The names of the rows that these families give, each once.

    Raises:
        UsageError: an unknown family.

    """
    names: list[str] = []
    for family in families:
        if family not in PEER_FAMILIES:
            raise UsageError(f"there is no peer {quoted(family)}; give one of {', '.join(PEER_FAMILIES)}")
        names += PEER_FAMILIES[family]
    return list(dict.fromkeys(names))


def get_kind(name: str, known: Mapping[str, Kind] = MappingProxyType(KINDS)) -> Kind:
    """The classifier called `name`, one of our own if no others are `known`.

    Raises:
        UsageError: there is none; the message names the nearest.

    """
    if name in known:
        return known[name]
    import difflib  # for a wrong name only

    close = difflib.get_close_matches(str(name).lower()[:80], known, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}?" if close else "give one of"
    raise UsageError(f"there is no classifier {quoted(name)}; {hint} (known: {', '.join(known)})")


def get_kinds(names: Iterable[str], known: Mapping[str, Kind] = MappingProxyType(KINDS)) -> list[Kind]:
    """The classifiers of these names (or of one string of them, with commas), each once, in the order given.

    Raises:
        UsageError: an unknown name, or no name at all.

    """
    names = names.split(",") if isinstance(names, str) else map(str, names)
    kinds = [get_kind(name.strip(), known) for name in names if name.strip()]
    if not kinds:
        raise UsageError(f"no classifier is named; give some of {', '.join(KINDS)}")
    return list({kind.name: kind for kind in kinds}.values())


def read_header(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What ``classifier.json`` of a saved classifier says.

    Raises:
        InputDataError: there is no such folder, it holds no classifier, or one that is damaged or newer than this
            gpt2x.

    """
    folder = Path(folder)
    if not folder.exists():
        raise InputDataError(
            f"there is no folder {folder}; save one with gpt2x classify train --out {folder}"
        )
    if not (folder / HEADER).is_file():
        raise InputDataError(
            f"{folder} holds no classifier (no {HEADER}); give the --out folder of classify train"
        )
    try:
        header = json.loads(read_text(folder / HEADER, limit=VOCABULARY_BYTES, regular=True))
        _check_header(header)
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputDataError):
            raise
        raise InputDataError(f"{folder / HEADER} is damaged ({error}); train the classifier again") from error
    if header["version"] > FORMAT_VERSION:
        raise InputDataError(
            f"{folder} was saved in format {quoted(header['version'])} and this gpt2x reads up to {FORMAT_VERSION}; "
            "upgrade gpt2x"
        )
    return header


def _check_header(header: Any) -> None:
    """Refuse what lacks a part of a header, or has one of another type.

    Raises:
        ValueError: it does; the reason is a few words.

    """
    parts = {"format": str, "version": int, "kind": str, "params": dict, "classes": list, "state": dict}
    if not isinstance(header, dict):
        raise ValueError("it is no JSON object")
    for name, kind in parts.items():
        if type(header.get(name)) is not kind:  # True is an int, but no version
            raise ValueError(f"it has no {name}" if name not in header else f"its {name} is of another type")
    if header["format"] != FORMAT or header["kind"] not in KINDS:
        raise ValueError(f"kind {quoted(header['kind'])} of format {quoted(header['format'])} is unknown")
    files = header.get("files", [])  # which older versions did not list
    if not isinstance(files, list) or not all(isinstance(name, str) for name in files):
        raise ValueError("its files are no list of names")
    if header["version"] < 1:
        raise ValueError(f"its version is {quoted(header['version'])}")

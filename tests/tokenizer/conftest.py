"""Vocabularies for the tokenizer's tests, and the libraries that are its oracles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tiktoken

from gpt2x.errors import InputDataError, MissingComponentError
from gpt2x.tokenizer import Tokenizer, get, registry

GOLDEN = Path(__file__).parent.parent / "golden"


def as_tiktoken(tokenizer: Tokenizer) -> tiktoken.Encoding:
    """The same vocabulary in tiktoken."""
    return tiktoken.Encoding(
        tokenizer.name,
        pat_str=tokenizer.pat_str,
        mergeable_ranks=dict(tokenizer.mergeable_ranks),
        special_tokens=dict(tokenizer.special_tokens),
    )


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may reach for the network, nor be helped by the user's own vocabulary."""
    monkeypatch.setenv("GPT2X_OFFLINE", "1")
    monkeypatch.delenv("GPT2X_VOCAB", raising=False)


@pytest.fixture(scope="session")
def songs() -> Tokenizer:
    """A small vocabulary that is always there: the golden one, with a special token."""
    loaded = Tokenizer.load(GOLDEN / "songs.tiktoken", pattern="gpt2")
    return Tokenizer(
        "songs",
        pat_str=loaded.pat_str,
        mergeable_ranks=loaded.mergeable_ranks,
        special_tokens={"<|endoftext|>": loaded.n_vocab},
    )


@pytest.fixture(scope="session")
def tiktoken_songs(songs: Tokenizer) -> tiktoken.Encoding:
    return as_tiktoken(songs)


@pytest.fixture(scope="session")
def gpt2_tokenizer(shared_data: Callable[[str], Path]) -> Tokenizer:
    """GPT-2's vocabulary, from this machine or from the test data; skips where it is in neither."""
    try:
        return get("gpt2", registry.find(download=False).path)
    except (MissingComponentError, InputDataError):
        return Tokenizer.load(shared_data("vocab/r50k_base.tiktoken"))


@pytest.fixture(scope="session")
def tiktoken_gpt2(gpt2_tokenizer: Tokenizer) -> tiktoken.Encoding:
    return as_tiktoken(gpt2_tokenizer)

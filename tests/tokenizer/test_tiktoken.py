"""The adapter for programs that were written for tiktoken."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import tiktoken as theirs
import tiktoken.model
from hypothesis import given, settings

from gpt2x.errors import MissingComponentError
from gpt2x.tokenizer import Tokenizer, tiktoken

from .strategies import any_text


@pytest.fixture
def genuine(shared_data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """GPT-2's ranks are on this machine."""
    monkeypatch.setenv("GPT2X_VOCAB", str(shared_data("vocab/r50k_base.tiktoken")))


@pytest.fixture(scope="module")
def pair() -> tuple[tiktoken.Encoding, theirs.Encoding]:
    """The same small encoding, built by the same call."""
    from .conftest import GOLDEN

    ranks = dict(Tokenizer.load(GOLDEN / "songs.tiktoken", pattern="gpt2").mergeable_ranks)
    parts = {
        "pat_str": Tokenizer.load(GOLDEN / "songs.tiktoken", pattern="gpt2").pat_str,
        "mergeable_ranks": ranks,
        "special_tokens": {"<|endoftext|>": 1000, "<|fim|>": 1001},
        "explicit_n_vocab": 1002,
    }
    return tiktoken.Encoding("pair", **parts), theirs.Encoding("pair", **parts)


@settings(max_examples=100, deadline=None)
@given(text=any_text())
def test_an_encoding_gives_what_tiktokens_gives(
    pair: tuple[tiktoken.Encoding, theirs.Encoding], text: str
) -> None:
    mine, other = pair
    tokens = other.encode(text, allowed_special="all")
    assert mine.encode(text, allowed_special="all") == tokens
    assert mine.encode_batch(text=[text, "a"], allowed_special="all", num_threads=2) == other.encode_batch(
        text=[text, "a"], allowed_special="all", num_threads=2
    )
    assert mine.encode_ordinary_batch([text]) == other.encode_ordinary_batch([text])
    assert mine.encode_to_numpy(text, disallowed_special=()).tolist() == other.encode_ordinary(text)
    assert mine.decode(tokens=tokens, errors="strict") == other.decode(tokens=tokens, errors="strict") == text
    assert mine.decode_tokens_bytes(tokens) == other.decode_tokens_bytes(tokens)
    assert mine.decode_with_offsets(tokens) == other.decode_with_offsets(tokens)
    assert mine.decode_batch([tokens]) == [text]
    assert mine._encode_bytes(text.encode()) == other._encode_bytes(text.encode())
    assert mine._encode_only_native_bpe("a 1") == other._encode_only_native_bpe("a 1")


def test_an_encoding_shows_what_tiktokens_shows(pair: tuple[tiktoken.Encoding, theirs.Encoding]) -> None:
    mine, other = pair
    assert repr(mine) == repr(other) == "<Encoding 'pair'>"
    for name in (
        *("name", "_pat_str", "_mergeable_ranks", "_special_tokens"),
        *("n_vocab", "max_token_value", "eot_token", "special_tokens_set"),
    ):
        assert getattr(mine, name) == getattr(other, name), name
    assert mine.token_byte_values() == other.token_byte_values()
    assert mine.is_special_token(1001) is other.is_special_token(1001) is True
    assert mine._encode_single_piece(" love") == other._encode_single_piece(" love")
    assert pickle.loads(pickle.dumps(mine)).encode("a") == mine.encode("a")


@pytest.mark.parametrize("call", ["encode", "decode", "encode_single_token", "decode_single_token_bytes"])
def test_errors_are_of_the_kinds_that_programs_catch(
    pair: tuple[tiktoken.Encoding, theirs.Encoding], call: str
) -> None:
    wrong = {"encode": "<|fim|>", "decode": [5000], "encode_single_token": "no such token"}.get(call, 5000)
    for encoding in pair:
        with pytest.raises((KeyError, ValueError)) as caught:
            getattr(encoding, call)(wrong)
        assert isinstance(caught.value, ValueError if call == "encode" else KeyError)


def test_the_number_of_tokens_is_checked_when_it_is_given(
    pair: tuple[tiktoken.Encoding, theirs.Encoding],
) -> None:
    mine = pair[0]
    parts = {"pat_str": mine.pat_str, "mergeable_ranks": mine.mergeable_ranks, "special_tokens": {}}
    with pytest.raises(ValueError, match="explicit_n_vocab is 999, but 'x' has 1000 ranks"):
        tiktoken.Encoding("x", **parts, explicit_n_vocab=999)
    with pytest.raises(KeyError):
        _ = tiktoken.Encoding("x", **parts).eot_token


def test_every_model_that_tiktoken_knows_has_the_encoding_that_it_has_there() -> None:
    names = [*tiktoken_models(), *(f"{prefix}x" for prefix in theirs.model.MODEL_PREFIX_TO_ENCODING)]
    for name in names:
        assert tiktoken.encoding_name_for_model(name) == theirs.encoding_name_for_model(name), name
    with pytest.raises(KeyError, match="no encoding is known for the model 'gpt-none'"):
        tiktoken.encoding_name_for_model("gpt-none")


def tiktoken_models() -> list[str]:
    return list(theirs.model.MODEL_TO_ENCODING)


def test_the_names_are_tiktokens() -> None:
    assert tiktoken.list_encoding_names() == theirs.list_encoding_names()
    with pytest.raises(ValueError, match="unknown tokenizer 'none'; known names: gpt2, r50k_base"):
        tiktoken.get_encoding("none")
    with pytest.raises(ValueError, match="an encoding's name is a string, not int"):
        tiktoken.get_encoding(5)  # type: ignore[arg-type]


@pytest.mark.usefixtures("genuine")
def test_encodings_are_made_once_and_pickled_by_name() -> None:
    encoding = tiktoken.get_encoding("r50k_base")
    assert encoding is tiktoken.get_encoding("r50k_base") is tiktoken.encoding_for_model("davinci")
    assert encoding is pickle.loads(pickle.dumps(encoding))
    assert len(pickle.dumps(encoding)) < 100
    assert encoding.name == "r50k_base"
    assert tiktoken.get_encoding("gpt2").encode("hello world") == [31373, 995]


def test_ranks_that_are_nowhere_are_missing_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("importlib.metadata.distributions", lambda: iter(()))
    with pytest.raises(
        MissingComponentError, match=r"put o200k_base\.tiktoken into a folder and set GPT2X_VOCAB"
    ):
        tiktoken.get_encoding("o200k_harmony")

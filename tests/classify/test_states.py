"""GPT-2's states on disk: computed once, gone on with after an interrupt, and never taken for those of others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gpt2x.classify import GPT2LSTMClassifier, states
from gpt2x.classify.gpt2_lstm import load_gpt2
from gpt2x.classify.neural import Ragged
from gpt2x.model import GPT
from gpt2x.paths import cache_dir

Corpus = tuple[list[str], list[str]]


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that few texts are kept, in several batches, and each batch is written down."""
    monkeypatch.setattr(states, "FEWEST", 50)
    monkeypatch.setattr(states, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr("gpt2x.classify.gpt2_lstm.TOKENS_A_BATCH", 300)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts GPT-2 has read, batch by batch."""
    batches: list[int] = []
    real = GPT.hidden_states

    def hidden_states(self: GPT, ids: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        batches.append(len(ids))
        return real(self, ids, *args, **options)

    monkeypatch.setattr(GPT, "hidden_states", hidden_states)
    return batches


def make_lstm(folder: Path, **changes: Any) -> GPT2LSTMClassifier:
    values = {"gpt2": str(folder), "hidden": 8, "epochs": 1, "random_state": 0, "device": "cpu"}
    return GPT2LSTMClassifier(**{**values, **changes})


def kept() -> list[Path]:
    return sorted((cache_dir() / states.FOLDER).glob("*/states.f16"))


def test_a_second_run_lets_gpt2_read_nothing_again(
    gpt2_folder: Path, corpus: Corpus, unseen: Corpus, read: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    first = make_lstm(gpt2_folder).fit(*corpus)
    shares = first.predict_proba(unseen[0])
    assert sum(read) == len(corpus[0]) + len(unseen[0])
    assert len(kept()) == 2
    read.clear()
    second = make_lstm(gpt2_folder, verbose=True).fit(*corpus)
    np.testing.assert_array_equal(second.predict_proba(unseen[0]), shares)
    assert read == []
    assert "GPT-2's states of these 300 texts are kept" in capsys.readouterr().err
    nothing_kept = make_lstm(gpt2_folder, cache_gib=0).fit(*corpus)
    np.testing.assert_array_equal(nothing_kept.predict_proba(unseen[0]), shares)
    assert sum(read) == len(corpus[0]) + len(unseen[0])


def test_an_interrupted_run_goes_on_after_the_last_batch(
    gpt2_folder: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, read: list[int]
) -> None:
    uninterrupted = make_lstm(gpt2_folder, cache_gib=0).fit(*corpus)
    num_batches = len(read)
    whole = uninterrupted.predict_proba(corpus[0][:9])
    assert num_batches > 6
    read.clear()
    counted = GPT.hidden_states

    def interrupted(self: GPT, ids: torch.Tensor) -> torch.Tensor:
        if len(read) == 4:
            raise KeyboardInterrupt
        return counted(self, ids)

    with monkeypatch.context() as patch:
        patch.setattr(GPT, "hidden_states", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make_lstm(gpt2_folder).fit(*corpus)
    read.clear()
    model = make_lstm(gpt2_folder).fit(*corpus)
    assert len(read) == num_batches - 4
    np.testing.assert_array_equal(model.predict_proba(corpus[0][:9]), whole)


def test_other_texts_and_other_weights_have_other_states(gpt2_folder: Path, corpus: Corpus) -> None:
    gpt, _ = load_gpt2(gpt2_folder, torch.device("cpu"))
    ids = Ragged.of([[1, 2, 3], [4]])
    key = states.key_of(gpt, ids, 0)
    assert states.key_of(gpt, Ragged.of([[1, 2, 3], [4]]), 0) == key
    assert states.key_of(gpt, Ragged.of([[1, 2], [3, 4]]), 0) != key
    assert states.key_of(gpt, Ragged.of([[1, 2, 3], [5]]), 0) != key
    assert states.key_of(gpt, ids, 1) != key
    assert states.key_of(gpt, ids, 0, num_blocks=1) != key
    with torch.no_grad():
        gpt.wte.weight[0, 0] += 1
    assert states.key_of(gpt, ids, 0) != key


@pytest.mark.parametrize("damage", ["cut", "no progress", "not JSON", "too far"])
def test_what_is_damaged_is_computed_again(
    gpt2_folder: Path, corpus: Corpus, read: list[int], damage: str
) -> None:
    shares = make_lstm(gpt2_folder).fit(*corpus).predict_proba(corpus[0][:9])
    (file,) = kept()
    progress = file.with_name("progress.json")
    if damage == "cut":
        os.truncate(file, 100)
    elif damage == "no progress":
        progress.unlink()
    else:
        progress.write_text(
            "{" if damage == "not JSON" else progress.read_text().replace('"done": ', '"done": 9')
        )
    read.clear()
    again = make_lstm(gpt2_folder).fit(*corpus)
    assert sum(read) == len(corpus[0])
    np.testing.assert_array_equal(again.predict_proba(corpus[0][:9]), shares)


def test_states_that_are_begun_anew_are_never_taken_for_whole(
    gpt2_folder: Path, corpus: Corpus, read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = make_lstm(gpt2_folder).fit(*corpus).predict_proba(corpus[0][:9])
    (file,) = kept()
    os.truncate(file, 100)

    def interrupted(self: GPT, ids: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(GPT, "hidden_states", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make_lstm(gpt2_folder).fit(*corpus)
    assert file.stat().st_size > 100
    read.clear()
    again = make_lstm(gpt2_folder).fit(*corpus)
    assert sum(read) == len(corpus[0]), "the file holds zeros"
    np.testing.assert_array_equal(again.predict_proba(corpus[0][:9]), shares)


def test_the_oldest_states_go_when_all_take_too_much(gpt2_folder: Path, corpus: Corpus) -> None:
    def fit(texts: list[str], **changes: Any) -> Path:
        before = set(kept())
        make_lstm(gpt2_folder, **changes).fit(texts, corpus[1][: len(texts)])
        (new,) = set(kept()) - before
        return new

    first, second = fit(corpus[0][:100]), fit(corpus[0][:120])
    os.utime(first.with_name("progress.json"), (1, 1))
    size = sum(file.stat().st_size for file in kept())
    third = fit(corpus[0][:90], cache_gib=size / 2**30)
    assert kept() == sorted([second, third])


def test_states_in_use_elsewhere_are_neither_written_nor_removed(
    gpt2_folder: Path, corpus: Corpus, read: list[int]
) -> None:
    fcntl = pytest.importorskip("fcntl")
    shares = make_lstm(gpt2_folder).fit(*corpus).predict_proba(corpus[0][:9])
    (file,) = kept()
    content = file.read_bytes()
    with file.with_name("lock").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        read.clear()
        model = make_lstm(gpt2_folder).fit(*corpus)
        assert sum(read) == len(corpus[0])
        make_lstm(gpt2_folder, cache_gib=len(content) / 2**30).fit(corpus[0][:200], corpus[1][:200])
        assert file.read_bytes() == content
    np.testing.assert_array_equal(model.predict_proba(corpus[0][:9]), shares)


def test_a_cache_that_takes_no_states_is_none(
    gpt2_folder: Path, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPT2X_CACHE", str(tmp_path))
    (tmp_path / states.FOLDER).write_text("a file where the folder would be")
    assert make_lstm(gpt2_folder).fit(*corpus).predict(corpus[0][:3]).shape == (3,)

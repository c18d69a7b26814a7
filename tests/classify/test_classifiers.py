"""All classifiers have scikit-learn's shape, learn, repeat themselves, and come back from a folder equal."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score

from gpt2x import classify
from gpt2x.classify.base import TextClassifier
from gpt2x.classify.kinds import KINDS
from gpt2x.classify.loading import load_class
from gpt2x.errors import InputDataError, OutputError, UsageError

Corpus = tuple[list[str], list[str]]


def test_it_learns_a_separable_task_far_better_than_chance(fitted: TextClassifier, unseen: Corpus) -> None:
    assert fitted.score(*unseen) > 0.8, "three classes of like size: chance is a third"


def test_classes_are_sorted_whatever_the_order_of_the_labels(fitted: TextClassifier, corpus: Corpus) -> None:
    assert fitted.classes_.tolist() == sorted(set(corpus[1]))


def test_probabilities_have_a_column_a_class_and_sum_to_one(fitted: TextClassifier, unseen: Corpus) -> None:
    shares = fitted.predict_proba(unseen[0])
    assert shares.shape == (len(unseen[0]), 3)
    assert shares.min() >= 0
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
    assert (fitted.classes_[shares.argmax(axis=1)] == fitted.predict(unseen[0])).all()


def test_the_same_random_state_learns_the_same(
    fitted: TextClassifier, make: Any, corpus: Corpus, unseen: Corpus
) -> None:
    again = make().fit(*corpus)
    np.testing.assert_array_equal(again.predict_proba(unseen[0]), fitted.predict_proba(unseen[0]))


def test_fitting_leaves_the_global_random_state_and_the_hyperparameters_alone(
    make: Any, corpus: Corpus
) -> None:
    import torch

    model = make(**({"epochs": 1} if make.kind not in ("nb", "hashed-nb") else {}))
    before, torch_before, numpy_before = (
        model.get_params(),
        torch.get_rng_state(),
        np.random.get_state()[1].copy(),
    )
    model.fit(*corpus)
    assert model.get_params() == before
    assert torch.equal(torch.get_rng_state(), torch_before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)


def test_a_text_gives_the_same_answer_alone_in_any_order_and_beside_long_ones(
    fitted: TextClassifier, unseen: Corpus
) -> None:
    texts = [*unseen[0][:20], " ".join(unseen[0][:15]), ""]
    together = fitted.predict_proba(texts)
    order = np.random.default_rng(0).permutation(len(texts))
    np.testing.assert_allclose(fitted.predict_proba([texts[i] for i in order]), together[order], atol=1e-6)
    alone = np.concatenate([fitted.predict_proba([text]) for text in texts])
    np.testing.assert_allclose(alone, together, atol=1e-6)


def test_a_saved_classifier_predicts_equally_and_holds_no_pickle(
    fitted: TextClassifier, unseen: Corpus, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "kept")
    suffixes = {path.suffix for path in (tmp_path / "kept").rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".safetensors", ".tiktoken"}, "JSON, safetensors and rank files only"
    for again in (classify.load(tmp_path / "kept"), type(fitted).load(tmp_path / "kept")):
        np.testing.assert_allclose(
            again.predict_proba(unseen[0]), fitted.predict_proba(unseen[0]), rtol=1e-5, atol=1e-7
        )
        assert again.classes_.tolist() == fitted.classes_.tolist()
        assert again.num_parameters_ == fitted.num_parameters_
        again.save(tmp_path / "again")


def test_scikit_learn_can_clone_configure_and_cross_validate_it(make: Any, corpus: Corpus) -> None:
    model = make(**({"epochs": 3} if make.kind not in ("nb", "hashed-nb") else {}))
    copy = clone(model)
    assert copy is not model
    assert copy.get_params() == model.get_params()
    assert copy.set_params(random_state=5).random_state == 5
    if make.kind in ("nb", "hashed-nb", "linear", "tfidf"):
        assert cross_val_score(model, np.array(corpus[0]), np.array(corpus[1]), cv=3).mean() > 0.8
        assert cross_val_score(model, *corpus, cv=3).mean() > 0.8


def test_whole_numbers_are_labels_too(make: Any, corpus: Corpus, tmp_path: Path) -> None:
    numbers = [{"weather": 30, "sport": 4, "money": 100}[label] for label in corpus[1]]
    model = make(**({"epochs": 1} if make.kind not in ("nb", "hashed-nb") else {})).fit(corpus[0], numbers)
    assert model.classes_.tolist() == [4, 30, 100]
    model.save(tmp_path / "kept")
    assert classify.load(tmp_path / "kept").predict(corpus[0][:3]).dtype.kind == "i"


def test_two_classes_and_a_handful_of_texts_are_enough(make: Any) -> None:
    texts = ["rain rain wind", "goal goal match", "wind and rain", "match and goal"] * 2
    model = make().fit(texts, ["w", "s", "w", "s"] * 2)
    assert model.predict_proba(texts).shape == (8, 2)
    if make.kind in ("nb", "hashed-nb", "linear", "tfidf"):
        assert model.predict(["the rain", "a goal"]).tolist() == ["w", "s"]


def test_empty_texts_are_texts(fitted: TextClassifier, make: Any, corpus: Corpus) -> None:
    assert np.isfinite(fitted.predict_proba(["", "   ", "词 🎈 \ud800"])).all()
    assert fitted.predict_proba([]).shape == (0, 3)
    model = make(**({"epochs": 1} if make.kind not in ("nb", "hashed-nb") else {}))
    model.fit(["", *corpus[0]], ["money", *corpus[1]])


def test_bad_input_is_refused_in_one_sentence(make: Any, corpus: Corpus) -> None:
    model, (texts, labels) = make(), corpus
    with pytest.raises(InputDataError, match="all 3 texts have the label 'a'"):
        model.fit(["x", "y", "z"], ["a", "a", "a"])
    with pytest.raises(InputDataError, match="300 texts and 299 labels"):
        model.fit(texts, labels[1:])
    with pytest.raises(InputDataError, match="no text to learn from"):
        model.fit([], [])
    with pytest.raises(InputDataError, match="text 1 is float nan"):
        model.fit(["a", float("nan")], ["x", "y"])
    with pytest.raises(InputDataError, match="all strings or all whole numbers"):
        model.fit(["a", "b"], ["x", None])
    with pytest.raises(InputDataError, match="half a character"):
        model.fit(["a", "b"], ["x", "\ud800"])
    with pytest.raises(UsageError, match="one string"):
        model.fit("a text", ["x"])
    with pytest.raises(NotFittedError):
        model.predict(texts)


def test_an_interrupted_fit_leaves_it_unfitted(
    make: Any, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make(**({"epochs": 1} if make.kind not in ("nb", "hashed-nb") else {})).fit(*corpus)

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(model), "_fit", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*corpus)
    with pytest.raises(NotFittedError):
        model.predict(corpus[0])


def test_saving_never_replaces_what_is_no_classifier(fitted: TextClassifier, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("Dear")
    with pytest.raises(OutputError, match="choose another place"):
        fitted.save(tmp_path / "letters")
    assert [path.name for path in tmp_path.rglob("*")] == ["letters", "dear.txt"]


def test_a_save_that_breaks_off_leaves_the_old_one_whole(
    fitted: TextClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted.save(tmp_path / "kept")
    before = {path: path.read_bytes() for path in (tmp_path / "kept").rglob("*") if path.is_file()}

    def no_space(*_: Any, **__: Any) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.numpy.save", no_space)
    with pytest.raises(OutputError, match="No space left"):
        fitted.save(tmp_path / "kept")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_damage_to_any_file_is_found_on_loading(fitted: TextClassifier, tmp_path: Path) -> None:
    fitted.save(tmp_path / "kept")
    for path in sorted(p for p in (tmp_path / "kept").rglob("*") if p.is_file() and p.suffix != ".tiktoken"):
        if path.name == "tokenizer_config.json":
            continue  # only for other programs
        whole = path.read_bytes()
        for broken in (whole[: len(whole) // 2], b"", None):
            if broken is None:
                path.unlink()
            else:
                path.write_bytes(broken)
            if broken is None and path.name == "tokenizer.json":
                continue  # the rank file beside it still serves
            with pytest.raises(InputDataError, match=".+"):
                classify.load(tmp_path / "kept")
        path.write_bytes(whole)
    classify.load(tmp_path / "kept")


def test_classes_that_do_not_fit_the_weights_are_found(fitted: TextClassifier, tmp_path: Path) -> None:
    fitted.save(tmp_path / "kept")
    file = tmp_path / "kept" / "classifier.json"
    header = json.loads(file.read_text())
    file.write_text(json.dumps({**header, "classes": header["classes"][:2]}))
    with pytest.raises(InputDataError, match="damaged"):
        classify.load(tmp_path / "kept")
    file.write_text(json.dumps({**header, "version": 99}))
    with pytest.raises(InputDataError, match="upgrade gpt2x"):
        classify.load(tmp_path / "kept")


def test_another_kind_is_not_loaded_as_this_one(fitted: TextClassifier, tmp_path: Path) -> None:
    fitted.save(tmp_path / "kept")
    other = load_class(KINDS["nb" if fitted.kind != "nb" else "tfidf"])
    with pytest.raises(InputDataError, match="holds a classifier of kind"):
        other.load(tmp_path / "kept")


def test_saving_replaces_a_classifier_and_nothing_beside_it(fitted: TextClassifier, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    fitted.save(folder)
    fitted.save(folder)
    header = json.loads((folder / "classifier.json").read_text())
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(header["files"]) == files
    del header["files"]  # as earlier versions wrote it
    (folder / "classifier.json").write_text(json.dumps(header))
    fitted.save(folder)
    for name in ("precious.txt", "gpt2/notes.txt", "extra/model.safetensors"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("mine")
        named = (
            name
            if (folder / name).parent.name == "gpt2" and "gpt2/config.json" in files
            else name.split("/")[0]
        )
        with pytest.raises(OutputError, match=f"kept holds {named}, which is no part of a saved classifier"):
            fitted.save(folder)
        assert (folder / name).read_text() == "mine"
        (folder / name).unlink()
        if "/" in name and not any((folder / name).parent.iterdir()):
            (folder / name).parent.rmdir()


@pytest.mark.parametrize("content", ["{}", "[]", "not JSON", '{"format": "a classifier of another program"}'])
def test_a_file_that_is_only_called_classifier_json_is_no_classifier(
    fitted: TextClassifier, tmp_path: Path, content: str
) -> None:
    (tmp_path / "classifier.json").write_text(content)
    (tmp_path / "link").symlink_to(".")
    for folder in (tmp_path, tmp_path / "link"):
        with pytest.raises(
            OutputError, match=r"holds classifier\.json, which is no part of a saved classifier"
        ):
            fitted.save(folder)
    assert (tmp_path / "classifier.json").read_text() == content


def test_a_linked_folder_stays_a_link(fitted: TextClassifier, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for _ in range(2):
        fitted.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert classify.load(tmp_path / "real").classes_.tolist() == fitted.classes_.tolist()


@pytest.mark.parametrize("name", ["classifier.json", "model.safetensors"])
def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(
    fitted: TextClassifier, tmp_path: Path, name: str
) -> None:
    fitted.save(tmp_path / "kept")
    (tmp_path / "kept" / name).unlink()
    os.mkfifo(tmp_path / "kept" / name)
    with pytest.raises(InputDataError, match=name):
        classify.load(tmp_path / "kept")

"""A folder that is damaged in any way is one sentence, or works as before: no other error, never silently wrong."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from gpt2x import classify
from gpt2x.classify.base import ARRAYS, TextClassifier
from gpt2x.classify.kinds import HEADER
from gpt2x.classify.predictor import open_predictor
from gpt2x.classify.saved import RowForm
from gpt2x.errors import InputDataError

TEXTS = ["rain and wind", "goal of the caf\u00e9", "the price isn\u2019t more", ""]
GONE = object()
WRONG: dict[str, Any] = {
    "gone": GONE,
    "null": None,
    "list": [],
    "object": {},
    "word": "x",
    "negative": -1,
    "infinite": float("inf"),  # written as 1e400
    "NaN": float("nan"),
    "true": True,
    "long": 10**30,
    "half": 0.5,
    "nested": json.loads("[" * 500 + "]" * 500),
}

_saved: dict[str, tuple[Path, np.ndarray]] = {}


@pytest.fixture
def kept(fitted: TextClassifier, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """A copy of a saved classifier of each kind, to be damaged."""
    if fitted.kind not in _saved:
        folder = tmp_path_factory.mktemp(fitted.kind) / "kept"
        fitted.row_form_ = RowForm("full", ("headline", "text"))
        fitted.save(folder)
        fitted.row_form_ = None
        _saved[fitted.kind] = folder, classify.load(folder).predict_proba(TEXTS)
    return Path(shutil.copytree(_saved[fitted.kind][0], tmp_path / "kept"))


def check(folder: Path, kind: str, *, refused: bool = False, longest: int = 600) -> None:
    """Loading is one sentence, or the classifier answers as it did before the damage."""
    sentence = ""
    try:
        shares = classify.load(folder).predict_proba(TEXTS)
    except InputDataError as error:
        sentence = str(error)
    if sentence:
        assert "\n" not in sentence
        assert len(sentence) < longest
        return
    assert not refused, "it was loaded"
    np.testing.assert_array_equal(shares, _saved[kind][1])


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each value in nested JSON, the first two of a list only."""
    if path:
        yield path
    items = (
        value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    )
    for key, inner in items:
        yield from places(inner, (*path, key))


def value_at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def altered(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    changed = copy.deepcopy(value)
    inner = value_at(changed, path[:-1])
    if new is GONE:
        del inner[path[-1]]
    else:
        inner[path[-1]] = new
    return changed


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value).replace("Infinity", "1e400"), encoding="utf-8")


@pytest.mark.parametrize("new", WRONG.values(), ids=WRONG.keys())
def test_every_value_of_the_header_may_be_anything(fitted: TextClassifier, kept: Path, new: Any) -> None:
    header = json.loads((kept / HEADER).read_text())
    for path in places(header):
        if path[-1] in ("temperature", "named", "others", "offset", "strength") and new == 0.5:
            continue  # a value that it may have
        write_json(kept / HEADER, altered(header, path, new))
        listing = path[0] in ("files", "text_columns") and (
            new is GONE or new == ("x" if len(path) > 1 else [])
        )
        harmless = (
            listing
            or path[0] in ("gpt2x", "params")
            or path[:2]
            in (
                ("state", "history"),
                ("state", "gpt2"),
            )
        )
        check(kept, fitted.kind, refused=not harmless and value_at(header, path) != new)


@pytest.mark.parametrize(
    "content",
    ["", "{", "null", "[]", "7", '"x"', "[" * 10**5, '{"version": ' + "9" * 5000 + "}", "\ufeff{}", "\x00"],
    ids=range(10),
)
def test_a_json_file_may_hold_anything(fitted: TextClassifier, kept: Path, content: str) -> None:
    for name in (HEADER, "vocabulary.json", "tokenizer.json", "gpt2/config.json", "gpt2/tokenizer.json"):
        if (kept / name).is_file():
            whole = (kept / name).read_bytes()
            (kept / name).write_text(content, encoding="utf-8")
            check(kept, fitted.kind, refused=True)
            (kept / name).write_bytes(whole)


@pytest.mark.parametrize(
    "classes",
    [
        ["money", "sport"],
        ["money", "sport", "weather", "zoo"],
        ["sport", "money", "weather"],
        ["money", "sport", "sport"],
        ["money", "sport", None],
        ["money", "sport", 1],
        [1, 2, True],
        [1, 2, 2.5],
        [1, 2, 10**30],
        ["money", "sport", "w\ud800"],
        ["money", "sport", ["weather"]],
        [[], {}, None],
    ],
    ids=str,
)
def test_classes_are_sorted_each_once_and_of_one_type(
    fitted: TextClassifier, kept: Path, classes: list[Any]
) -> None:
    header = json.loads((kept / HEADER).read_text())
    write_json(kept / HEADER, {**header, "classes": classes})
    check(kept, fitted.kind, refused=True)


def spoiled(array: np.ndarray) -> dict[str, np.ndarray]:
    """The array in the ways in which it must not be."""
    other = array.astype(np.float64 if array.dtype == np.float32 else np.int32)
    ways = {
        "flat" if array.ndim > 1 else "deep": array.reshape(-1) if array.ndim > 1 else array[:, None],
        "short": array[:-1],
        "empty": array[:0],
        "long": np.concatenate([array, array]),
        "other type": other,
        "bool": array.astype(bool),
        "bytes": array.astype(np.uint8),
    }
    if array.dtype == np.uint8:  # any but zeros may be groups
        del ways["bytes"]
        ways["none"] = np.zeros_like(array)
    elif array.dtype == np.float32:
        for name, number in (("NaN", np.nan), ("inf", np.inf), ("-inf", -np.inf)):
            ways[name] = array.copy()
            ways[name].reshape(-1)[-1] = number
    else:
        ways["backwards"] = array[::-1]
        ways["negative"] = array - 10**6
        ways["beyond the vocabulary"] = array + 10**6
    return ways


def test_every_array_may_be_missing_or_of_another_shape_type_or_not_finite(
    fitted: TextClassifier, kept: Path
) -> None:
    arrays = safetensors.numpy.load_file(kept / ARRAYS)
    for name, array in arrays.items():
        rest = {other: kept_one for other, kept_one in arrays.items() if other != name}
        for changed in (rest, *({**rest, name: way} for way in spoiled(array).values())):
            contiguous = {key: np.ascontiguousarray(value) for key, value in changed.items()}
            (kept / ARRAYS).write_bytes(safetensors.numpy.save(contiguous))
            check(kept, fitted.kind, refused=True)


@pytest.mark.parametrize("make", ["nb", "tfidf"], indirect=True)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda words: [*words[:-1], words[0]],
        lambda words: [*words[:-1], words[-2]],
        lambda words: words[::-1],
        lambda words: words[:-1],
        lambda words: [*words, "zzzz"],
        lambda words: [*words[:-1], None],
        lambda words: [*words[:-1], [words[-1]]],
        lambda words: dict.fromkeys(words, 1),
        lambda words: [],
    ],
    ids=["first twice", "last twice", "backwards", "too few", "too many", "null", "nested", "object", "none"],
)
def test_the_vocabulary_is_the_one_of_the_weights(fitted: TextClassifier, kept: Path, spoil: Any) -> None:
    file = kept / "vocabulary.json"
    write_json(file, spoil(json.loads(file.read_text())))
    check(kept, fitted.kind, refused=True)


def test_files_and_folders_may_be_missing(fitted: TextClassifier, kept: Path) -> None:
    for path in sorted(kept.rglob("*")):
        hidden = path.with_name("hidden.away")
        path.rename(hidden)
        check(
            kept, fitted.kind, refused=path.name in (HEADER, ARRAYS, "vocabulary.json", "gpt2", "config.json")
        )
        hidden.rename(path)
    for path in [*kept.rglob("tokenizer.json"), *kept.rglob("*.tiktoken")]:
        path.unlink()
    check(kept, fitted.kind, refused=fitted.kind in ("rnn", "gpt2-lstm"))


@pytest.mark.parametrize("make", ["rnn", "gpt2-lstm"], indirect=True)
def test_another_tokenizer_in_its_place_is_found(fitted: TextClassifier, kept: Path) -> None:
    from gpt2x.tokenizer import train

    other = train(["a quite different text of other words"] * 3, fitted.tokenizer_.n_vocab, allow_fewer=True)
    other.save(kept / "gpt2" if fitted.kind == "gpt2-lstm" else kept)
    check(kept, fitted.kind, refused=True)


@pytest.mark.parametrize("make", ["gpt2-lstm"], indirect=True)
@pytest.mark.parametrize("new", WRONG.values(), ids=WRONG.keys())
def test_every_value_of_the_gpt2_inside_may_be_anything(kept: Path, fitted: TextClassifier, new: Any) -> None:
    file = kept / "gpt2" / "config.json"
    config = json.loads(file.read_text())
    for path in places(config):
        write_json(file, altered(config, path, new))
        check(kept, fitted.kind, longest=2000)


@pytest.mark.parametrize("make", ["gpt2-lstm"], indirect=True)
def test_weights_of_the_gpt2_inside_are_numbers(kept: Path, fitted: TextClassifier) -> None:
    file = kept / "gpt2" / "model.safetensors"
    arrays = safetensors.numpy.load_file(file)
    name = sorted(arrays)[-1]
    for number in (np.nan, np.inf):
        spoilt = arrays[name].copy()
        spoilt.reshape(-1)[0] = number
        file.write_bytes(safetensors.numpy.save({**arrays, name: spoilt}))
        check(kept, fitted.kind, refused=True)


def test_weights_that_are_finite_and_too_large_give_no_silent_answer(
    fitted: TextClassifier, kept: Path
) -> None:
    arrays = safetensors.numpy.load_file(kept / ARRAYS)
    name = next(name for name, array in arrays.items() if array.dtype == np.float32 and array.ndim == 2)
    huge = np.full_like(arrays[name], np.finfo(np.float32).max)
    huge[::2] *= -1
    (kept / ARRAYS).write_bytes(safetensors.numpy.save({**arrays, name: huge}))
    try:
        shares = classify.load(kept).predict_proba(TEXTS)
    except InputDataError:
        return
    assert np.isfinite(shares).all()


# -- format 1 ----------------------------------------------------------------------------------------------------------


def test_a_folder_of_format_1_reads_texts_as_it_did_and_keeps_doing_so(
    fitted: TextClassifier, kept: Path, tmp_path: Path
) -> None:
    header = json.loads((kept / HEADER).read_text())
    for name in ("text_form", "reading", "tokenizer", "shape", "eot"):
        header["state"].pop(name, None)
    write_json(kept / HEADER, {**header, "version": 1})
    old = classify.load(kept)
    assert old.text_form_ == "as-is"
    ascii_texts = ["rain and wind", "the goal isn't here", ""]
    now = classify.load(_saved[fitted.kind][0])
    np.testing.assert_array_equal(old.predict_proba(ascii_texts), now.predict_proba(ascii_texts))
    old.save(tmp_path / "again")
    again = classify.load(tmp_path / "again")
    assert again.text_form_ == "as-is"
    np.testing.assert_array_equal(again.predict_proba(TEXTS), old.predict_proba(TEXTS))
    if fitted.kind == "nb":
        assert again.fit(["rain", "goal"], ["w", "s"]).text_form_ == "nfc-apostrophe", (
            "learned anew, read anew"
        )


def test_a_temperature_and_an_offset_of_format_4_are_read(fitted: TextClassifier, kept: Path) -> None:
    header = json.loads((kept / HEADER).read_text())
    del header["state"]["confidence"]
    header["state"].update(temperature=4.0, offset=0.5)
    write_json(kept / HEADER, {**header, "version": 4})
    old = classify.load(kept)
    assert old.confidence_ == (4.0, 1.0, 1.0, 0.5)
    assert old.predict(TEXTS).tolist() == fitted.predict(TEXTS).tolist()


def test_what_decides_how_texts_are_read_is_saved(fitted: TextClassifier, kept: Path) -> None:
    header = json.loads((kept / HEADER).read_text())
    assert header["version"] == 6
    assert header["state"]["text_form"] == "nfc-apostrophe"
    assert (header["input"], header["text_columns"]) == ("full", ["headline", "text"])
    again = classify.load(kept)
    assert again.row_form_ == open_predictor(kept).row_form == RowForm("full", ("headline", "text"))
    if fitted.kind in ("nb", "tfidf"):
        words = {"lowercase": True, "token_pattern": r"(?u)\b\w\w+\b"}
        assert header["state"]["reading"] == words | (
            {"sublinear_tf": True, "norm": "l2"} if fitted.kind == "tfidf" else {}
        )
    elif fitted.kind in ("linear", "hashed-nb"):
        assert header["state"]["definition"] == 1
        assert header["state"]["known_words"] == "group"
        assert header["state"]["bits"] == header["params"]["bits"] == 22
    else:
        assert header["params"]["lowercase"] is True
        assert set(header["state"]["tokenizer"]) == {"pattern", "sha256"}


def test_a_folder_that_does_not_say_how_rows_were_read_is_read(fitted: TextClassifier, kept: Path) -> None:
    header = json.loads((kept / HEADER).read_text())
    write_json(kept / HEADER, {k: v for k, v in header.items() if k not in ("input", "text_columns")})
    assert classify.load(kept).row_form_ is open_predictor(kept).row_form is None
    check(kept, fitted.kind)
    write_json(kept / HEADER, {**header, "input": "odd"})
    check(kept, fitted.kind, refused=True)
    with pytest.raises(InputDataError, match="input in classifier.json is not one of playground, full"):
        open_predictor(kept)

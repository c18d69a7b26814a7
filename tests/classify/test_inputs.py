"""What is given to a classifier: tables are refused, labels are checked, and texts that look the same are the same."""

from __future__ import annotations

import tracemalloc
from collections import OrderedDict
from collections.abc import Iterator
from enum import Enum
from typing import Any

import numpy as np
import pytest

from gpt2x import classify
from gpt2x.classify import NaiveBayes
from gpt2x.classify.comparison import compare
from gpt2x.classify.inputs import AS_IS, NFC, check_texts, encode_labels, in_form
from gpt2x.errors import InputDataError, UsageError

TEXTS = ["rain and wind", "goal and match", "wind and snow", "match and team"]
LABELS = ["w", "s", "w", "s"]


class Table:
    """Looks like a DataFrame: iterating it gives its column names."""

    columns = ("text", "label")
    ndim = 2

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)


class Column:
    """Looks like a Series: one dimension, and keys that are its index."""

    ndim = 1

    def __init__(self, values: list[Any]) -> None:
        self.values = values

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    def keys(self) -> range:
        return range(len(self.values))


class Colour(str, Enum):
    """A label that is a str by inheritance."""

    RED = "red"
    BLUE = "blue"


REFUSED = {
    "a table": (Table(), r'is a table \(Table\).*df\["(text|label)"\]'),
    "a dict": ({"text": TEXTS}, r'is a dict, .*data\["(text|label)"\]'),
    "a mapping": (OrderedDict(text=TEXTS), r"is a OrderedDict, which would be read as its keys"),
    "a set": (set(TEXTS), "is a set, which has no order"),
    "a frozenset": (frozenset(TEXTS), "is a frozenset, which has no order"),
    "two dimensions": (np.array([TEXTS]), r"has 2 dimensions \(ndarray\)"),
    "no dimension": (np.array("rain"), "has 0 dimensions"),
    "a string": ("rain", "is one string; give a list of strings"),
    "bytes": (b"rain", "is one bytes object"),
    "a bytearray": (bytearray(b"rain"), "is one bytes object"),
    "a number": (5, "is int 5; give a list of strings"),
    "nothing": (None, "is None; give a list of strings"),
}


@pytest.mark.parametrize(("value", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_what_only_looks_like_many_texts_or_labels_is_refused_with_the_remedy(
    value: Any, sentence: str
) -> None:
    model = NaiveBayes().fit(TEXTS, LABELS)
    for call in (
        lambda: model.predict(value),
        lambda: NaiveBayes().fit(value, LABELS),
        lambda: NaiveBayes().fit(TEXTS, value),
        lambda: classify.compare((value, LABELS), ["nb"]),
    ):
        with pytest.raises(UsageError, match=sentence):
            call()


@pytest.mark.parametrize(
    "many",
    [list, tuple, iter, np.array, Column, lambda all_: np.array(all_, object), lambda all_: {0: all_}[0]],
    ids=["list", "tuple", "generator", "array", "column", "object array", "value of a dict"],
)
def test_whatever_gives_one_string_after_the_other_is_welcome(many: Any) -> None:
    model = NaiveBayes().fit(many(TEXTS), many(LABELS))
    assert model.classes_.tolist() == ["s", "w"]
    assert model.predict(many(TEXTS)).tolist() == LABELS
    assert all(type(text) is str for text in check_texts(many(TEXTS)))


def test_real_pandas_tables_are_refused_and_their_columns_read() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"text": TEXTS, "label": LABELS, "stars": [1.0, 2.0, 1.0, 2.0]})
    model = NaiveBayes().fit(table["text"], table["label"])
    assert model.predict(table["text"]).tolist() == LABELS
    assert NaiveBayes().fit(table["text"], table["stars"]).classes_.tolist() == [1, 2]
    for wrong in (table, table[["text"]]):
        with pytest.raises(UsageError, match="is a table"):
            model.predict(wrong)
    with pytest.raises(InputDataError, match="leave out rows without a label"):
        NaiveBayes().fit(table["text"], pandas.Series([1, None, 1, 2], dtype="Int64"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (float("nan"), "text 1 is float nan, not a string; leave out rows without a text"),
        (None, "text 1 is None, not a string"),
        (b"rain", r"text 1 is bytes b'rain', not a string; decode it first: text.decode\(\)"),
        ({"text": "a"}, r'text 1 is a dict.*\[row\["text"\] for row in rows\]'),
        (["a"] * 10**5, "text 1 is a list, not a string"),
        (10**400, "text 1 is int 2[*][*]1329 or so, not a string"),
    ],
)
def test_something_among_the_texts_that_is_no_text_is_named(text: Any, sentence: str) -> None:
    with pytest.raises(InputDataError, match=sentence) as caught:
        check_texts(["rain", text])
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (["weather", "sport", None], "label 2 is None; leave out rows without a label"),
        ([None, "weather"], "label 0 is None"),
        (["weather", float("nan")], "label 1 is float nan; leave out rows"),
        ([1, 2, "x"], "label 2 is str 'x' and label 0 is int 1"),
        (["x", 1], "label 1 is int 1 and label 0 is str 'x'"),
        ([True, 0], "label 1 is int 0 and label 0 is bool True"),
        ([1, 1.5], "label 1 is float 1.5; give Python's own"),
        ([1, float("inf")], "label 1 is float inf"),
        ([1, 10**30], "label 1 is 1000000000000000000000000000000, which does not fit 64 bits"),
        ([1, 1e300], "which does not fit 64 bits"),
        ([["a"], ["b"]], "label 0 is a list"),
        (["a", "a\0"], "has a NUL character in it"),
        (["a", "\ud800"], "half a character"),
        (["a", "b" * 1001], "has 1,001 characters .* in each other's place"),
    ],
)
def test_a_label_that_cannot_be_one_is_named_itself_and_not_its_neighbour(
    labels: list[Any], sentence: str
) -> None:
    with pytest.raises(InputDataError, match=sentence) as caught:
        encode_labels(labels)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([2.0, 1.0, 2.0], [1, 2]),
        (np.array([3, 1], dtype=np.uint8), [1, 3]),
        ([np.int64(3), 1, np.float32(2)], [1, 2, 3]),
        ([True, False], [False, True]),
        (np.array([True, False]), [False, True]),
        (np.array(["b", "a"]), ["a", "b"]),
        ([np.str_("b"), "a"], ["a", "b"]),
        ([Colour.RED, Colour.BLUE], ["blue", "red"]),
        (["sport ", "sport"], ["sport", "sport "]),
        ([-(2**63), 2**63 - 1], [-(2**63), 2**63 - 1]),
    ],
)
def test_labels_of_one_type_become_sorted_classes(labels: Any, classes: list[Any]) -> None:
    found, y = encode_labels(labels)
    assert found.tolist() == classes
    assert [type(label) for label in found.tolist()] == [type(label) for label in classes]
    assert [classes[k] for k in y] == list(labels)


def test_many_labels_take_no_more_room_than_they_need() -> None:
    labels = ["a" * 999] + ["b", "c"] * 100_000  # as one array of equal widths they would take 800 MB
    classes, y = encode_labels(labels)
    assert len(classes) == 3
    assert y[:3].tolist() == [0, 1, 2]
    labels, texts = labels[:40_001], ["rain and wind", "goal"] * 20_000 + ["rain"]
    twice = [*texts, texts[0]], [*labels, labels[0]]
    for use in (lambda: NaiveBayes().fit(texts, labels), lambda: compare(twice, ["nb"])):
        tracemalloc.start()
        use()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 80e6  # as an array of equal widths the labels would take 160 MB


# -- one form of a text ------------------------------------------------------------------------------------------------


def test_composed_and_decomposed_and_either_apostrophe_are_the_same_text() -> None:
    assert in_form(["cafe\u0301", "caf\u00e9"], NFC) == ["caf\u00e9"] * 2
    assert in_form(["don\u2019t", "don\u02bct", "don\uff07t", "don\u2018t", "don't"], NFC) == ["don't"] * 5
    assert in_form(["cafe\u0301 don\u2019t"], AS_IS) == ["cafe\u0301 don\u2019t"]
    assert in_form(["\ud800 \u2019"], NFC) == ["\ud800 '"], "half a character stays"


def test_every_classifier_answers_alike_to_texts_that_look_alike(make: Any, tmp_path: Any) -> None:
    composed = [
        "the caf\u00e9 isn't here",
        "goal \u00fcber match",
        "wind at the caf\u00e9",
        "match don't",
    ] * 6
    decomposed = [
        "the cafe\u0301 isn\u2019t here",
        "goal u\u0308ber match",
        "wind at the cafe\u0301",
        "match don\u02bct",
    ]
    model = make(**({"epochs": 1} if make.kind not in ("nb", "hashed-nb") else {})).fit(composed, LABELS * 6)
    np.testing.assert_array_equal(model.predict_proba(decomposed), model.predict_proba(composed[:4]))
    other = make(**({"epochs": 1} if make.kind not in ("nb", "hashed-nb") else {})).fit(
        decomposed * 6, LABELS * 6
    )
    np.testing.assert_array_equal(other.predict_proba(composed[:4]), model.predict_proba(composed[:4]))
    model.save(tmp_path / "kept")
    again = classify.load(tmp_path / "kept")
    assert again.text_form_ == NFC
    np.testing.assert_allclose(again.predict_proba(decomposed), model.predict_proba(composed[:4]), rtol=1e-6)

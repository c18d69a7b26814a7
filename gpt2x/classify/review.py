"""Which labels are likely wrong: those that a classifier contradicts which never saw them.

The texts are parted into folds, and each fold is judged by a linear classifier that learned from the others, so that no
text vouches for its own label. Near-duplicates (the same words, whatever their order, case and marks) are in one fold,
or one copy would vouch for the other. A label is suspect where another class is at least as probable as it is, on
average, for the texts of its own (confident learning: Northcutt, Jiang, Chuang 2021, section 3).

Letters: N texts, K classes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpt2x.classify.hashed import HashedLinear
from gpt2x.classify.inputs import check_texts, encode_labels, names_of
from gpt2x.console import say
from gpt2x.errors import InputDataError, UsageError, quoted

FOLDS = 5
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """Texts that are the same but for order, case and marks, with one label that is likely wrong."""

    label: Any
    suggestion: Any
    label_probability: float
    suggestion_probability: float
    text: str
    rows: list[int]
    """The numbers of these texts, from 0."""
    other_labels: list[Any]
    """Labels that near-duplicates of the text have."""


def review(
    texts: Sequence[str],
    labels: Sequence[Any],
    *,
    folds: int = FOLDS,
    random_state: int = 1,
    on_fold: Callable[[int], None] | None = None,
) -> list[Suspect]:
    """The labels that are likely wrong, the likeliest first.

    A label that no text outside of its fold has cannot be judged, since nothing could teach it, and is not among them;
    how many there are is said on stderr.

    Args:
        texts: N texts.
        labels: their labels.
        folds: how many parts; each is judged by what was learned from the others.
        random_state: seed of the folds and of the classifiers.
        on_fold: called with the number of each fold before it is judged, from 0.

    Raises:
        InputDataError: as `TextClassifier.fit`, fewer different texts than folds, or no label that can be judged.
        UsageError: fewer than two folds.

    """
    if folds < 2:
        raise UsageError(f"{folds} folds leave nothing to learn from; give 2 or more")
    texts, (classes, y) = check_texts(texts), encode_labels(labels)
    if len(texts) != len(y):
        raise InputDataError(f"there are {len(texts)} texts and {len(y)} labels; give one label a text")
    if len(classes) < 2:
        raise InputDataError(
            f"all {len(texts)} texts have the label {quoted(str(classes[0]))}; a review needs at least two classes"
        )
    groups = group_near_duplicates(texts)
    if groups.max() + 1 < folds:
        raise InputDataError(f"there are {groups.max() + 1} different texts; give at least {folds}")
    fold_of = np.random.default_rng(random_state).permutation(np.arange(groups.max() + 1) % folds)[groups]
    shares, judged = np.zeros((len(texts), len(classes))), np.zeros(len(texts), bool)
    for fold in range(folds):
        if on_fold is not None:
            on_fold(fold)
        rest, held = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
        places = np.unique(y[rest])
        if len(places) < 2:
            continue
        model = HashedLinear(random_state=random_state).fit(
            [texts[i] for i in rest], names_of(classes, y[rest])
        )
        shares[np.ix_(held, places)] = model.predict_proba([texts[i] for i in held])
        judged[held] = np.isin(y[held], places)
    _say_not_judged(classes, y, judged)
    better = y.copy()
    better[judged] = suggestions(y[judged], shares[judged])
    return _suspects(texts, classes, y, better, shares=shares, groups=groups)


def _say_not_judged(classes: np.ndarray, y: np.ndarray, judged: np.ndarray) -> None:
    """How many labels could not be judged, and one of them.

    Raises:
        InputDataError: none could.

    """
    left = np.flatnonzero(~judged)
    if not len(left):
        return
    label = quoted(str(classes[y[left[0]]]))
    if len(left) == len(y):
        raise InputDataError(
            f"no label can be judged: outside of each fold all texts have one label, such as {label}; give more texts"
        )
    say(
        f"{len(left):,} of {len(y):,} labels cannot be judged, such as {label}: outside of their folds are too few "
        "texts to learn them from"
    )


def group_near_duplicates(texts: Sequence[str]) -> np.ndarray:
    """The number of each text's group, (N,), from 0: texts of the same words are one group.

    >>> group_near_duplicates(["Rain today!", "goal", "today: rain"]).tolist()
    [0, 1, 0]
    """
    numbers: dict[tuple[str, ...], int] = {}
    keys = (tuple(sorted(_WORD.findall(text.casefold()))) or (text,) for text in texts)
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def suggestions(y: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The class (N,) that each text more likely has than its own y (N,), by shares (N, K); its own where none is.

    >>> suggestions(np.array([0, 0, 1, 1, 1]), np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.9, 0.1]]))
    array([0, 0, 1, 1, 0])
    """
    own = shares[np.arange(len(y)), y]
    counts = np.bincount(y, minlength=shares.shape[1])
    usual = np.bincount(y, own, minlength=shares.shape[1]) / np.maximum(counts, 1)
    candidates = np.where((shares >= usual) & (counts > 0), shares, 0.0)
    found = candidates.argmax(axis=1)
    return np.where(candidates.max(axis=1) > own, found, y)


def _suspects(
    texts: list[str],
    classes: np.ndarray,
    y: np.ndarray,
    better: np.ndarray,
    *,
    shares: np.ndarray,
    groups: np.ndarray,
) -> list[Suspect]:
    names = classes.tolist()
    labels_of: dict[int, set[int]] = {}
    for group, label in zip(groups.tolist(), y.tolist(), strict=True):
        labels_of.setdefault(group, set()).add(label)
    by_place: dict[tuple[int, int], list[int]] = {}
    for i in np.flatnonzero(better != y).tolist():
        by_place.setdefault((int(groups[i]), int(y[i])), []).append(i)
    found = [
        Suspect(
            label=names[label],
            suggestion=names[int(better[rows[0]])],
            label_probability=float(shares[rows[0], label]),
            suggestion_probability=float(shares[rows[0], better[rows[0]]]),
            text=texts[rows[0]],
            rows=rows,
            other_labels=[names[k] for k in sorted(labels_of[group] - {label})],
        )
        for (group, label), rows in by_place.items()
    ]
    return sorted(found, key=lambda one: (one.label_probability - one.suggestion_probability, one.rows))

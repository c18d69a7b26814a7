"""The classifiers side by side: one split for all, made before any of them sees a text.

A classifier that needs to look at unseen texts while it learns takes a slice of the training part; the test part is
read once, by `predict`, when learning is over. What cannot run says why in its row, and the others go on.
Peers, which are somebody else's classifiers, get the same texts and are measured in the same way.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.model_selection import train_test_split

from gpt2x._version import __version__
from gpt2x.classify.base import TextClassifier, split_rows
from gpt2x.classify.blend import Member, blended
from gpt2x.classify.calibration import HeldBack, with_confidence
from gpt2x.classify.hyperparameters import Number, OneOf, Whole, check_all
from gpt2x.classify.inputs import check_texts, encode_labels, names_of, without_fields
from gpt2x.classify.kinds import COMPARED, KINDS, Kind, get_kinds
from gpt2x.classify.loading import load_class, load_peer_class
from gpt2x.classify.metrics import (
    abstaining,
    confusion_matrix,
    expected_calibration_error,
    macro_f1,
    mcnemar,
    wilson_interval,
)
from gpt2x.classify.peers import Peer
from gpt2x.classify.report import ComparisonReport, ModelResult
from gpt2x.errors import Gpt2xError, InputDataError, UsageError, quoted, wants_traceback
from gpt2x.process_memory import peak_memory, reset_peak_memory

if TYPE_CHECKING:
    from gpt2x.data.news import NewsData


MOST_CLASSES = 5000
"""The table of what is taken for what has a cell for each two classes: 25 million for these."""

EXAMPLE_CHARACTERS = 200
"""So much of a text is shown as an example of a mistake."""

SPLITS = ("stratified", "playground")

RULES = {
    "test_fraction": Number(1e-9, 1 - 1e-9),
    "random_state": Whole(0, 2**32 - 1),
    "min_rows": Whole(1, 10**9),
    "split": OneOf(SPLITS),
    "split_seed": Whole(0, 2**32 - 1),
    "abstain": Number(0, 1),
}


def compare(
    data: NewsData | tuple[Sequence[str], Sequence[Any]],
    models: Sequence[str] = tuple(KINDS),
    *,
    test_fraction: float = 0.2,
    random_state: int = 1,
    split: str = "stratified",
    split_seed: int | None = None,
    test_data: NewsData | tuple[Sequence[str], Sequence[Any]] | None = None,
    abstain: float | None = None,
    blend: bool = False,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    min_rows: int = 1,
    on_start: Callable[[Kind, ComparisonReport], None] | None = None,
    on_result: Callable[[ModelResult], None] | None = None,
    source: str | None = None,
) -> ComparisonReport:
    """Train and test classifiers on the same split.

    Args:
        data: texts and labels.
        models: names from `kinds.COMPARED`: classifiers, and peers.
        test_fraction: share of each class that is kept for the test, at least one text of each.
        random_state: seed of the split and of each classifier.
        split: ``stratified`` takes the same share of each class; ``playground`` takes rows as scikit-learn's
            ``train_test_split(rows, test_size=test_fraction, random_state=split_seed)`` does.
        split_seed: seed of the split alone; `random_state` by default.
        test_data: texts and labels to test on; `data` is then learned from as a whole.
        abstain: also report how many texts get a label of at least this probability, and how many of these are right.
        blend: add a row for all that ran as one (`blend.blended`), if two or more did; peers are not in it.
        settings: hyperparameters by name of the model: ``{"rnn": {"epochs": 3}}``.
        min_rows: classes with fewer texts are left out.
        on_start: called before each classifier, with the report so far.
        on_result: called with each row as it comes.
        source: where the data is from, for the report.

    Raises:
        UsageError: an unknown name, a share that leaves no text on one side, or another argument that cannot work.
        InputDataError: fewer than two classes, too many, a class with a single text, or test data with a label that
            is not in `data`.

    """
    kinds = get_kinds(models, COMPARED)
    split_seed = random_state if split_seed is None else split_seed
    given = {
        "test_fraction": test_fraction,
        "random_state": random_state,
        "min_rows": min_rows,
        "split": split,
    }
    check_all(RULES, {**given, "split_seed": split_seed, "abstain": 0.0 if abstain is None else abstain})
    texts, classes, y = _check_rows(data, min_rows, must_be_split=test_data is None)
    if test_data is None:
        train, test = _split(y, split, test_fraction, split_seed)
    else:
        more, y_more = _check_test_rows(test_data, classes, drop_unknown=min_rows > 1)
        train, test = np.arange(len(y)), np.arange(len(y), len(y) + len(more))
        texts, y, split = texts + more, np.concatenate([y, y_more]), "file"
    train_texts, test_texts = [texts[i] for i in train], [texts[i] for i in test]
    known = set(train_texts)
    report = ComparisonReport(
        classes=classes.tolist(),
        train_rows=len(train),
        test_rows=len(test),
        seed=random_state,
        majority_accuracy=float(np.mean(y[test] == np.bincount(y[train]).argmax())),
        test_texts_in_training=sum(text in known for text in test_texts),
        split=split,
        abstain=abstain,
        source=source,
        environment=_environment(),
    )
    right: dict[str, np.ndarray] = {}
    members: list[Member] = []
    for kind in kinds:
        if on_start is not None:
            on_start(kind, report)
        result = ModelResult(name=kind.name, title=kind.title, peer=kind.peer)
        try:
            make: Any = load_peer_class(kind) if kind.peer else load_class(kind)
            model = make(random_state=random_state, **dict((settings or {}).get(kind.name, {})))
            shares = _run(model, (train_texts, names_of(classes, y[train])), test_texts, result)
            found = np.searchsorted(classes, model.classes_)[shares.argmax(axis=1)]
            _score(result, y[test], found, len(classes))
            has_shares = getattr(model, "gives_probabilities", True)
            if has_shares:
                _score_confidence(result, shares, np.searchsorted(model.classes_, classes)[y[test]], abstain)
            right[kind.name] = found == y[test]
            result.examples = _examples(report, result, y[test], found, test_texts)
            if blend and has_shares and not kind.peer:
                members.append(_member(model, shares, classes))
        except Exception as error:
            if wants_traceback():
                raise
            result.error = error
            result.reason = str(error) if isinstance(error, Gpt2xError) else _in_short(error)
        report.models.append(result)
        if on_result is not None:
            on_result(result)
    if len(members) > 1:
        result, shares = _blend(members, report.models, y[train], y[test])
        _score(result, y[test], shares.argmax(axis=1), len(classes))
        _score_confidence(result, shares, y[test], abstain)
        right[result.name] = shares.argmax(axis=1) == y[test]
        report.models.append(result)
        if on_result is not None:
            on_result(result)
    _test_differences(report, right)
    return report


def _test_differences(report: ComparisonReport, right: dict[str, np.ndarray]) -> None:
    """McNemar's test of each against the best, and against the next less accurate; `right` (N,) says where each is."""
    best = report.best
    for result in report.models:
        if best is not None and result.ok and result is not best:
            result.p_versus_best = mcnemar(right[result.name], right[best.name])
    ranked = sorted((result for result in report.models if result.ok), key=lambda one: -(one.accuracy or 0))
    for result, following in itertools.pairwise(ranked):
        result.p_versus_next = mcnemar(right[result.name], right[following.name])


def _split(y: np.ndarray, split: str, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers to learn from and to test on."""
    if split == "stratified":
        return split_rows(y, fraction, np.random.default_rng(seed), at_least=1)
    train, test = train_test_split(np.arange(len(y)), test_size=fraction, random_state=seed)
    missing = np.setdiff1d(y[test], y[train])
    if len(missing):
        raise InputDataError(
            f"this split leaves {len(missing)} classes without a text to learn from; leave out rare classes with "
            "--min-rows, or split stratified"
        )
    return train, test


def _check_test_rows(data: Any, classes: np.ndarray, *, drop_unknown: bool) -> tuple[list[str], np.ndarray]:
    """Texts to test on and their class numbers (M,)."""
    texts, labels = (data.texts, data.labels) if hasattr(data, "texts") else _two(data)
    texts, (own, y) = check_texts(texts), encode_labels(labels)
    if len(texts) != len(y):
        raise InputDataError(f"there are {len(texts)} test texts and {len(y)} labels; give one label a text")
    place = {label: k for k, label in enumerate(classes.tolist())}
    unknown = [label for label in own.tolist() if label not in place]
    if unknown and not drop_unknown:
        raise InputDataError(
            f"the test data has the label {quoted(unknown[0])}, which no text to learn from has; leave such rows out"
        )
    numbers = np.array([place.get(label, -1) for label in own.tolist()])[y]
    keep = np.flatnonzero(numbers >= 0)
    if not len(keep):
        raise InputDataError("no test text has a label that there is a text to learn from for")
    return [texts[i] for i in keep], numbers[keep]


def _check_rows(data: Any, min_rows: int, *, must_be_split: bool) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Texts (N), sorted classes (K,) and class numbers (N,), rare classes left out."""
    texts, labels = (data.texts, data.labels) if hasattr(data, "texts") else _two(data)
    texts, (classes, y) = check_texts(texts), encode_labels(labels)
    if len(texts) != len(y):
        raise InputDataError(f"there are {len(texts)} texts and {len(y)} labels; give one label a text")
    counts = np.bincount(y)
    if (counts < min_rows).any():
        keep = np.flatnonzero((counts >= min_rows)[y])
        if not len(keep):
            raise InputDataError(f"no class has {min_rows} texts; give a smaller --min-rows")
        texts = [texts[i] for i in keep]
        kept, y = np.unique(y[keep], return_inverse=True)
        classes, counts = classes[kept], np.bincount(y)
    if len(classes) < 2:
        raise InputDataError(
            f"all {len(texts)} texts have the label {quoted(str(classes[0]))}; a comparison needs at least two classes"
        )
    single = classes[counts < 2].tolist()
    if single and must_be_split:
        raise InputDataError(
            f"{_name_some(single)} only 1 text, and a class needs 2 at least, to learn from one and to test on one; "
            "give more texts, or leave such classes out with --min-rows 2"
        )
    if len(classes) > MOST_CLASSES:
        raise InputDataError(
            f"there are {len(classes):,} classes in {len(texts):,} texts and a comparison takes {MOST_CLASSES:,} at "
            "most; is the label's column the right one? leave out rare classes with --min-rows"
        )
    return texts, classes, y


def _two(data: Any) -> tuple[Any, Any]:
    """Texts and labels from a pair of them.

    Raises:
        UsageError: it is no pair.

    """
    if isinstance(data, tuple | list) and len(data) == 2:
        return data[0], data[1]
    raise UsageError(f"data is a {type(data).__name__}; give a pair of lists, (texts, labels), or a NewsData")


def _run(
    model: TextClassifier | Peer,
    train: tuple[list[str], list[Any]],
    test_texts: list[str],
    result: ModelResult,
) -> np.ndarray:
    """Fit, give the probabilities (or a peer's scores) (N, K) of the test texts, and write down what it took."""
    reset_peak_memory()
    start, cpu = time.perf_counter(), time.process_time()
    model.fit(*train)
    result.train_seconds, result.cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    start = time.perf_counter()
    shares = model.scores(test_texts) if isinstance(model, Peer) else model.predict_proba(test_texts)
    result.predict_seconds = time.perf_counter() - start
    result.predict_texts_per_second = len(test_texts) / max(result.predict_seconds, 1e-9)
    result.peak_memory_bytes = peak_memory() or None
    result.parameters = model.num_parameters_
    result.frozen_parameters = int(getattr(model, "num_frozen_", 0))
    result.note = model.describe()
    result.history = list(getattr(model, "history_", []))
    plain = str | int | float | bool | None
    result.settings = {name: v if isinstance(v, plain) else repr(v) for name, v in model.get_params().items()}
    return shares


def _examples(
    report: ComparisonReport, result: ModelResult, truth: np.ndarray, found: np.ndarray, texts: list[str]
) -> list[dict[str, Any]]:
    """The first test text of each of the commonest mistakes, cut to what a reader needs."""
    examples = []
    place = {label: k for k, label in enumerate(report.classes)}
    for true, taken, _, _ in report.confusions(result):
        first = int(np.flatnonzero((truth == place[true]) & (found == place[taken]))[0])
        (text,) = without_fields([texts[first]])
        shown = text if len(text) <= EXAMPLE_CHARACTERS else text[: EXAMPLE_CHARACTERS - 1] + "…"
        examples.append({"label": true, "predicted": taken, "text": shown})
    return examples


def _score(result: ModelResult, truth: np.ndarray, found: np.ndarray, num_classes: int) -> None:
    correct = int((truth == found).sum())
    confusion = confusion_matrix(truth, found, num_classes)
    result.macro_f1 = macro_f1(confusion)
    result.confusion = confusion.tolist()
    result.accuracy_low, result.accuracy_high = wilson_interval(correct, len(truth))
    result.accuracy = correct / len(truth)


def _spread(shares: np.ndarray, places: np.ndarray, num_classes: int) -> np.ndarray:
    """Probabilities (N, K) with a column for each class of the comparison."""
    spread = np.zeros((len(shares), num_classes))
    spread[:, places] = shares
    return spread


def _member(model: TextClassifier, shares: np.ndarray, classes: np.ndarray) -> Member:
    """A classifier of ours for the blend, with what it says of the test texts (N, its classes)."""
    places, held = np.searchsorted(classes, model.classes_), model.held_back_
    if held is not None:
        said = with_confidence(held.shares.astype(np.float64), model.confidence_)
        held = HeldBack(held.rows, _spread(said, places, len(classes)))
    macro = model.get_params().get("objective") == "macro"
    return Member(_spread(shares, places, len(classes)), held, macro=macro)


def _blend(
    members: list[Member], models: list[ModelResult], learned: np.ndarray, truth: np.ndarray
) -> tuple[ModelResult, np.ndarray]:
    """The row of all that ran, as one, and its probabilities (N, K); it costs what these cost together."""
    shares, weights = blended(members, learned)
    ran = [model for model in models if model.ok and not model.peer]
    names = [model.name for model in ran]
    if weights is not None:
        names = [f"{name} × {weight:.2f}" for name, weight in zip(names, weights, strict=True)]
    result = ModelResult(name="blend", title="blend", note=f"mean of {', '.join(names)}")
    result.train_seconds = sum(model.train_seconds or 0 for model in ran)
    result.cpu_seconds = sum(model.cpu_seconds or 0 for model in ran)
    result.predict_seconds = sum(model.predict_seconds or 0 for model in ran)
    result.predict_texts_per_second = len(truth) / max(result.predict_seconds, 1e-9)
    result.parameters = sum(model.parameters or 0 for model in ran)
    return result, shares


def _score_confidence(
    result: ModelResult, shares: np.ndarray, truth: np.ndarray, abstain: float | None
) -> None:
    result.calibration_error = expected_calibration_error(shares, truth)
    if abstain is not None:
        result.sure_share, result.sure_accuracy = abstaining(shares, truth, abstain)


def _in_short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _environment() -> dict[str, Any]:
    packages = ("torch", "scikit-learn", "numpy")
    return {
        "gpt2x": __version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "machine": platform.machine(),
    }


def _name_some(labels: list[Any], limit: int = 3) -> str:
    named = ", ".join(quoted(label) for label in labels[:limit])
    more = f" and {len(labels) - limit} more classes" if len(labels) > limit else ""
    return f"{'the class' if len(labels) == 1 else 'the classes'} {named}{more} {'has' if len(labels) == 1 else 'have'}"

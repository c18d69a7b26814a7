"""What `gpt2x classify predict` says of texts: lines, JSON objects, and the rows of a file with their answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt2x.console import emit_piece, one_line, say
from gpt2x.errors import quoted

if TYPE_CHECKING:
    import numpy as np

    from gpt2x.classify.predictor import Predictor
    from gpt2x.data.annotate import TextFile
    from gpt2x.data.news_rows import Columns

MOST_WORDS = 8
"""So many words are named by --explain."""

_ROWS_AT_ONCE = 8192


@dataclass
class Asking:
    """How a classifier is asked, and which texts it knew no word of."""

    predictor: Predictor
    top_k: int
    abstain: float
    explain: bool
    unknown: int = 0
    first_unknown: str = ""

    def found(self, texts: list[str]) -> Iterator[tuple[list[tuple[Any, float]], bool]]:
        """For each text its labels with their probabilities, and whether a word of it is known."""
        shares, known = self.predictor.answer(texts)
        self._count_unknown(known, lambda: texts)
        classes = self.predictor.classes.tolist()
        named = zip(*(zip(*rank, strict=True) for rank in self._ranks(shares)), strict=True)
        for pairs, is_known in zip(named, known.tolist(), strict=True):
            yield [(classes[k], value) for k, value in pairs if value >= self.abstain], is_known

    def _ranks(self, shares: np.ndarray) -> list[tuple[list[int], list[float]]]:
        """The most probable class of each text and its probability, the second of each, … as many as are asked for."""
        if self.top_k == 1:
            order = shares.argmax(axis=1)[:, None]
        else:
            order = (-shares).argsort(axis=1, kind="stable")[:, : self.top_k]
        rows = range(len(shares))
        return [(places.tolist(), shares[rows, places].tolist()) for places in order.T]

    def _labels(self, shares: np.ndarray) -> Iterator[str]:
        """For each text its labels and their probabilities; '?' where none is named."""
        names, least = [one_line(label) for label in self.predictor.classes.tolist()], self.abstain
        ranks = [
            [f"{names[k]}\t{share:.4f}" if share >= least else "" for k, share in zip(*rank, strict=True)]
            for rank in self._ranks(shares)
        ]
        if len(ranks) == 1:
            return (cell or "?" for cell in ranks[0])
        return ("\t".join(filter(None, cells)) or "?" for cells in zip(*ranks, strict=True))

    def _count_unknown(self, known: np.ndarray, texts: Callable[[], list[str]]) -> None:
        unknown = (~known).nonzero()[0]
        if len(unknown) and not self.unknown:
            self.first_unknown = texts()[unknown[0]]
        self.unknown += len(unknown)

    def words(self, text: str) -> list[tuple[str, float]]:
        """The words that decided."""
        shares, _ = self.predictor.answer([text])
        return self.predictor.explain(text, int(shares[0].argmax()))[:MOST_WORDS]

    def lines(self, given: bytes | list[str], fields: bool) -> Iterator[str]:
        """A line for each text (or raw line of UTF-8): labels and probabilities, and the words that decided."""
        if isinstance(given, bytes) and not self.explain:
            shares, known = self.predictor.answer_lines(given, fields=fields)
            self._count_unknown(known, lambda: _texts_of(given, fields))
            return self._labels(shares)
        texts = _texts_of(given, fields)
        shares, known = self.predictor.answer(texts)
        self._count_unknown(known, lambda: texts)
        labels = self._labels(shares)
        return map(self._with_words, texts, labels) if self.explain else labels

    def _with_words(self, text: str, labels: str) -> str:
        return labels + "\t" + " ".join(f"{word}{part:+.2f}" for word, part in self.words(text))

    def json_lines(self, given: bytes | list[str], fields: bool) -> Iterator[str]:
        """An object for each text, on a line."""
        given, texts = _texts_of(given, False), _texts_of(given, fields)
        for own, text, (labels, known) in zip(given, texts, self.found(texts), strict=True):
            answer: dict[str, Any] = {
                "text": own,
                "labels": [{"label": label, "probability": share} for label, share in labels],
                "has_known_word": known,
            }
            if self.explain:
                answer["words"] = [{"word": word, "weight": part} for word, part in self.words(text)]
            yield json.dumps(answer)  # ASCII, so that no text can end a line or steer a terminal

    def label_file(self, data: Path, columns: Columns, skip_bad: bool, out: Path | None) -> None:
        """Print the rows of a file with their answers, or write them into `out`."""
        from gpt2x.data.annotate import read_texts
        from gpt2x.data.news_rows import BadRows
        from gpt2x.paths import atomic_write

        bad, num = BadRows(skip_bad), min(self.top_k, len(self.predictor.classes))
        added = [f"{name}{_suffix(k)}" for k in range(num) for name in ("predicted_label", "probability")]
        file = read_texts(data, columns, bad, added)
        pieces = self._labelled(file, added)
        if out is None:
            for piece in pieces:
                emit_piece(piece)
        else:
            with atomic_write(out, text=True) as opened:
                opened.writelines(pieces)
        bad.say()
        self.say_unknown()

    def _labelled(self, file: TextFile, added: list[str]) -> Iterator[str]:
        yield file.first_line(added)
        while rows := list(islice(file.rows, _ROWS_AT_ONCE)):
            found = self.found([row.text for row in rows])
            yield file.lines(
                rows, (list(zip(added, _flat(labels, len(added)), strict=True)) for labels, _ in found)
            )

    def say_unknown(self) -> None:
        """Name the first text without a known word, and how many there were."""
        if self.unknown:
            more = f" (and {self.unknown - 1:,} more)" if self.unknown > 1 else ""
            say(
                f"the text {quoted(self.first_unknown)}{more} has no word that the classifier knows; its label is a "
                "guess"
            )


def _texts_of(given: bytes | list[str], fields: bool) -> list[str]:
    from gpt2x.classify.inputs import split_lines, with_fields

    texts = split_lines(given) if isinstance(given, bytes) else given
    return with_fields(texts) if fields else texts


def _suffix(k: int) -> str:
    return "" if k == 0 else f"_{k + 1}"


def _flat(labels: Iterable[tuple[Any, float]], width: int) -> list[Any]:
    """Label, probability, label, probability, …, and None where no label is named."""
    flat = [value for label, share in labels for value in (label, round(share, 4))]
    return flat + [None] * (width - len(flat))

"""Hashed text features and softmax regression (csrc/text) from pybind11; `gpt2x.classify` is the public face.

Letters: N rows, F columns, K classes, Kp classes padded to a multiple of `lanes`.
"""

import numpy as np
import numpy.typing as npt

lanes: int

class FeatureRows:
    """The features of N texts, each ``group << 28 | number``, sorted and each once in a row."""

    def __init__(self, cased: list[bytes], lowered: list[bytes], bits: int, threads: int = 1) -> None:
        """Read UTF-8 texts, whose fields are separated by 0x1f; numbers are below ``2**bits``.

        Raises ValueError: lists of unequal length, or `bits` not from 1 to 24.
        """

    def __len__(self) -> int: ...
    @property
    def num_features(self) -> int:
        """How many there are in all rows together."""

    def row(self, i: int) -> npt.NDArray[np.uint32]:
        """The features of one row."""

    def document_counts(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """In how many of these rows each number is: (2**bits,)."""

    def class_counts(
        self,
        rows: npt.NDArray[np.int64],
        truth: npt.NDArray[np.int32],
        row_weights: npt.NDArray[np.float32],
        counts: npt.NDArray[np.float32],
    ) -> None:
        """Add ``row_weights[i]`` to ``counts[number, truth[i]]``, (F, K), for each feature of each row i of `rows`.

        `truth` and `row_weights` are (N,). Raises ValueError: shapes that do not fit, or a number out of range.
        """

    def groups(self) -> npt.NDArray[np.int8]:
        """The group of each number (of several the last), -1 where no row has it."""

    def group_bits(self) -> npt.NDArray[np.uint8]:
        """What each number was seen as, (2**bits,): ``1 << group`` for each group of features that have it.

        The bit above these is set where it is the number, among parts of words, of a letter of a script without blanks
        (``gpt2x.classify.features.LETTER``). To be asked for before `keep`.
        """

    def keep(self, columns: npt.NDArray[np.int32], threads: int = 1) -> None:
        """Give each number its column, (2**bits,), and drop it where that is negative; once only."""

def learn(
    rows: FeatureRows,
    order: npt.NDArray[np.int64],
    truth: npt.NDArray[np.int32],
    row_weights: npt.NDArray[np.float32],
    weights: npt.NDArray[np.float32],
    idf: npt.NDArray[np.float32],
    classes: int,
    squares: npt.NDArray[np.float32],
    learning_rate: float,
    dropout: float,
    seed: int,
) -> float:
    """One Adagrad step for each row number in `order`; changes `weights` (F, Kp) and `squares` (F,).

    Returns the sum of the weighted losses, each before its step. Releases the GIL.
    Raises ValueError: shapes that do not fit, or a row number or class out of range.
    """

class Scorer:
    """Weights that texts are scored by; texts are read and nothing is kept of them. Releases the GIL."""

    def __init__(
        self,
        numbers: npt.NDArray[np.int64],
        bits: int,
        weights: npt.NDArray[np.float32],
        idf: npt.NDArray[np.float32],
        groups: npt.NDArray[np.uint8],
        classes: int,
    ) -> None:
        """Keep `weights` (F, K or more), `idf` (F,) and `groups` (F,), which must not change.

        An empty `idf` gives the value 1. `numbers` (F,) are ascending and below ``2**bits``: those of the features that
        have a row of weights. `groups` are what they were seen as (`FeatureRows.group_bits`): a word is known if it has
        the number of a word, a letter of a script without blanks if it has that of such a letter.
        Raises ValueError: shapes that do not fit, or numbers in another order or out of range.
        """

    def score(
        self, cased: list[bytes], lowered: list[bytes], threads: int = 1
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Scores (N, K), 0 for a text without a known feature, and which texts have a known word or letter (N,).

        A text's scores depend neither on `threads` nor on the other texts.
        Raises ValueError: lists of unequal length.
        """

    def score_lines(
        self, data: bytes, typographic: bool, fields: bool, threads: int = 1
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The same for raw lines of UTF-8; also where each begins and ends (N, 2), and which are left to Python.

        Left are lines that have other characters than ASCII, Latin-1 and typographic marks; their scores are 0.
        `typographic` makes the quotation marks U+2018 and U+2019 an apostrophe, `fields` a tab the field separator.
        """

"""A confusion matrix as a picture: in which order its classes stand, and an SVG of it. Loads no torch.

Letters: K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpt2x.console import display_width
from gpt2x.markup import Markup, tag

MOST_SHOWN = 60
"""Of more classes those with the most mistakes are drawn."""

LABEL_COLUMNS = 22
"""Longer labels are cut; a Chinese character takes two columns."""

_COLUMN_PIXELS = 7
_DARK = 0.55  # from this share on, the number in a cell is written in the colour of the paper


def cluster(confusion: np.ndarray) -> np.ndarray:
    """An order of the classes (K,) in which those that are taken for each other stand side by side.

    Average linkage on how often two classes are confused, as shares of each class, and of the orders that a tree
    allows the one with the most alike neighbours (Bar-Joseph, Gifford, Jaakkola 2001). Equal input, equal order.

    >>> cluster(np.array([[9, 0, 5], [0, 9, 0], [4, 0, 9]])).tolist() in ([0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1])
    True
    """
    num = len(confusion)
    if num < 3:
        return np.arange(num)
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
    from scipy.spatial.distance import squareform

    shares = shares_of(confusion)
    distance = 1 - (shares + shares.T) / 2
    np.fill_diagonal(distance, 0)
    flat = squareform(distance, checks=False)
    tree = linkage(flat, "average")
    return np.asarray(leaves_list(optimal_leaf_ordering(tree, flat) if num <= 500 else tree))


def shares_of(confusion: np.ndarray) -> np.ndarray:
    """(K, K): what share of each true class was taken for which."""
    return confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)


def shown_classes(confusion: np.ndarray, most: int = MOST_SHOWN) -> np.ndarray:
    """The classes that are drawn, clustered: all, or the `most` with the most mistakes, theirs and others'."""
    mistakes = confusion.sum(axis=0) + confusion.sum(axis=1) - 2 * confusion.diagonal()
    chosen = np.sort(np.argsort(-mistakes, kind="stable")[:most])
    return chosen[cluster(confusion[np.ix_(chosen, chosen)])]


def cut_label(label: Any, columns: int = LABEL_COLUMNS) -> str:
    """A label in one line and at most so many columns of a terminal or a picture.

    >>> cut_label("新闻与政治", 7)
    '新闻与…'
    """
    text = " ".join(str(label).split())
    if display_width(text) <= columns:
        return text
    while display_width(text) > columns - 1:
        text = text[:-1]
    return f"{text}…"


def draw(confusion: np.ndarray, classes: Sequence[Any]) -> Markup:
    """The matrix as SVG: a row a true class, a cell as strong as its share, in percent where there is room."""
    order = shown_classes(confusion)
    shares = shares_of(confusion)
    names = [cut_label(classes[k]) for k in order]
    side = 36 if len(order) <= 12 else 21 if len(order) <= 45 else 13
    left = _COLUMN_PIXELS * max(map(display_width, names)) + 10
    parts = []
    for i, (k, name) in enumerate(zip(order, names, strict=True)):
        middle = left + (i + 0.5) * side
        parts += [
            tag("text", name, x=left - 6, y=middle + 4, text_anchor="end"),
            tag("text", name, transform=f"translate({middle + 4:.1f} {left - 6}) rotate(-90)"),
        ]
        parts += [
            _cell(
                confusion[k, m],
                shares[k, m],
                (classes[k], classes[m]),
                (left + j * side, left + i * side),
                side,
            )
            for j, m in enumerate(order)
            if confusion[k, m]
        ]
    size = left + side * len(order)
    parts.append(tag("rect", x=left, y=left, width=size - left, height=size - left, class_="frame"))
    return tag(
        "svg",
        *parts,
        viewBox=f"0 0 {size + 1} {size + 1}",
        width=size + 1,
        height=size + 1,
        class_="matrix",
        role="img",
        aria_label="confusion matrix: a row a true class, a column what it was taken for",
        xmlns="http://www.w3.org/2000/svg",
    )


def _cell(count: int, share: float, pair: tuple[Any, Any], place: tuple[float, float], side: int) -> Markup:
    x, y = place
    says = f"{pair[0]} taken for {pair[1]}: {count:,}, {share:.1%} of the class"
    if pair[0] == pair[1]:
        says = f"{pair[0]}: {count:,} right, {share:.1%} of the class"
    box = tag("rect", tag("title", says), x=x, y=y, width=side, height=side, fill_opacity=f"{share:.2f}")
    percent = round(100 * share)
    if side < 20 or percent < 1:
        return box
    strong = "strong" if share >= _DARK else None
    number = tag("text", percent, x=x + side / 2, y=y + side / 2 + 3.5, text_anchor="middle", class_=strong)
    return Markup(box + tag("g", number, class_="number"))

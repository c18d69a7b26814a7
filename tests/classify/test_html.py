"""The comparison as one HTML page: whole, offline, and nothing in it that a text could steer."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from gpt2x.classify import ComparisonReport, compare
from gpt2x.classify.chart import _drawable, _families, _plain, write_charts
from gpt2x.classify.html import page, place_labels, write
from gpt2x.classify.matrix import cluster, cut_label, draw, shown_classes
from gpt2x.errors import OutputError
from tests.classify.conftest import make_corpus

HOSTILE = "<script>alert(1)</script> $x$ \u65b0\u805e"


class Tags(HTMLParser):
    """Counts tags, and finds those that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def report() -> ComparisonReport:
    texts, labels = make_corpus(300)
    labels = [HOSTILE if label == "sport" else label for label in labels]
    texts = [f"{text} {HOSTILE}" for text in texts]
    labels[::7] = ["weather"] * len(labels[::7])  # so that there are mistakes
    return compare(
        (texts, labels), ["nb", "linear", "gpt2-lstm"], settings={"gpt2-lstm": {"gpt2": "nowhere"}}
    )


def test_a_page_is_well_formed_and_asks_for_nothing(report: ComparisonReport) -> None:
    text = page(report)
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.links == []
    assert tags.names.count("script") == 1, "the data, and nothing that a label brought"
    assert "http" not in re.sub(r'xmlns="[^"]*"', "", text)
    assert "<script>alert" not in text


def test_a_page_shows_what_the_report_holds(report: ComparisonReport) -> None:
    text = page(report)
    for result in report.models[:2]:
        assert f"{result.accuracy:.2%}" in text
        assert f"{result.accuracy_low:.1%}–{result.accuracy_high:.1%}" in text
        assert result.examples
        assert result.peak_memory_bytes
    assert text.count("<circle") == 2
    assert "did not run: " in text
    assert re.search(r"(better|a tie), p = [\d.e-]+</td>", text)
    data = re.search(r'id="comparison">(.*?)</script>', text)
    assert data
    assert ComparisonReport.from_dict(json.loads(data[1])).to_dict() == json.loads(
        json.dumps(report.to_dict())
    )


def test_examples_are_mistakes_of_their_kind(report: ComparisonReport) -> None:
    best = report.best
    assert best is not None
    pairs = [(true, taken) for true, taken, _, _ in report.confusions(best)]
    assert [(entry["label"], entry["predicted"]) for entry in best.examples] == pairs


def test_neighbours_are_compared(report: ComparisonReport) -> None:
    ranked = sorted(report.models[:2], key=lambda one: -(one.accuracy or 0))
    assert ranked[0].p_versus_next == ranked[1].p_versus_best
    assert ranked[1].p_versus_next is None


def test_a_page_that_cannot_be_written_is_one_sentence(report: ComparisonReport, tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        write(report, tmp_path)
    write(report, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8").endswith("</html>\n")


# -- the matrix -------------------------------------------------------------------------------------------------------


def test_classes_that_are_confused_stand_side_by_side() -> None:
    """Three pairs, scattered over the numbers 0 to 5."""
    confusion = np.diag([50] * 6)
    for one, other in ((0, 3), (1, 5), (2, 4)):
        confusion[one, other] = confusion[other, one] = 30
    order = cluster(confusion).tolist()
    assert sorted(order) == list(range(6))
    for one, other in ((0, 3), (1, 5), (2, 4)):
        assert abs(order.index(one) - order.index(other)) == 1
    assert cluster(confusion).tolist() == order
    assert cluster(np.zeros((2, 2), int)).tolist() == [0, 1]
    assert sorted(cluster(np.zeros((4, 4), int)).tolist()) == [0, 1, 2, 3]


def test_a_matrix_prints_numbers_where_there_is_room() -> None:
    small = draw(np.array([[7, 3], [0, 10]]), ["a", HOSTILE])
    assert re.findall(r">(\d+)</text>", small) == ["70", "30", "100"]
    assert "a taken for &lt;script&gt;" in small
    assert "\u65b0\u805e" in draw(np.eye(2, dtype=int), ["\u65b0\u805e", "b"])
    large = draw(np.eye(50, dtype=int), list(range(50)))
    assert re.findall(r">(\d+)</text>", large) == [
        str(k) for k in cluster(np.eye(50, dtype=int)) for _ in "xy"
    ]


def test_of_many_classes_those_with_the_most_mistakes_are_drawn() -> None:
    confusion = np.eye(100, dtype=int)
    confusion[3, 7] = confusion[90, 3] = 5
    shown = shown_classes(confusion, 3).tolist()
    assert sorted(shown) == [3, 7, 90]
    Tags().feed(draw(confusion, list(range(100))))


def test_a_long_label_is_cut_by_its_width() -> None:
    assert cut_label("ARTS & CULTURE") == "ARTS & CULTURE"
    assert cut_label("x" * 30) == "x" * 21 + "…"
    assert cut_label("新" * 20) == "新" * 10 + "…"


def test_names_in_the_chart_do_not_lie_on_each_other() -> None:
    points = [(100.0, 50.0), (102.0, 51.0), (104.0, 49.0), (400.0, 50.0)]
    placed = place_labels(points, ["naive Bayes", "hashed Bayes", "SVC", "RNN"])
    assert placed[3] == (409.0, 54.0), "nothing is in its way"
    heights = sorted(y for _, y in placed[:3])
    assert heights[1] - heights[0] >= 13
    assert heights[2] - heights[1] >= 13


def test_a_page_marks_peers_and_tells_duplicates(report: ComparisonReport) -> None:
    copy = ComparisonReport.from_dict(json.loads(json.dumps(report.to_dict())))
    assert 'class="tag"' not in page(copy)
    copy.models[1].peer = True
    copy.test_texts_in_training = 3
    text = page(copy)
    assert text.count('<span class="tag">peer</span>') == 2, "in the table, and above its mistakes"
    assert 'class="peer"' in text
    assert "Duplicates between the parts: 3 test texts" in text


# -- the pictures -----------------------------------------------------------------------------------------------------


def test_pictures_show_labels_of_any_script(report: ComparisonReport, tmp_path: Path) -> None:
    """A label with two dollar signs is no formula, and what no font has is shown by its number, without a warning."""
    pytest.importorskip("matplotlib")
    copy = ComparisonReport.from_dict(json.loads(json.dumps(report.to_dict())))
    copy.classes = ["$x_{$", "\u65b0\u805e \U0001f600", "\ue000 \u30b9\u30dd\u30fc\u30c4"]
    paths = write_charts(copy, tmp_path)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    assert not any(name.startswith("Last Resort") for name in _families(["\ue000 \u65b0"])), (
        "boxes are no letters"
    )
    assert _plain("$x$") == r"\$x\$"
    has = {"Some Font": frozenset(map(ord, "ab\u65b0"))}
    assert _drawable("a\u65b0\u805e", has) == "a\u65b0\\u805e"

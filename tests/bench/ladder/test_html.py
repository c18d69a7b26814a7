"""report.html: one file, well-formed, closed to the outside, and as good as results.json."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from gpt2x import markup
from gpt2x.bench import records
from gpt2x.bench.ladder.report import html, svg
from gpt2x.bench.ladder.results import Results, Row
from gpt2x.cli.app import app
from gpt2x.errors import InputDataError, OutputError

from . import made

HOSTILE = '</script><script>alert("1")</script>&<img src=x onerror=y>\x1b\ud800'


class Document(HTMLParser):
    """Checks that tags are closed in order, and collects what is in the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in markup.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" not in self.open and "style" not in self.open:
            self.text.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def hostile() -> Results:
    """Every text that comes from a file or a user is an attack."""
    ladder = made.whole()
    for row in [*ladder.rows, *ladder.left_out, *ladder.peers]:
        row.title = row.change = row.reported = row.note = HOSTILE
        row.key = f"{row.key}{HOSTILE}"
        row.reason = HOSTILE if row.reason else ""
    ladder.text, ladder.created, ladder.command = HOSTILE, HOSTILE, ["gpt2x", HOSTILE]
    ladder.machine = dataclasses.replace(ladder.machine, cpu=HOSTILE, versions={HOSTILE: HOSTILE})
    return ladder


@pytest.mark.parametrize(
    "ladder",
    [made.whole(), hostile(), made.results(), made.results(made.row("start", 1.0))],
    ids=["whole", "hostile", "empty", "one rung"],
)
def test_the_page_is_well_formed_and_needs_nothing_from_outside(ladder: Results) -> None:
    text = html.page(ladder)
    page = Document(text)
    assert page.count("script") == 1, "the data, and no program"
    assert page.count("img") == page.count("link") == page.count("iframe") == 0
    for _, attributes in page.tags:
        assert not {name for name in attributes if name.startswith("on") or name in ("src", "href")}
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", text)
    text.encode("utf-8")


def test_the_page_tells_the_whole_story() -> None:
    text = " ".join(" ".join(Document(html.page(made.whole())).text).split())
    for part in (
        "5.0 × faster than where you started",
        "no CUDA GPU here",
        "does not pay here, so the next rungs do without it: flash attention".capitalize(),
        "it is worth 1.50 × at the top",
        "transformers : 308 tokens/s",
        "scores for every head",  # of the page about flash attention
        "FlashAttention: Fast and Memory-Efficient",  # its paper
        "gpt2x bench",
        "a CPU, 2 cores",
    ):
        assert part.lower() in text.lower(), part


def test_hovering_over_a_bar_and_a_dot_shows_figures() -> None:
    page = html.page(made.whole())
    assert "<title>bf16 autocast: 320 tokens/s, 50 ms a step" in page
    assert page.count("<circle>") == 0
    assert page.count("<circle ") == 6 * 7 + 6, (
        "each of the six steps of each of the seven rungs, and each ratio"
    )
    assert "<title>round 2: 49.5 ms</title>" in page


@pytest.mark.parametrize("ladder", [made.whole(), hostile()], ids=["whole", "hostile"])
def test_pictures_are_well_formed_xml(ladder: Results) -> None:
    drawings = [
        svg.speed_chart(ladder),
        svg.ratio_chart(ladder),
        svg.time_chart(ladder),
        svg.memory_chart(ladder),
        svg.worth_chart(ladder),
    ]
    for drawing in [*drawings, svg.samples_strip(ladder.rows[0])]:
        root = ElementTree.fromstring(drawing)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        for rectangle in root.iter("{http://www.w3.org/2000/svg}rect"):
            x, y = float(rectangle.attrib["x"]), float(rectangle.attrib["y"])
            assert 0 <= x <= x + float(rectangle.attrib["width"]) <= width
            assert 0 <= y < y + float(rectangle.attrib["height"]) <= height + 1


def test_bars_are_as_long_as_the_rates() -> None:
    root = ElementTree.fromstring(svg.speed_chart(made.whole()))
    widths = [float(bar.attrib["width"]) for bar in root.iter("{http://www.w3.org/2000/svg}rect")]
    classes = [bar.attrib["class"] for bar in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert widths[2] == pytest.approx(2 * widths[0], abs=0.2), "bf16 is twice as fast as the start"
    assert classes == ["rung", "rung", "rung", "rung", "idle", "broken", "top", "peer"]


def test_the_embedded_results_are_those_of_the_file(tmp_path: Path) -> None:
    for ladder in (made.whole(), made.results(made.row("start", 1.0, losses=[4.0, float("nan")]))):
        path = html.write(ladder, tmp_path)
        again = html.load(path)
        assert records.to_json(again) == records.to_json(ladder)


def test_hostile_text_survives_the_page_unchanged_but_for_what_is_no_character(tmp_path: Path) -> None:
    ladder = made.results(made.row("start", 1.0, title=HOSTILE.removesuffix("\ud800")))
    assert html.load(html.write(ladder, tmp_path)).rows[0].title == ladder.rows[0].title


def test_a_title_that_is_no_unicode_does_not_stop_the_report(tmp_path: Path) -> None:
    assert html.load(html.write(hostile(), tmp_path)).rows[0].title.startswith("</script>")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no results"),
        ("<p>a page</p>", "holds no results"),
        (f'<script type="application/json" id="{records.REPORT_DATA}">{{</script>', "is damaged"),
        (f'<script type="application/json" id="{records.REPORT_DATA}">[]</script>', "no result of"),
    ],
)
def test_a_page_that_is_no_report_is_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(content)
    with pytest.raises(InputDataError, match="report.html") as error:
        html.load(tmp_path / "report.html")
    assert message in str(error.value)


def test_a_folder_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        html.write(made.whole(), tmp_path / "file")


def test_markdown_of_a_page_becomes_markup_that_is_escaped() -> None:
    assert html.inline("`a<b` **c** [d](https://e) <f>") == "<code>a&lt;b</code> <b>c</b> d &lt;f&gt;"


# ----------------------------------------------------------------------------------------------------------------
# From the command line


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["bench", "show", *arguments])


def test_show_redraws_everything_and_reads_its_own_report(tmp_path: Path) -> None:
    records.save(made.whole(), tmp_path / "results.json")
    shown = run(str(tmp_path), "--out", str(tmp_path / "new"))
    assert shown.exit_code == 0, shown.output
    assert {file.name for file in (tmp_path / "new").iterdir()} >= {"report.html"}
    again = run(str(tmp_path / "new" / "report.html"))
    assert again.stdout == shown.stdout
    assert json.loads(run(str(tmp_path / "new" / "report.html"), "--json").stdout)["format"] == "gpt2x-bench"


def test_without_matplotlib_the_report_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpt2x.bench.charts.is_available", lambda: False)
    records.save(made.whole(), tmp_path / "results.json")
    shown = run(str(tmp_path), "--out", str(tmp_path / "new"))
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["report.html"]
    assert "gpt2x[plots]" in shown.stderr


def test_a_row_of_a_rung_of_ones_own_has_no_page_and_is_shown() -> None:
    mine: Row = made.row("mine", 10.0)
    assert "what mine changes" in html.page(made.results(made.row("start", 20.0), mine))

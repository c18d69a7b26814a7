"""`gpt2x runs`: lists, compares and shows runs, whatever state their folders are in."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.cli.conftest import Run

COMMAND = "runs"


@pytest.fixture(autouse=True)
def _runs_are_here(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT2X_RUNS", str(alone / "runs"))
    monkeypatch.setenv("GPT2X_HOME", str(alone / "home"))


def make_run(
    folder: Path, *, lr: float = 1e-3, steps: int = 20, better: float = 0.0, metrics: str | None = None
) -> Path:
    (folder / "trainer").mkdir(parents=True)
    settings = {"format": "gpt2x-run", "lr": lr, "seed": 1, "out": str(folder)}
    (folder / "trainer" / "config.json").write_text(json.dumps(settings))
    config = {"vocab_size": 290, "n_positions": 16, "n_embd": 16, "n_layer": 1, "gpt2x": {"recipe": "lyrics"}}
    (folder / "config.json").write_text(json.dumps(config))
    lines = [
        {"step": n, "loss": 5 / n - better, "step_ms": 10.0, "tokens": 64 * n}
        | ({"validation_loss": 6 / n - better} if n % 5 == 0 else {})
        for n in range(1, steps + 1)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines) if metrics is None else metrics
    (folder / "metrics.jsonl").write_text(text)
    return folder


def test_the_list_shows_the_figures_of_each_run(alone: Path, run: Run) -> None:
    make_run(alone / "runs" / "one")
    outcome = run()
    assert outcome.exit_code == 0
    assert re.search(r"^one +lyrics +8\.2k +20 +0\.3000 +0\.3000 +6\.4k ", outcome.stdout, re.MULTILINE)
    (told,) = json.loads(run("--json").stdout)
    assert (told["steps"], told["tokens"], told["validation_loss"]) == (20, 1280, 0.3)
    assert told["tokens_per_second"] == pytest.approx(6400)


def test_broken_and_foreign_folders_are_one_sentence_each_and_the_rest_is_listed(
    alone: Path, run: Run
) -> None:
    make_run(alone / "runs" / "good")
    make_run(alone / "runs" / "cut", metrics='{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    make_run(alone / "runs" / "empty", metrics="")
    (alone / "runs" / "foreign").mkdir()
    (make_run(alone / "runs" / "damaged") / "config.json").write_text("[" * 10**5)
    (make_run(alone / "runs" / "unlogged") / "metrics.jsonl").unlink()
    outcome = run()
    assert outcome.exit_code == 0
    assert {line.split()[0] for line in outcome.stdout.splitlines()[2:]} == {"good", "cut"}
    said = outcome.stderr.splitlines()
    assert len(said) == 4
    assert all(line.startswith("left out: ") for line in said)
    assert {Path(name).name for name in re.findall(r"runs/(\w+)", outcome.stderr)} == {
        "empty",
        "foreign",
        "damaged",
        "unlogged",
    }


def test_comparing_writes_one_page_without_script_or_network_and_prints_what_differs(
    alone: Path, run: Run
) -> None:
    make_run(alone / "runs" / "one", lr=1e-3)
    make_run(alone / "runs" / "two<b>", lr=2e-3, better=0.1)
    outcome = run("compare", "one", alone / "runs" / "two<b>", "--out", "both.html")
    assert outcome.exit_code == 0
    assert re.search(r"^run +lr$", outcome.stdout, re.MULTILINE)
    assert re.search(r"^two<b> +0\.002$", outcome.stdout, re.MULTILINE)
    page = (alone / "both.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<b>" not in page
    assert "two&lt;b&gt;" in page
    assert not re.search(r"(href|src|url\()", page)
    assert "prefers-color-scheme:dark" in page
    assert "width=device-width" in page
    charts = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg viewBox=\"0 0 480.*?</svg>", page)]
    assert [chart.get("aria-label") for chart in charts] == [
        f"{what} against {axis}"
        for what in ("validation loss", "loss")
        for axis in ("steps", "tokens", "seconds")
    ]
    for chart in charts:
        assert len(chart.findall(".//{http://www.w3.org/2000/svg}polyline")) == 2


def test_comparing_goes_on_without_a_run_that_is_none_and_fails_where_none_is_left(
    alone: Path, run: Run
) -> None:
    make_run(alone / "runs" / "one")
    outcome = run("compare", "one", "nowhere")
    assert outcome.exit_code == 0
    assert "left out: there is no run 'nowhere'" in outcome.stderr
    assert (alone / "compare.html").is_file()
    outcome = run("compare", "nowhere")
    assert outcome.exit_code == 3
    assert "none of these runs" in outcome.stderr


def test_showing_a_run_draws_its_curves_here_and_as_a_page(alone: Path, run: Run) -> None:
    make_run(alone / "runs" / "one")
    outcome = run("show", "one", "--out", "one.html")
    assert outcome.exit_code == 0
    assert "loss, steps 1 to 20" in outcome.stdout
    assert max(map(len, outcome.stdout.splitlines())) <= 80
    assert sum("\u2800" <= character <= "\u28ff" for character in outcome.stdout) == 2 * 12 * 64
    assert "loss and validation loss against tokens" in (alone / "one.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("arguments", [["show", "nowhere"], ["--in", "nowhere"], ["show", "."]])
def test_what_is_not_there_is_one_sentence(arguments: list[str], alone: Path, run: Run) -> None:
    outcome = run(*arguments)
    assert outcome.exit_code == 3
    assert len(outcome.stderr.splitlines()) == 1

"""Loggers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from gpt2x.errors import OutputError
from gpt2x.train.metrics import Console, JsonLines, Loggers


def lines(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_each_call_is_one_json_line(tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "metrics.jsonl")
    log.log({"loss": 2.5}, 1)
    log.log({"loss": math.nan}, 2)
    log.close()
    assert lines(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": 2.5}, {"step": 2, "loss": None}]


def test_a_resumed_run_forgets_the_steps_that_it_lives_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"ste', encoding="utf-8")
    log = JsonLines(path, first_step=2)
    log.log({"loss": 1.0}, 3)
    log.close()
    assert lines(path) == [{"step": 1}, {"step": 2}, {"step": 3, "loss": 1.0}]


def test_a_disk_that_is_full_is_named_and_closing_says_nothing_else(tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "metrics.jsonl")
    log.file.close()
    with open("/dev/full", "w", encoding="utf-8") as full:
        log.file = full
        with pytest.raises(
            OutputError, match=r"cannot write .*metrics\.jsonl: No space left.*; free some space"
        ):
            try:
                log.log({"loss": 1.0}, 1)
            finally:
                log.close()


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot write"):
        JsonLines(tmp_path / "file" / "metrics.jsonl")


def test_the_console_line_names_units_and_several_loggers_hear_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = Loggers([Console(steps=100), JsonLines(tmp_path / "metrics.jsonl")])
    both.log({"loss": 2.5, "learning_rate": 6e-4, "step_ms": 12.4, "tokens_per_second": 165_160.0}, 7)
    both.close()
    assert capsys.readouterr().err == "step   7/100  loss 2.5000  lr 6.00e-04  12 ms  165.2k tokens/s\n"
    assert lines(tmp_path / "metrics.jsonl")[0]["step"] == 7

"""Rungs from a TOML file: they take their places on the ladder; a file that cannot be used is refused in one line."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from gpt2x.bench.ladder.config import Setting, StepConfig
from gpt2x.bench.ladder.rung_file import with_rungs_of
from gpt2x.bench.ladder.rungs import RUNGS, number_of, select
from gpt2x.bench.machine import Machine
from gpt2x.errors import InputDataError, UsageError

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "bench.md"

GOOD = """
[[rung]]
key = "low-clip"
title = "a lower clip"
change = "the global norm of the gradient is at most 0.5"
why = "To see what it costs."
after = "clip"
alters = "gradients shrink more"
changes = { grad_clip = 0.5 }

[[rung]]
key = "again"
title = "eager again"
change = "nothing is compiled"
why = "Fused operators need no compiler."
loss_bound = 0.05
changes = { compile = false, grad_clip = 1 }
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "my.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_rungs_take_the_places_that_they_name(tmp_path: Path) -> None:
    ladder = with_rungs_of(write(tmp_path, GOOD), RUNGS)
    keys = [rung.key for rung in ladder]
    assert keys[keys.index("clip") + 1] == "low-clip"
    assert keys[-1] == "again"
    assert [rung for rung in ladder if rung in RUNGS] == list(RUNGS)
    low, last = ladder[keys.index("low-clip")], ladder[-1]
    assert (low.loss_bound, low.alters, low.is_for_speed) == (None, "gradients shrink more", False)
    assert (last.loss_bound, last.is_for_speed) == (0.05, True)
    assert low.apply(StepConfig(), Setting()) == dataclasses.replace(StepConfig(), grad_clip=0.5)
    assert number_of(low, ladder) == 10
    assert [rung.key for rung in select("low-clip,10", ladder)] == ["start", "low-clip"]


def test_a_rung_of_ones_own_needs_what_the_ladders_rungs_of_that_field_need(
    tmp_path: Path, laptop: Machine
) -> None:
    text = GOOD.replace("compile = false", 'device = "cuda", compile = true')
    rung = with_rungs_of(write(tmp_path, text), RUNGS)[-1]
    assert rung.why_not(laptop, Setting(), StepConfig()) == "no CUDA GPU here"
    calm = with_rungs_of(write(tmp_path, GOOD), RUNGS)[-1]
    assert calm.why_not(dataclasses.replace(laptop, cpp_compiler=None), Setting(), StepConfig()) is None


def test_the_example_of_the_documentation_works(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(\[\[rung\]\].*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    ladder = with_rungs_of(write(tmp_path, example), RUNGS)
    assert len(ladder) > len(RUNGS)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("grad_clip = 0.5", "grad_clp = 0.5", "a step has no 'grad_clp'; did you mean 'grad_clip'?"),
        ("grad_clip = 0.5", 'grad_clip = "low"', "grad_clip = 'low' is not a number"),
        ("grad_clip = 0.5", "grad_clip = -1.0", "grad_clip = -1.0 is not above 0"),
        ("grad_clip = 0.5", "grad_clip = nan", "grad_clip = nan is not above 0"),
        ("grad_clip = 0.5", "micro_batches = 1.5", "micro_batches = 1.5 is not a whole number"),
        ("grad_clip = 0.5", "compile = 1", "compile = 1 is not true or false"),
        ("grad_clip = 0.5", 'optimizer = "sgd"', "'sgd' is unknown; choose adamw or fused or gpt2x"),
        ("{ grad_clip = 0.5 }", "{}", "is not a table of fields"),
        ('alters = "gradients', 'altrs = "gradients', "'altrs' is unknown; did you mean 'alters'?"),
        ('after = "clip"', 'after = "clp"', "after = 'clp' is no rung; did you mean 'clip'?"),
        ('key = "low-clip"', 'key = "clip"', "has the name of another rung"),
        ('key = "low-clip"', 'key = "1-6"', "a key is a word"),
        ('title = "a lower clip"', "", "has no title"),
        ('title = "a lower clip"', "title = 3", "title = 3 is not a text"),
        ("loss_bound = 0.05", "loss_bound = 0", "loss_bound = 0 is not a number above 0"),
        ("loss_bound = 0.05", "loss_bound = true", "loss_bound = True is not a number above 0"),
    ],
)
def test_what_cannot_be_used_is_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in GOOD
    with pytest.raises(UsageError) as error:
        with_rungs_of(write(tmp_path, GOOD.replace(old, new)), RUNGS)
    assert message in str(error.value)
    assert "my.toml" in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["", "[rung]\nkey = 'x'", "rung = [1]", "[[rungs]]\nkey = 'x'"],
    ids=["empty", "table", "no table", "typo"],
)
def test_a_file_without_rungs_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\[\[rung\]\]"):
        with_rungs_of(write(tmp_path, text), RUNGS)


def test_a_file_that_is_not_toml_or_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match="is not TOML"):
        with_rungs_of(write(tmp_path, "[[rung"), RUNGS)
    with pytest.raises(InputDataError):
        with_rungs_of(tmp_path / "none.toml", RUNGS)

"""The page about the race: every entrant stands on it, and what it quotes is our code."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from gpt2x.bench.race.entrants import BASELINE, ENTRANTS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "race" / "README.md").read_text(encoding="utf-8")
REFERENCE = (ROOT / "docs" / "reference" / "bench-race.md").read_text(encoding="utf-8")
QUOTES = re.findall(r"^```py (\S+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(("file", "code"), QUOTES, ids=[file for file, _ in QUOTES])
def test_what_the_page_quotes_stands_in_that_file_word_for_word(file: str, code: str) -> None:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    wanted = textwrap.dedent(code).rstrip().splitlines()
    places = range(len(lines) - len(wanted) + 1)
    assert any(textwrap.dedent("\n".join(lines[i : i + len(wanted)])).splitlines() == wanted for i in places)


@pytest.mark.parametrize("key", [entrant.key for entrant in ENTRANTS if entrant is not BASELINE])
def test_every_entrant_stands_on_the_page_and_in_the_reference(key: str) -> None:
    assert f"`{key}`" in PAGE
    assert re.search(rf"\b{re.escape(key)}\b", REFERENCE)

"""One version: gpt2x/_version.py; what cannot read it must equal it."""

from __future__ import annotations

import re
from pathlib import Path

from gpt2x import __version__

ROOT = Path(__file__).parent.parent


def test_the_rust_crate_has_the_packages_version() -> None:
    cargo = (ROOT / "tokenizer_rs_bindings" / "Cargo.toml").read_text(encoding="utf-8")
    assert re.findall(r'^version = "([^"]+)"', cargo, re.MULTILINE) == [__version__]


def test_the_changelog_speaks_of_this_version() -> None:
    assert f"\n## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_citation_names_this_version() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")

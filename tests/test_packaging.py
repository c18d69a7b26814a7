"""What a wheel holds, and that its tests in a release build meet the wheel itself, not the checkout."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
CODE = {".py", ".pyc", ".so"}  # modules, which setuptools finds by itself
needs_checkout = pytest.mark.skipif(
    not (ROOT / "gpt2x").exists(), reason="the package's sources are not here"
)


@needs_checkout
def test_a_wheel_holds_every_file_of_the_package() -> None:
    package = ROOT / "gpt2x"
    patterns = SETTINGS["setuptools"]["package-data"]["gpt2x"]
    packed = {path for pattern in patterns for path in package.glob(pattern)}
    there = {path for path in package.rglob("*") if path.is_file() and path.suffix not in CODE}
    assert there - packed == set()


@needs_checkout
def test_every_folder_with_modules_is_a_package() -> None:
    """A folder without __init__.py is missing from wheels, though a checkout can import it."""
    folders = {path.parent for path in (ROOT / "gpt2x").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


@needs_checkout
def test_a_wheel_is_tested_without_the_checkout_beside_it() -> None:
    release = SETTINGS["cibuildwheel"]
    sources = release["test-sources"]
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert "gpt2x" not in sources, "it would hide the installed wheel"
    assert "{project}" not in release["test-command"]
    folders = [word for word in shlex.split(release["test-command"]) if "/" in word]
    assert folders
    assert {folder.partition("/")[0] for folder in folders} <= set(sources)
    assert [folder for folder in folders if not (ROOT / folder).exists()] == []

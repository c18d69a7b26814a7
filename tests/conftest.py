"""Fixtures that several rooms share. Tests build their own tiny data; real data is used when it is there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpt2x.console import set_quiet

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Give the path of a file of real data, or skip the test and say which file it wants.

    The folder is ``GPT2X_TEST_DATA``, else ``shared/data`` beside the repository.
    """
    root = Path(os.environ.get("GPT2X_TEST_DATA") or REPOSITORY.parent / "shared" / "data")

    def find(name: str) -> Path:
        path = root / name
        if not path.exists():
            pytest.skip(f"real data {name} is not here (set GPT2X_TEST_DATA to the folder that holds it)")
        return path

    return find


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests away from the user's runs, cache and models, and from the network."""
    for variable in ("GPT2X_RUNS", "GPT2X_CACHE", "GPT2X_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    monkeypatch.setenv("GPT2X_OFFLINE", "1")
    monkeypatch.setenv(
        "TIKTOKEN_CACHE_DIR", ""
    )  # tiktoken keeps rank files by path, also those of other tests


@pytest.fixture(autouse=True)
def _not_quiet() -> Iterator[None]:
    """A test that runs a command with ``--quiet`` in this process silences no other."""
    yield
    set_quiet(False)

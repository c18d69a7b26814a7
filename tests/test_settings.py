"""Default < preset < config file < environment < flag."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from gpt2x.errors import InputDataError, UsageError
from gpt2x.settings import resolve, setting


@dataclass(kw_only=True)
class Settings:
    steps: int = setting(10, "How many steps.")
    rate: float = setting(0.1, "How fast.")
    name: str | None = setting(None, "What it is called.")
    fast: bool = setting(False, "Whether to hurry.")


def test_each_layer_lies_over_the_one_below_and_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[walk]\nrate = 0.3\nname = 'file'\nfast = true\n")
    monkeypatch.setenv("GPT2X_WALK_NAME", "env")
    resolved = resolve(
        Settings,
        preset=("slow", {"steps": 20, "rate": 0.2, "name": "preset"}),
        config_file=file,
        section="walk",
        flags={"fast": False, "rate": None},
    )
    assert resolved.values == Settings(steps=20, rate=0.3, name="env", fast=False)
    assert [source for _, _, source in resolved.table()] == [
        "preset slow",
        f"file {file}",
        "environment GPT2X_WALK_NAME",
        "flag",
    ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"step": 3}, "did you mean 'steps'"),
        ({"steps": "many"}, "steps = 'many' in flag is not a whole number"),
        ({"steps": 2.5}, "not a whole number"),
        ({"fast": "perhaps"}, "not true or false"),
    ],
)
def test_wrong_values_are_refused_with_their_source(flags: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(Settings, flags=flags)


def test_a_broken_config_file_is_input_data(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("steps = = 3")
    with pytest.raises(InputDataError, match="not a TOML file"):
        resolve(Settings, config_file=tmp_path / "c.toml")


def test_text_from_the_environment_becomes_the_fields_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT2X_FAST", "yes")
    monkeypatch.setenv("GPT2X_NAME", "none")
    assert resolve(Settings).values == Settings(fast=True, name=None)

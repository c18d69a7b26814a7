"""Loggers of other makers, with fakes in their place."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from gpt2x.errors import MissingComponentError, UsageError
from gpt2x.train.config import TrainConfig
from gpt2x.train.loggers import open_loggers


class FakeTracker(types.ModuleType):
    """What Weights & Biases and trackio have in common; writes down what it is told."""

    def __init__(self, name: str, fails_at: int | None = None) -> None:
        super().__init__(name)
        self.told: list[Any] = []
        self.fails_at = fails_at

    def init(self, **about: Any) -> None:
        self.told.append(about)

    def log(self, metrics: dict[str, float], step: int) -> None:
        if step == self.fails_at:
            raise RuntimeError("no\nconnection")
        self.told.append((step, metrics))

    def finish(self) -> None:
        self.told.append("finish")


class FakeWriter:
    """TensorBoard's writer."""

    def __init__(self, folder: str, purge_step: int) -> None:
        self.told: list[Any] = [(folder, purge_step)]
        WRITERS.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.told.append((name, value, step))

    def close(self) -> None:
        self.told.append("close")


WRITERS: list[FakeWriter] = []


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracker_gets_settings_numbers_and_the_end(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeTracker(name)
    monkeypatch.setitem(sys.modules, name, fake)
    (logger,) = open_loggers(name, tmp_path / "mine", {"lr": 1e-3}, 0)
    logger.log({"loss": 2.5}, 7)
    logger.close()
    assert fake.told == [
        {"project": "gpt2x", "name": "mine", "config": {"lr": 1e-3}},
        (7, {"loss": 2.5}),
        "finish",
    ]


def test_tensorboard_gets_one_tag_a_number_and_forgets_steps_lived_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = FakeWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    (logger,) = open_loggers("tensorboard", tmp_path, {}, 20)
    logger.log({"loss": 2.5, "grad_norm": 1.0}, 21)
    logger.close()
    told = WRITERS.pop().told
    assert told == [
        (str(tmp_path / "tensorboard"), 21),
        ("loss", 2.5, 21),
        ("grad_norm", 1.0, 21),
        "close",
    ]


def test_a_logger_that_fails_is_given_up_with_one_sentence_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeTracker("wandb", fails_at=2)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    (logger,) = open_loggers("wandb", tmp_path, {}, 0)
    for step in (1, 2, 3):
        logger.log({"loss": 1.0}, step)
    logger.close()
    assert [entry[0] for entry in fake.told[1:]] == [1]
    assert capsys.readouterr().err == "wandb failed and is given up; the run goes on: no connection\n"


@pytest.mark.parametrize("name", ["wandb", "trackio", "tensorboard"])
def test_a_package_that_is_missing_is_one_sentence_with_the_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard" if name == "tensorboard" else name, None)
    with pytest.raises(MissingComponentError, match=f"pip install {name}$"):
        open_loggers(name, tmp_path, {}, 0)


def test_loggers_opened_before_one_that_is_missing_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeTracker("trackio")
    monkeypatch.setitem(sys.modules, "trackio", fake)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingComponentError):
        open_loggers("trackio,wandb", tmp_path, {}, 0)
    assert fake.told[-1] == "finish"


def test_an_unknown_logger_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="tensorboard, wandb, trackio"):
        TrainConfig(log_to="wandb,mlflow")


def test_none_is_imported_unless_asked_for(tmp_path: Path) -> None:
    assert not open_loggers("", tmp_path, {}, 0)

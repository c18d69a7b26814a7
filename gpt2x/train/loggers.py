"""Loggers of other makers, for ``--log-to``: TensorBoard, Weights & Biases, trackio.

Each is imported only when it is asked for. A logger that fails while the run goes on is given up with one sentence: no
server's trouble ends a training run. To add one, write a class with `log` and `close` and name it in `LOGGERS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt2x.console import say
from gpt2x.errors import MissingComponentError, shortened
from gpt2x.train.config import log_targets
from gpt2x.train.metrics import Logger, Metrics

PROJECT = "gpt2x"


class TensorBoard:
    """Event files in RUN/tensorboard, one tag a number.

    Args:
        folder: of the run.
        settings: of the run; TensorBoard gets none of them.
        first_step: steps after this one are hidden in what an interrupted run wrote.

    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], first_step: int) -> None:
        module = importlib.import_module("torch.utils.tensorboard")
        self.writer = module.SummaryWriter(str(folder / "tensorboard"), purge_step=first_step + 1)

    def log(self, metrics: Metrics, step: int) -> None:
        """Write one point a number."""
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left, and close the file."""
        self.writer.close()


class Tracker:
    """A package that speaks as Weights & Biases does: ``init``, ``log``, ``finish``.

    Args:
        package: its name.
        folder: of the run, whose name the run has there.
        settings: of the run.

    """

    def __init__(self, package: str, folder: Path, settings: Mapping[str, Any]) -> None:
        self.module = importlib.import_module(package)
        self.module.init(project=PROJECT, name=folder.resolve().name, config=dict(settings))

    def log(self, metrics: Metrics, step: int) -> None:
        """Send the numbers of one step."""
        self.module.log(dict(metrics), step=step)

    def close(self) -> None:
        """Tell it that the run is over."""
        self.module.finish()


def _tracker(package: str) -> Callable[[Path, Mapping[str, Any], int], Logger]:
    return lambda folder, settings, first_step: Tracker(package, folder, settings)


LOGGERS: dict[str, Callable[[Path, Mapping[str, Any], int], Logger]] = {
    "tensorboard": TensorBoard,
    "wandb": _tracker("wandb"),
    "trackio": _tracker("trackio"),
}
"""(folder, settings, first step) -> logger; the names are those of the packages too."""


class Forgiving:
    """Passes everything on to a logger, until that fails; then says so once and is silent."""

    def __init__(self, name: str, logger: Logger) -> None:
        self.name = name
        self.logger: Logger | None = logger

    def log(self, metrics: Metrics, step: int) -> None:
        """Hand on the numbers of one step."""
        if self.logger is not None:
            self._try(lambda logger: logger.log(metrics, step))

    def close(self) -> None:
        """Close the logger, if it still works."""
        if self.logger is not None:
            self._try(lambda logger: logger.close())

    def _try(self, call: Callable[[Logger], None]) -> None:
        assert self.logger is not None
        try:
            call(self.logger)
        except Exception as error:
            self.logger = None
            say(shortened(f"{self.name} failed and is given up; the run goes on: {_reason(error)}"))


def open_loggers(log_to: str, folder: Path, settings: Mapping[str, Any], first_step: int) -> Sequence[Logger]:
    """The loggers that ``--log-to`` names.

    Args:
        log_to: names, separated by commas.
        folder: of the run.
        settings: of the run.
        first_step: how many steps the run has done already.

    Raises:
        MissingComponentError: a package is not installed, or will not start.

    """
    opened: list[Forgiving] = []
    try:
        for name in log_targets(log_to):
            opened.append(Forgiving(name, _open(name, folder, settings, first_step)))
    except BaseException:
        for logger in opened:
            logger.close()
        raise
    return opened


def _open(name: str, folder: Path, settings: Mapping[str, Any], first_step: int) -> Logger:
    try:
        return LOGGERS[name](folder, settings, first_step)
    except ImportError as error:
        raise MissingComponentError(
            f"--log-to {name} needs a package that is not installed; pip install {name}"
        ) from error
    except Exception as error:
        raise MissingComponentError(
            shortened(f"{name} does not start: {_reason(error)}; leave it out of --log-to")
        ) from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__

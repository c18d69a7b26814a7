"""What a run folder tells of its run: settings, curves and figures, for lists and comparisons. Loads no torch."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt2x.errors import InputDataError
from gpt2x.model.runs import CONFIG, SETTINGS, TRAINER, holds_a_run
from gpt2x.paths import CONFIG_BYTES, read_text
from gpt2x.train.checkpoint import METRICS
from gpt2x.train.curves import Curves, read_curves

_PLACES = frozenset(("format", "out"))
"""Settings that differ between any two runs and say nothing."""


@dataclass(frozen=True, slots=True)
class Record:
    """One run.

    Attributes:
        settings: those it was started with.
        recipe, parameters: as its config.json tells them; None before the first checkpoint.
        modified: when it last logged, in seconds since the epoch.

    """

    folder: Path
    settings: dict[str, Any]
    recipe: str | None
    parameters: int | None
    modified: float
    curves: Curves

    @property
    def name(self) -> str:
        """What its folder is called."""
        return self.folder.resolve().name

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        curves = self.curves
        return {
            "run": str(self.folder),
            "recipe": self.recipe,
            "parameters": self.parameters,
            "steps": curves.steps,
            "tokens": int(curves.tokens) if math.isfinite(curves.tokens) else None,
            "seconds": curves.seconds,
            "loss": curves.loss.last(),
            "validation_loss": curves.validation.last(),
            "best_validation_loss": curves.validation.best(),
            "tokens_per_second": curves.tokens_per_second(),
            "modified": self.modified,
        }


def read_record(folder: Path) -> Record:
    """Read what a run folder tells.

    Raises:
        InputDataError: it is no run of gpt2x's trainer, it has logged nothing yet, a file of it is damaged, or it may
            not be read.

    """
    try:
        return _read_record(folder)
    except OSError as error:
        raise InputDataError(f"{folder} cannot be read: {error.strerror}") from error


def _read_record(folder: Path) -> Record:
    if not holds_a_run(folder):
        raise InputDataError(f"{folder} is no run of gpt2x train; give the folder of one")
    metrics = folder / METRICS
    if not metrics.is_file():
        raise InputDataError(f"{folder} has no {METRICS}; the run in it has logged nothing yet")
    settings = _object(folder / TRAINER / SETTINGS)
    config = _object(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    about = config.get("gpt2x")
    recipe = about.get("recipe") if isinstance(about, dict) else None
    return Record(
        folder,
        {name: value for name, value in settings.items() if name not in _PLACES},
        recipe if isinstance(recipe, str) else None,
        _num_parameters(config),
        metrics.stat().st_mtime,
        read_curves(metrics),
    )


def differing_settings(records: list[Record]) -> list[str]:
    """The names of settings that are not alike in all runs, in the order in which runs save them."""
    names = dict.fromkeys(name for record in records for name in record.settings)
    return [
        name
        for name in names
        if len({json.dumps(record.settings.get(name), sort_keys=True) for record in records}) > 1
    ]


def _num_parameters(config: dict[str, Any]) -> int | None:
    """Of a GPT with tied embeddings: V·C + T·C, 12·C² + 13·C a block, 2·C of the last LayerNorm; V with padding.

    Rotary positions have no T·C.
    """
    sizes = [config.get(name) for name in ("vocab_size", "n_positions", "n_embd", "n_layer")]
    if not all(isinstance(size, int) for size in sizes):
        return None
    ours = config.get("gpt2x")
    padded = ours.get("padded_vocab_size") if isinstance(ours, dict) else None
    sizes[0] = padded if isinstance(padded, int) else sizes[0]
    V, T, C, n_layer = (int(size) for size in sizes if size is not None)
    if config.get("position_embedding_type") == "rotary":
        T = 0
    return (V + T) * C + n_layer * (12 * C * C + 13 * C) + 2 * C


def _object(file: Path) -> dict[str, Any]:
    text = read_text(file, limit=CONFIG_BYTES, regular=True)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputDataError(f"{file} is damaged: it is not JSON; restore it") from error
    if not isinstance(value, dict):
        raise InputDataError(f"{file} is damaged: it is not an object; restore it")
    return value

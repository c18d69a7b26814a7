"""The run folder: a Hugging Face folder with the best weights, and the trainer's own state beside it.

    RUN/config.json, model.safetensors, tokenizer.json, …   the best weights by validation loss, for everyone
    RUN/metrics.jsonl                                       what was logged
    RUN/bad-batches.jsonl                                   the batches of steps that were not taken, if there were any
    RUN/report.html, curves.svg                             its curves, drawn at the end
    RUN/trainer/config.json                                 the settings of the run
    RUN/trainer/data.json                                   where the data are, and their digest
    RUN/trainer/songs.index                                 what was in them, if they are songs
    RUN/trainer/metrics.index                               the log's numbers once more, which curves are drawn from
    RUN/trainer/lock                                        held by the process that trains here
    RUN/trainer/step-00000200/                              one checkpoint, the newest of which has the last weights:
        config.json, model.safetensors, …                     a Hugging Face folder too
        optimizer.safetensors                                 AdamW's moments
        average.safetensors                                   the averaged weights, with --ema
        state.json                                            step, data position, and a digest of each file

A checkpoint is written under a temporary name, synced and renamed, and `state.json` says what the other files must
be: one that a crash cut short or a disk damaged is not taken, the one before is. The Hugging Face files on top are
files of their own, so that nothing that is done to them reaches a checkpoint. There is no pickle anywhere, and no
random state: every step seeds its own randomness from (seed, step, rank).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt2x.console import say
from gpt2x.errors import InputDataError, OutputError, UsageError, quoted
from gpt2x.model.runs import (
    CONFIG,
    DATA,
    LAUNCH,
    METRIC_INDEX,
    MODEL_FILES,
    RUN_FORMAT,
    SETTINGS,
    SONG_INDEX,
    STATE,
    TRAINER,
    WEIGHTS,
    foreign_in_run,
    holds_a_run,
    is_model_folder,
)
from gpt2x.paths import CONFIG_BYTES, atomic_folder, atomic_write, output_errors, read_text, remove_ours

if TYPE_CHECKING:
    from gpt2x.model import GPT
    from gpt2x.tokenizer import Tokenizer
    from gpt2x.train.average import WeightAverage
    from gpt2x.train.optim import Optimizer
    from gpt2x.train.writer import Snapshot

FORMAT = 1
OPTIMIZER, AVERAGE = "optimizer.safetensors", "average.safetensors"
METRICS, BAD_BATCHES = "metrics.jsonl", "bad-batches.jsonl"
REPORT, CURVES = "report.html", "curves.svg"
"""What the end of a run writes for people, beside its weights."""
_HALF_CHECKPOINT = re.compile(r"\.step-\d{8,}\.[^.]*\.partial$")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One whole checkpoint: its folder and what its ``state.json`` says."""

    folder: Path
    state: dict[str, Any]

    @property
    def step(self) -> int:
        """How many optimizer steps were done."""
        return int(self.state["step"])

    def load_optimizer(self, optimizer: Optimizer) -> None:
        """Give an optimizer the moments that were saved.

        Raises:
            InputDataError: they do not fit the model.

        """
        from safetensors.torch import load_file

        optimizer.load_state_dict(load_file(self.folder / OPTIMIZER), self.step)

    def load_average(self, average: WeightAverage) -> None:
        """Give an average the weights that it had when the checkpoint was saved."""
        from safetensors.torch import load_file

        average.load_state_dict(load_file(self.folder / AVERAGE))


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A folder in which one run lives."""

    path: Path

    @property
    def trainer(self) -> Path:
        """Where the trainer's own files are."""
        return self.path / TRAINER

    def holds_a_run(self) -> bool:
        """True when a run was started here."""
        return holds_a_run(self.path)

    def start(self, settings: dict[str, Any]) -> None:
        """Make the folder and write the settings of the run; shows at once if it cannot be written.

        Raises:
            OutputError: it cannot.

        """
        with atomic_write(self.trainer / SETTINGS, text=True) as file:
            json.dump({"format": RUN_FORMAT, **settings}, file, indent=2)
            file.write("\n")

    def record_data(self, about: dict[str, str]) -> None:
        """Write down what the run is trained on: name, file, digest and recipe.

        Raises:
            OutputError: it cannot be written.

        """
        with atomic_write(self.trainer / DATA, text=True) as file:
            file.write(json.dumps(about, indent=2) + "\n")

    def check_free(self) -> None:
        """Refuse a folder with a model or other files in it that no run of ours made.

        Raises:
            UsageError: it holds something.

        """
        foreign = foreign_in_run(self.path)
        if foreign is not None:
            raise UsageError(
                f"{self.path} holds files that are not of a gpt2x run ({foreign}); move them away, or give another "
                "folder as --out"
            )

    def clear(self) -> None:
        """Remove the run: the files that a run makes, and no others."""
        with output_errors(self.path):
            for name in (METRICS, BAD_BATCHES, REPORT, CURVES, *MODEL_FILES):
                (self.path / name).unlink(missing_ok=True)
            for folder in self.checkpoints():
                remove_ours(folder, files_of_checkpoint(folder))
            remove_ours(self.trainer, [SETTINGS, DATA, SONG_INDEX, METRIC_INDEX, LAUNCH])

    def checkpoints(self) -> list[Path]:
        """The folders of all checkpoints, the oldest first, whole or not."""
        return sorted(path for path in self.trainer.glob("step-*") if _holds_a_part(path))

    def newest_whole(self, anew: str = "--overwrite") -> Checkpoint | None:
        """The newest checkpoint that is whole, or None if there is none at all.

        Args:
            anew: what a command needs to start the run anew.

        Raises:
            InputDataError: there are some and none is whole.

        """
        problems = []
        for folder in reversed(self.checkpoints()):
            try:
                checkpoint = read_checkpoint(folder)
            except InputDataError as error:
                problems.append(str(error))
                continue
            if problems:
                say(f"{problems[0]}; going on from {folder.name} instead")
            return checkpoint
        if problems:
            raise InputDataError(f"{problems[0]}; no whole checkpoint is left, {anew} starts anew")
        return None

    def save(
        self,
        taken: Snapshot,
        tokenizer: Tokenizer,
        state: dict[str, Any],
        *,
        keep: int,
        about: dict[str, Any],
    ) -> Path:
        """Write a checkpoint and remove old ones.

        Args:
            taken: the weights, their averages, and the optimizer's state.
            tokenizer: what the model's ids mean.
            state: what else is needed to go on; ``step`` among it.
            keep: how many checkpoints stay.
            about: what config.json tells of the run to everyone.

        Raises:
            OutputError: it cannot be written; the checkpoints before are untouched.

        """
        from gpt2x.model import save_folder
        from gpt2x.model.tensor_file import write_tensors
        from gpt2x.train.average import saved_average

        folder = self.trainer / f"step-{state['step']:08d}"
        with atomic_folder(folder, files_of_checkpoint, keep_foreign=True) as temporary:
            known = {WEIGHTS: save_folder(taken.model, tokenizer, temporary, extra=about)}
            known[OPTIMIZER] = write_tensors(taken.moments, temporary / OPTIMIZER)
            if taken.average is not None:
                known[AVERAGE] = write_tensors(saved_average(taken.average), temporary / AVERAGE)
            written = sorted(temporary.iterdir())
            files = {file.name: known.get(file.name) or digest(file) for file in written}
            text = json.dumps({"format": FORMAT, **state, "files": files}, indent=2) + "\n"
            (temporary / STATE).write_text(text, encoding="utf-8")
        self._prune(folder, keep)
        return folder

    def _prune(self, newest: Path, keep: int) -> None:
        """Leave the newest so many checkpoints; those of a later step are of a future that is lived again."""
        known = self.checkpoints()
        end = known.index(newest) + 1
        for gone in known[: max(0, end - keep)] + known[end:]:
            with contextlib.suppress(OSError):
                remove_ours(gone, files_of_checkpoint(gone))

    def publish(self, model: GPT, tokenizer: Tokenizer, about: dict[str, Any]) -> None:
        """Put weights on top of the run folder, where everyone looks for them.

        Raises:
            OutputError: it cannot be written; what was there before still is.

        """
        from gpt2x.model import save_folder

        save_folder(model, tokenizer, self.path, extra=about)

    def describe(self, about: dict[str, Any]) -> None:
        """Change what config.json on top says of the run, and leave its weights."""
        values = json.loads(read_text(self.path / CONFIG, limit=CONFIG_BYTES, regular=True))
        values["gpt2x"] |= about
        with atomic_write(self.path / CONFIG, text=True) as file:
            file.write(json.dumps(values, indent=2) + "\n")

    def has_published(self) -> bool:
        """True when there are weights of ours on top."""
        return is_model_folder(self.path)

    def sweep(self) -> None:
        """Remove what a killed process had begun to write; only the holder of the lock may."""
        halves = [path for path in self.trainer.glob(".step-*.partial") if _HALF_CHECKPOINT.match(path.name)]
        for path in (*halves, *self.path.glob(".saving.*")):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)


def files_of_checkpoint(folder: Path) -> list[str]:
    """The names that the trainer gives to the files of a checkpoint; whatever else is in its folder is not ours."""
    return [*MODEL_FILES, OPTIMIZER, AVERAGE, STATE]


def _holds_a_part(folder: Path) -> bool:
    return any(os.path.lexists(folder / name) for name in files_of_checkpoint(folder))


def read_checkpoint(folder: Path) -> Checkpoint:
    """Check that a checkpoint is whole, and read its state.

    Raises:
        InputDataError: a file is missing, cut or changed.

    """
    try:
        state = json.loads(read_text(folder / STATE, limit=CONFIG_BYTES, regular=True))
        files = dict(state["files"])
        int(state["step"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputDataError(f"checkpoint {folder} is damaged: {STATE} cannot be read") from error
    if state.get("format") != FORMAT:
        raise InputDataError(
            f"checkpoint {folder} has format {quoted(state.get('format'))}, this gpt2x reads {FORMAT}"
        )
    for name, expected in files.items():
        if not (folder / name).is_file() or digest(folder / name) != expected:
            raise InputDataError(f"checkpoint {folder} is damaged: {name} is not what was saved")
    return Checkpoint(folder, state)


def saved_settings(path: Path) -> dict[str, Any]:
    """The settings with which the run in a folder was started.

    Raises:
        UsageError: there is no run in it.
        InputDataError: they cannot be read.

    """
    file = RunFolder(path).trainer / SETTINGS
    if not file.is_file():
        raise UsageError(f"there is no run to resume in {path}; give its folder as --out")
    try:
        values = dict(json.loads(read_text(file, limit=CONFIG_BYTES, regular=True)))
        return {name: value for name, value in values.items() if name != "format"}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputDataError(
            f"{file} is damaged and the run cannot go on; --overwrite starts anew"
        ) from error


def bytes_a_parameter(ema: float) -> int:
    """Of a checkpoint: the weight, AdamW's two moments, and the average where there is one, in float32."""
    return 16 if ema else 12


def check_space(path: Path, num_parameters: int, ema: float = 0.0) -> None:
    """Refuse a disk that has no space for one checkpoint and the weights on top, before the first step.

    Args:
        path: the run folder, which need not be there.
        num_parameters: of the model.
        ema: the decay of the averaged weights; 0: there are none.

    Raises:
        OutputError: it has not.

    """
    needed = num_parameters * (bytes_a_parameter(ema) + 4)
    place = next(place for place in (path, *path.absolute().parents) if place.is_dir())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise OutputError(
            f"{place} has {free / 1e6:.0f} MB free and a checkpoint needs {needed / 1e6:.0f} MB; free some space, or "
            "give another --out"
        )


def digest(*files: Path) -> str:
    """sha256 of a file's content, or of that of several, one after the other."""
    result = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            while chunk := opened.read(1 << 20):
                result.update(chunk)
    return result.hexdigest()

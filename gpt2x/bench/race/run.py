"""One run: an entrant's model and optimizer, its data, and the curve so far."""

from __future__ import annotations

import gc
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from gpt2x.bench.race.curve import Curve, Point
from gpt2x.bench.race.data import Data
from gpt2x.bench.race.entrants import Entrant
from gpt2x.bench.race.model import ValueGPT
from gpt2x.bench.race.setting import Setting, window_of
from gpt2x.data.batches import TokenBatches
from gpt2x.model import GPT
from gpt2x.model.config import FUSED, GPTConfig
from gpt2x.train.config import TrainConfig
from gpt2x.train.plan import choose_dtype, model_shape, scheduled_rate, step_options, with_vocabulary
from gpt2x.train.setup import step_in_words as words
from gpt2x.train.step import Batch, TrainingStep
from gpt2x.train.step_options import StepOptions


def settings_of(entrant: Entrant, setting: Setting, lr: float) -> TrainConfig:
    """The trainer's settings for such a run; all that is not named here is the trainer's own default."""
    return TrainConfig(
        lr=lr,
        muon_lr=lr * setting.muon_ratio,
        warmup=setting.steps,  # more than there are: the trainer's rule gives a tenth of the run
        optimizer="muon" if entrant.muon else "auto",
        device=setting.device,
    )


def how_to_step(config: TrainConfig, device: torch.device) -> StepOptions:
    """The step that the trainer would make here; without CUDA graphs, which hold one shape of batch only."""
    dtype, _ = choose_dtype("auto", device)
    return replace(step_options(config, device, dtype, world_size=1, num_passes=1), cuda_graphs=False)


def shape_of(entrant: Entrant, setting: Setting, config: TrainConfig) -> GPTConfig:
    """The model's shape, with the fused operators that the trainer would use."""
    trained = model_shape(config)
    fused = {name: getattr(trained, name) for name in FUSED}
    shape = replace(setting.shape, **entrant.parts, **fused)
    return with_vocabulary(shape, shape.vocab_size)


class Run:
    """A model that learns in slices.

    Args:
        entrant: what is trained, and how.
        setting: what all entrants share.
        data: what it learns from and is measured on.
        seed: decides the weights and the order of the data.
        lr: the highest learning rate.
        steps: that the schedule is laid out for, and the most that there can be.

    """

    def __init__(
        self, entrant: Entrant, setting: Setting, data: Data, *, seed: int, lr: float, steps: int
    ) -> None:
        self.entrant, self.setting, self.data, self.steps = entrant, setting, data, steps
        self.device = torch.device(setting.device)
        self.config = settings_of(entrant, setting, lr)
        torch.manual_seed(seed)
        make = ValueGPT if entrant.value_embeddings else GPT
        model = make(shape_of(entrant, setting, self.config))
        self.training = TrainingStep(model, how_to_step(self.config, self.device), self.device)
        self.batches: dict[int, TokenBatches] = {}
        self.seed = seed
        self.held_out = self._on_device((data.inputs, data.targets))
        self.curve = Curve()
        self.num_steps, self.seconds, self.eval_s = 0, 0.0, 0.0

    @property
    def parameters(self) -> int:
        """How many numbers are learned."""
        return self.training.model.num_parameters()

    def advance(self, to: int, goal: float | None = None) -> None:
        """Take steps until there are `to` of them, and measure the held-out loss whenever it is due.

        The clock runs while steps are taken, the reading of their batches included, and not while losses are measured.

        Args:
            to: steps from the beginning of the run.
            goal: end before that once a loss is at or below it, or no number.

        """
        self._warm_up()
        gc.disable()  # a collection in the middle of a step would be charged to the entrant
        try:
            while self.num_steps < to and not self._is_over(goal):
                every = self.setting.eval_every
                due = min(self.steps, (self.num_steps // every + 1) * every)
                self._take_steps(min(to, due))
                if self.num_steps == due:
                    self._measure()
        finally:
            gc.enable()

    def _is_over(self, goal: float | None) -> bool:
        return goal is not None and (self.curve.is_broken or self.curve.reached(goal) is not None)

    def _take_steps(self, to: int) -> None:
        self._wait()
        start = time.perf_counter()
        for step in range(self.num_steps, to):
            self.training([self._batch(step)], scheduled_rate(self.config, step, self.steps))
        self._wait()
        self.seconds += time.perf_counter() - start
        self.num_steps = to

    def _measure(self) -> None:
        start = time.perf_counter()
        with torch.no_grad():
            loss = float(self.training.forward(*self.held_out))
        self.curve.points.append(Point(step=self.num_steps, seconds=self.seconds, loss=loss))
        self.eval_s += time.perf_counter() - start

    def _warm_up(self) -> None:
        """One pass forward and backward that nothing comes of: others have used the caches since the last slice."""
        idx, targets = (part[: self.setting.batch] for part in self.held_out)
        self.training.forward(idx, targets).backward()
        self.training.optimizer.zero_grad()

    def _batch(self, step: int) -> Batch:
        """The ids and targets of a step: (B, T), or more windows that are shorter."""
        T = self.setting.shape.block_size
        window = window_of(step, self.steps, T, short_first=self.entrant.short_first)
        if window not in self.batches:
            count = self.setting.tokens_per_step // window
            self.batches[window] = TokenBatches(self.data.train, count, window, seed=self.seed)
        return self._on_device(next(self.batches[window]))

    def _on_device(self, arrays: tuple[np.ndarray, np.ndarray]) -> tuple[Any, Any]:
        return tuple(torch.from_numpy(array).to(self.device) for array in arrays)  # type: ignore[return-value]

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def step_in_words(setting: Setting) -> str:
    """How a step is computed here: ``bf16 weights, AdamW of gpt2x.ops``."""
    return words(how_to_step(TrainConfig(device=setting.device), torch.device(setting.device)))

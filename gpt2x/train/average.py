"""An exponential moving average of the weights (EMA): what `--ema` validates, publishes and keeps beside the raw ones.

After each step that was taken, average ← d·average + (1 - d)·weights (Polyak and Juditsky 1992 average all steps alike;
the exponential form is that of Szegedy et al. 2016, section 8). The decay d rises to the one that is asked for,
d = min(decay, (1 + step) / (10 + step)) as in TensorFlow's ExponentialMovingAverage, so that the random start is soon
forgotten. It is a function of the step: the averaged weights are all the state that there is.

All ranks hold the same weights after a step, and so the same average; nothing is exchanged.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gpt2x.model import GPT
from gpt2x.model.device import shapes_only


def decay_at(decay: float, step: int) -> float:
    """The decay after so many steps.

    >>> decay_at(0.999, 0), decay_at(0.999, 90), decay_at(0.999, 100_000)
    (0.1, 0.91, 0.999)
    """
    return min(decay, (1 + step) / (10 + step))


class WeightAverage:
    """The running average of a model's weights, in float32 on the model's device.

    Attributes:
        model: a GPT of its own with the averaged weights, in evaluation mode.

    """

    def __init__(self, source: GPT, decay: float) -> None:
        self.decay = decay
        with shapes_only():
            self.model = GPT(source.config)
        copied = {name: tensor.detach().clone() for name, tensor in source.state_dict().items()}
        self.model.load_state_dict(copied, assign=True)
        self.model.finish()
        self.model.to(source.wte.weight.device).eval().requires_grad_(False)
        self._pairs = list(zip(self.model.parameters(), source.parameters(), strict=True))

    @torch.no_grad()
    def update(self, step: int, taken: Tensor) -> None:
        """Take in the weights after a step, without waiting for a GPU.

        Args:
            step: how many steps are done, this one included.
            taken: whether the step was taken, 0-dim bool; one that was not changes nothing here either.

        """
        share = torch.where(taken, 1 - decay_at(self.decay, step), 0.0)
        for average, weight in self._pairs:
            average.lerp_(weight, share.to(average.dtype))

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged weights by name, each once, without the padding of the vocabulary, which no checkpoint keeps."""
        return saved_average(self.model)

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from saved averages, of a model of the same shape."""
        for name, own in self.state_dict().items():
            own.copy_(state[name])


def saved_average(model: GPT) -> dict[str, Tensor]:
    """The averaged weights in a model as a checkpoint has them."""
    rows = {"wte.weight": model.config.vocab_size, "lm_head.weight": model.config.vocab_size}
    return {name: weight.detach()[: rows.get(name, len(weight))] for name, weight in model.named_parameters()}

"""Train in bfloat16 without casting: the model computes with a bfloat16 copy of its float32 weights.

Autocast rounds every weight to bfloat16 in every step and widens every gradient again; for GPT-2 124M on a CPU that
is a tenth of a short step, and two gigabytes of traffic. Here the rounded copy is kept: the optimizer
updates the float32 weight and writes the copy in the same pass (`gpt2x.ops.adamw_` with `bf16_params`), and gradients
stay as the products made them. What is saved, resumed and generated from are the float32 weights, as ever.

What differs from autocast: the residual stream is bfloat16 too, as in llm.c; statistics, softmax and loss stay float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gpt2x.errors import UsageError
from gpt2x.model.gpt import GPT, AddLayerNorm


class Bf16Weights(nn.Module):
    """A `GPT` that is called as before and computes with bfloat16 copies of its weights.

    LayerNorm's gains and biases have none: they are few, and its operator takes them in float32.

    Attributes:
        model: the model with the float32 weights; its parameters are this module's.
        copies: in bfloat16, by parameter name; leaves, whose ``grad`` the backward pass fills.

    Raises:
        UsageError: the model is not float32, or its LayerNorm is torch's.

    """

    def __init__(self, model: GPT) -> None:
        super().__init__()
        if not model.config.fused_layers:
            raise UsageError("bf16 weights need fused_layers = true, whose LayerNorm takes float32 weights")
        if model.wte.weight.dtype != torch.float32:
            raise UsageError(f"bf16 weights need a float32 model, this one is {model.wte.weight.dtype}")
        self.model = model
        plain = {id(p) for m in model.modules() if isinstance(m, AddLayerNorm) for p in m.parameters()}
        self.copies: dict[str, Tensor] = {
            name: parameter.detach().to(torch.bfloat16).requires_grad_()
            for name, parameter in model.named_parameters()
            if id(parameter) not in plain
        }
        names = {parameter: name for name, parameter in model.named_parameters()}
        self._copy_of = {parameter: self.copies.get(name) for parameter, name in names.items()}

    def forward(self, *arguments: Any, **options: Any) -> Any:
        """As `GPT.forward`."""
        return functional_call(self.model, self.copies, arguments, options)

    def copy_of(self, parameter: Tensor) -> Tensor | None:
        """The copy of one of the model's parameters, or None for one that has none."""
        return self._copy_of[parameter]  # type: ignore[index]

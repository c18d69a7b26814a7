"""AdamW, and the sums that Muon needs, for ranks that share the memory of one machine (`gpt2x.train.shared_memory`).

There is one set of weights, bfloat16 copies and moments, which all ranks see. Each rank moves a share of it; a barrier
at the end of the step, and all compute with what all have moved. A checkpoint needs no gathering.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn

from gpt2x.model import GPT
from gpt2x.model.bf16_weights import Bf16Weights
from gpt2x.ops.memory import return_freed_memory
from gpt2x.train.optim import OpsAdamW
from gpt2x.train.shared_memory import cuts, move_into_shared_memory, share_of, shared_tensor
from gpt2x.train.step_options import StepOptions
from gpt2x.train.sums import SharedSums, laid_out, num_elements


class SharedAdamW(OpsAdamW):
    """As `OpsAdamW`; to be made, and to step, on all ranks at once."""

    sums: SharedSums

    def __init__(
        self,
        model: GPT,
        options: StepOptions,
        bf16: Bf16Weights | None = None,
        *,
        but: frozenset[nn.Parameter] = frozenset(),
    ) -> None:
        super().__init__(model, options, bf16, but=but)
        share_weights(self.parameters, self.bf16_params)
        sizes = [parameter.numel() for parameter in self.parameters]
        self.cuts = cuts(share_of(sum(sizes), dist.get_rank(), options.world_size), sizes)

    def _zeros(self) -> list[Tensor]:
        return shared_zeros(self.parameters)

    def _sums(self, *, has_copies: bool) -> SharedSums:
        return SharedSums(self.leaves(), self.options.world_size, self.options.num_passes)

    def own(self, tensors: Sequence[Tensor | None]) -> list[Any]:
        """A share of all elements, as flat views of the tensors that hold them; nothing of some."""
        pairs = zip(tensors, self.cuts, strict=True)
        return [None if tensor is None else tensor.detach().view(-1)[cut] for tensor, cut in pairs]

    def norm(self, gradients: list[Tensor]) -> Tensor:
        """Known since the means were taken."""
        return self.sums.norm()

    def _update(self, gradients: list[Tensor], norm: Tensor | None, lr: float, good: Tensor | None) -> None:
        super()._update(gradients, norm, lr, good)
        dist.barrier()  # all have moved


def share_weights(parameters: Sequence[Tensor], bf16_params: Sequence[Tensor | None]) -> None:
    """Let parameters and their copies live where all ranks see them."""
    move_into_shared_memory(parameters)
    move_into_shared_memory([copy for copy in bf16_params if copy is not None])
    return_freed_memory()


def shared_zeros(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Float32 zeros in the tensors' shapes, the same memory on all ranks."""
    return laid_out(shared_tensor(num_elements(tensors)), tensors)

"""Muon: hidden matrices move by their momentum made orthogonal; all else is AdamW's.

Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks" (kellerjordan.github.io/posts/muon). A
gradient of a matrix is often close to low rank: a few directions get all of the step. Muon gives every direction the
same: it takes the momentum U S Vᵀ and steps by U Vᵀ, which the Newton–Schulz iteration finds by products alone.

The attention's c_attn (3C, C) is three matrices, for queries, keys and values, and each is made orthogonal by itself.
Matrices of one shape are iterated on together, as one batch; several ranks share them out and gather the results.

Shapes: B matrices of R rows and C columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gpt2x.model import GPT
from gpt2x.model.bf16_weights import Bf16Weights
from gpt2x.train.make_adamw import make_adamw
from gpt2x.train.optim import Optimizer
from gpt2x.train.shared_optim import SharedAdamW, share_weights, shared_zeros
from gpt2x.train.step_options import StepOptions
from gpt2x.train.sums import Float32Sums, SharedSums, Sums

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the polynomial a s + b s³ + c s⁵ that each iteration applies to all singular values: steep at 0, so that five
iterations bring them near 1, between about 0.7 and 1.2, which is as good as 1 (Jordan et al. 2024)."""

NUM_ITERATIONS = 5
QUERY_KEY_VALUE = "attn.c_attn.weight"


def newton_schulz(matrices: Tensor, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """(…, R, C) matrices U S Vᵀ -> about U Vᵀ, in `dtype`; a matrix of zeros stays one.

    >>> orthogonal = newton_schulz(torch.tensor([[3.0, 0.0], [0.0, 0.1]]), torch.float32)
    >>> bool((torch.linalg.svdvals(orthogonal) - 1).abs().max() < 0.35)
    True
    """
    a, b, c = COEFFICIENTS
    norm = matrices.float().norm(dim=(-2, -1), keepdim=True)
    x = (matrices.float() / (norm + 1e-7)).to(dtype)
    is_tall = x.size(-2) > x.size(-1)
    x = x.mT if is_tall else x  # the product x xᵀ is then the smaller one
    for _ in range(NUM_ITERATIONS):
        gram = x @ x.mT  # (…, R, R)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if is_tall else x


def hidden_matrices(model: GPT) -> dict[str, nn.Parameter]:
    """The parameters that are Muon's, by name: the matrices of the blocks; no embedding, head, norm or bias."""
    return {name: p for name, p in model.named_parameters() if name.startswith("h.") and p.dim() == 2}


class Muon(Optimizer):
    """Muon for the hidden matrices, and AdamW, ours or torch's, for the rest; one clip for both.

    The learning rate of Muon is `muon_lr_ratio` times AdamW's, times max(1, R / C)^0.5 for a matrix of R rows and C
    columns; decay is decoupled, by `muon_weight_decay`.
    """

    def __init__(self, model: GPT, options: StepOptions, bf16: Bf16Weights | None = None) -> None:
        super().__init__(model, options)
        self.matrices = hidden_matrices(model)
        theirs = frozenset(self.matrices.values())
        self.adamw = make_adamw(model, options, bf16, but=theirs)
        self.bf16_params = [bf16.copy_of(p) if bf16 else None for p in self.matrices.values()]
        self.sums: Sums | None
        self.places: Sequence[int] = range(len(self.matrices))
        """The places of the matrices that this rank moves."""
        if options.shared_memory:
            self._share_memory()
        else:
            self.momenta = [torch.zeros_like(p) for p in self.matrices.values()]
            leaves, several = self._matrix_leaves(), options.num_passes * options.world_size > 1
            self.sums = Float32Sums(leaves, options.world_size) if bf16 and several else None
        self.dtype = torch.bfloat16 if options.autocast or options.bf16_weights else torch.float32

    def _share_memory(self) -> None:
        """One set of matrices and momenta for all ranks; the blocks are dealt out among them."""
        rank, world_size = torch.distributed.get_rank(), self.options.world_size
        matrices = list(self.matrices.values())
        self.places = [place for place, name in enumerate(self.matrices) if _block(name) % world_size == rank]
        self.sums = SharedSums(self._matrix_leaves(), world_size, self.options.num_passes)
        self.momenta = shared_zeros(matrices)
        share_weights(matrices, self.bf16_params)

    def _matrix_leaves(self) -> list[Tensor]:
        return [p if s is None else s for p, s in zip(self.matrices.values(), self.bf16_params, strict=True)]

    def leaves(self) -> list[Tensor]:
        """What the backward pass computes gradients of."""
        return [*self._matrix_leaves(), *self.adamw.leaves()]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        super().zero_grad()
        self.adamw.zero_grad()
        if self.sums is not None:
            self.sums.forget()

    def _reads(self, good: Tensor) -> bool:
        return self.adamw._reads(good)

    def _refuse(self) -> None:
        self.adamw.num_steps = self.num_steps
        self.adamw._refuse()

    @torch.no_grad()
    def _update(self, gradients: list[Tensor], norm: Tensor | None, lr: float, good: Tensor | None) -> None:
        own = [gradients[place] for place in self.places]
        if self.options.grad_clip is not None and norm is not None:
            nn.utils.clip_grads_with_norm_(_as_parameters(own), self.options.grad_clip, norm)
        if own:
            self._move(own, lr * self.options.muon_lr_ratio, good)
        self.adamw.num_steps = self.num_steps
        # In shared memory the last to wait for the other ranks.
        self.adamw._update(gradients[len(self.matrices) :], norm, lr, good)

    def norm(self, gradients: list[Tensor]) -> Tensor:
        """As AdamW takes it."""
        if isinstance(self.sums, SharedSums):
            assert isinstance(self.adamw, SharedAdamW)
            return self.sums.norm(self.adamw.sums)
        return self.adamw.norm(gradients)

    def gradients(self) -> list[Tensor]:
        """Muon's, then AdamW's."""
        return [*self._matrix_gradients(), *self.adamw.gradients()]

    def _matrix_gradients(self) -> list[Tensor]:
        """Of each matrix, the mean over micro-batches and ranks, (R, C) in float32."""
        if self.sums is None:
            return [
                leaf.grad.float() if leaf.grad is not None else torch.zeros_like(leaf, dtype=torch.float32)
                for leaf in self._matrix_leaves()
            ]
        return self.sums.means()

    def _move(self, gradients: list[Tensor], lr: float, good: Tensor | None) -> None:
        """Momentum, Nesterov's look ahead, orthogonal, decay, step; then the bfloat16 copies, where there are any.

        Of this rank's matrices, whose gradients are given. Where `good` is False a gradient equal to the momentum
        leaves the momentum, and a rate of 0 the matrix.
        """
        names, matrices = zip(*self.matrices.items(), strict=True)
        momenta = [self.momenta[place] for place in self.places]
        beta = self.options.muon_momentum
        rate: float | Tensor = lr
        if good is not None:
            rate = lr * good.double()
            gradients = [
                torch.where(good, gradient, momentum)
                for gradient, momentum in zip(gradients, momenta, strict=True)
            ]
        torch._foreach_lerp_(momenta, gradients, 1 - beta)
        ahead = torch._foreach_lerp(gradients, momenta, beta)
        parts = [
            part
            for place, update in zip(self.places, ahead, strict=True)
            for part in _split(names[place], update)
        ]
        sharers = 1 if self.options.shared_memory else self.options.world_size
        moved = iter(orthogonal(parts, self.dtype, sharers))
        for place in self.places:
            parameter, bf16_param = matrices[place], self.bf16_params[place]
            parameter.mul_(1 - rate * self.options.muon_weight_decay)
            for part in _split(names[place], parameter):
                part.sub_(next(moved).mul_(rate * max(1.0, part.size(0) / part.size(1)) ** 0.5))
            if bf16_param is not None:
                bf16_param.copy_(parameter)

    def moments(self) -> list[tuple[Tensor, Tensor]]:
        """AdamW's moments, of what is AdamW's."""
        return self.adamw.moments()

    def state_dict(self) -> dict[str, Tensor]:
        """``momentum/NAME`` of each hidden matrix, and AdamW's state of the rest."""
        own = {
            f"momentum/{name}": momentum for name, momentum in zip(self.matrices, self.momenta, strict=True)
        }
        return own | self.adamw.state_dict()

    def _loaded(self) -> None:
        self.adamw.num_steps = self.num_steps
        self.adamw._loaded()


def _block(name: str) -> int:
    """The number of the block that a parameter is in.

    >>> _block("h.11.mlp.c_fc.weight")
    11
    """
    return int(name.split(".")[1])


def _split(name: str, matrix: Tensor) -> list[Tensor]:
    """The matrices that a parameter consists of."""
    return list(matrix.chunk(3)) if name.endswith(QUERY_KEY_VALUE) else [matrix]


def _as_parameters(gradients: list[Tensor]) -> list[Tensor]:
    """Tensors whose ``grad`` these are, for torch's clip."""
    holders = [torch.empty_like(gradient) for gradient in gradients]
    for holder, gradient in zip(holders, gradients, strict=True):
        holder.grad = gradient
    return holders


def orthogonal(matrices: list[Tensor], dtype: torch.dtype, world_size: int = 1) -> list[Tensor]:
    """Each of the (R, C) matrices made orthogonal; those of one shape in one batch, shared out among the ranks.

    All ranks give the same matrices and get the same results, bit for bit: each result is computed on one rank alone.
    """
    places: dict[torch.Size, list[int]] = {}
    for place, matrix in enumerate(matrices):
        places.setdefault(matrix.shape, []).append(place)
    result: list[Tensor] = list(matrices)
    for same in places.values():
        batch = torch.stack([matrices[place] for place in same])  # (B, R, C)
        done = newton_schulz(batch, dtype) if world_size == 1 else _shared_out(batch, dtype, world_size)
        for place, matrix in zip(same, done, strict=True):
            result[place] = matrix.to(matrices[place].dtype)
    return result


def _shared_out(batch: Tensor, dtype: torch.dtype, world_size: int) -> Tensor:
    """`newton_schulz` of (B, R, C), of which each rank computes a share of the same size, zeros at the end."""
    B, R, C = batch.shape
    share = -(-B // world_size)
    padded = torch.cat([batch, batch.new_zeros(share * world_size - B, R, C)])
    rank = torch.distributed.get_rank()
    mine = newton_schulz(padded[rank * share : (rank + 1) * share], dtype).contiguous()
    gathered = [torch.empty_like(mine) for _ in range(world_size)]
    # As bytes: not every backend knows bfloat16.
    torch.distributed.all_gather([part.view(torch.uint8) for part in gathered], mine.view(torch.uint8))
    return torch.cat(gathered)[:B]

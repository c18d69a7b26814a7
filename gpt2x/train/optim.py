"""AdamW behind one small interface, computed by torch or by `gpt2x.ops`, with a state that is safetensors.

Both keep the same state (two moments for each parameter and the number of steps), so a run may change from one to
the other when it is resumed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gpt2x.errors import InputDataError
from gpt2x.model import GPT
from gpt2x.model.bf16_weights import Bf16Weights
from gpt2x.train.step_options import StepOptions
from gpt2x.train.sums import Float32Sums, Sums

Accept = Callable[[Tensor], Tensor]
"""The gradient's global norm, 0-dim -> whether to take the step, 0-dim bool on the same device."""


class Optimizer(ABC):
    """AdamW with a clip of the global gradient norm in the step.

    Args:
        model: whose parameters are trained.
        options: how a step is computed.
        but: parameters that are somebody else's.

    """

    def __init__(
        self, model: GPT, options: StepOptions, *, but: frozenset[nn.Parameter] = frozenset()
    ) -> None:
        self.options = options
        groups: list[dict[str, Any]] = (
            model.optimizer_groups(options.weight_decay)
            if options.decay_groups
            else [{"params": list(model.parameters()), "weight_decay": options.weight_decay}]
        )
        self.groups = [{**group, "params": [p for p in group["params"] if p not in but]} for group in groups]
        names = {parameter: name for name, parameter in model.named_parameters()}
        self.names = [names[parameter] for group in self.groups for parameter in group["params"]]
        self.parameters: list[nn.Parameter] = [p for group in self.groups for p in group["params"]]
        self.keeps_gradients = options.cuda_graphs  # their addresses are part of the recorded graph
        self.num_steps = 0

    def leaves(self) -> list[Tensor]:
        """What the backward pass computes gradients of."""
        return list(self.parameters)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        if self.keeps_gradients:
            gradients = [leaf.grad for leaf in self.leaves() if leaf.grad is not None]
            if gradients:
                torch._foreach_zero_(gradients)
            return
        for leaf in self.leaves():
            leaf.grad = None

    def step(self, lr: float, accept: Accept | None = None) -> Tensor | None:
        """Change the parameters once, or not at all.

        A step that is refused is counted, for AdamW's bias correction, and changes nothing else: parameters, moments
        and bfloat16 copies stay as they are, bit for bit.

        Args:
            lr: the learning rate of this step.
            accept: decides by the norm whether to take the step. Its answer is read on a CPU, where that costs nothing,
                and handed on to the kernels on a GPU, so that nobody waits (but for torch's plain AdamW).

        Returns:
            The gradient's global norm before clipping, 0-dim (read it only when needed, that waits for a GPU); None
            where it is neither clipped, nor asked for, nor decided by.

        """
        self.num_steps += 1
        gradients = self.gradients()
        wanted = self.options.grad_clip is not None or self.options.grad_norm or accept is not None
        norm = self.norm(gradients) if wanted else None
        good = accept(norm) if accept is not None and norm is not None else None
        if good is None or not self._reads(good):
            self._update(gradients, norm, lr, good)
        elif good:
            self._update(gradients, norm, lr, None)
        else:
            self._refuse()
        return norm

    def _reads(self, good: Tensor) -> bool:
        """Whether the answer is read here rather than in the kernels."""
        return good.device.type == "cpu"

    @abstractmethod
    def gradients(self) -> list[Tensor]:
        """The gradients of this step: the mean over micro-batches and ranks."""

    @abstractmethod
    def norm(self, gradients: list[Tensor]) -> Tensor:
        """The global norm of what `gradients` gave, 0-dim."""

    @abstractmethod
    def _update(self, gradients: list[Tensor], norm: Tensor | None, lr: float, good: Tensor | None) -> None:
        """Clip, where the options say so, and step; where `good`, 0-dim bool, is False, change nothing."""

    def _refuse(self) -> None:  # noqa: B027  (only torch keeps a count of its own)
        """Take note that a step was counted and not taken."""

    @abstractmethod
    def moments(self) -> list[tuple[Tensor, Tensor]]:
        """For each parameter AdamW's moments of the gradient and of its square (made of zeros at first)."""

    def state_dict(self) -> dict[str, Tensor]:
        """The moments by name: ``exp_avg/h.0.attn.c_attn.weight`` and so on."""
        state = {}
        for name, (exp_avg, exp_avg_sq) in zip(self.names, self.moments(), strict=True):
            state[f"exp_avg/{name}"] = exp_avg
            state[f"exp_avg_sq/{name}"] = exp_avg_sq
        return state

    def load_state_dict(self, state: dict[str, Tensor], num_steps: int) -> None:
        """Go on from a saved state.

        Raises:
            InputDataError: it is of another model.

        """
        own = self.state_dict()
        if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in state.items()}:
            raise InputDataError("the saved optimizer state is of a model with another shape")
        for name, tensor in own.items():
            tensor.copy_(state[name])
        self.num_steps = num_steps
        self._loaded()

    def _loaded(self) -> None:  # noqa: B027  (only torch keeps a count of its own)
        """Take note of a new `num_steps`."""


class TorchAdamW(Optimizer):
    """torch.optim.AdamW: plain, or fused, which is one kernel for all tensors on a GPU and vectorised on a CPU."""

    def __init__(
        self, model: GPT, options: StepOptions, *, but: frozenset[nn.Parameter] = frozenset()
    ) -> None:
        super().__init__(model, options, but=but)
        fused = {"fused": True} if options.optimizer == "fused" else {}
        self.inner = torch.optim.AdamW(self.groups, betas=options.betas, eps=options.eps, **fused)

    def _reads(self, good: Tensor) -> bool:
        """The plain one has nothing that a kernel could be told by."""
        return super()._reads(good) or self.options.optimizer != "fused"

    def gradients(self) -> list[Tensor]:
        """The gradients that the next step takes; what is done to them in place, it sees."""
        return [p.grad for p in self.parameters if p.grad is not None]

    def norm(self, gradients: list[Tensor]) -> Tensor:
        """By torch."""
        return nn.utils.get_total_norm(gradients)

    def _update(self, gradients: list[Tensor], norm: Tensor | None, lr: float, good: Tensor | None) -> None:
        if self.options.grad_clip is not None and norm is not None:
            nn.utils.clip_grads_with_norm_(self.parameters, self.options.grad_clip, norm)
        for group in self.inner.param_groups:
            group["lr"] = lr
        # The fused kernel's own switch, which torch.amp.GradScaler uses; it also takes back the count of the step.
        refused = None if good is None else (~good).float()
        self.inner.found_inf = refused  # type: ignore[attr-defined]
        self.inner.step()
        if refused is not None:
            counts = [self.inner.state[p]["step"] for p in self.parameters if p.grad is not None]
            torch._foreach_add_(counts, refused)

    def _refuse(self) -> None:
        self.moments()
        self._loaded()

    def moments(self) -> list[tuple[Tensor, Tensor]]:
        """AdamW's moments; torch makes them at the first step, we make them when they are asked for."""
        for parameter in self.parameters:
            state = self.inner.state[parameter]
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
        return [(self.inner.state[p]["exp_avg"], self.inner.state[p]["exp_avg_sq"]) for p in self.parameters]

    def _loaded(self) -> None:
        for parameter in self.parameters:
            self.inner.state[parameter]["step"].fill_(self.num_steps)


class OpsAdamW(Optimizer):
    """gpt2x.ops.adamw_: all tensors at once, and the clip costs no pass of its own over the gradients."""

    def __init__(
        self,
        model: GPT,
        options: StepOptions,
        bf16: Bf16Weights | None = None,
        *,
        but: frozenset[nn.Parameter] = frozenset(),
    ) -> None:
        super().__init__(model, options, but=but)
        self.bf16_params = [bf16.copy_of(p) if bf16 else None for p in self.parameters]
        self.decays = [float(group["weight_decay"]) for group in self.groups for _ in group["params"]]
        self.exp_avgs, self.exp_avg_sqs = self._zeros(), self._zeros()
        self.sums = self._sums(has_copies=bf16 is not None)

    def _zeros(self) -> list[Tensor]:
        return [torch.zeros_like(parameter) for parameter in self.parameters]

    def _sums(self, *, has_copies: bool) -> Sums | None:
        """Where gradients are added up; None where a backward pass leaves them as the update takes them."""
        several = self.options.num_passes * self.options.world_size > 1
        return Float32Sums(self.leaves(), self.options.world_size) if has_copies and several else None

    def leaves(self) -> list[Tensor]:
        """The bfloat16 copies, and parameters that have none."""
        return [p if s is None else s for p, s in zip(self.parameters, self.bf16_params, strict=True)]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        super().zero_grad()
        if self.sums is not None:
            self.sums.forget()

    def own(self, tensors: Sequence[Tensor | None]) -> list[Any]:
        """What this rank updates of tensors that belong to the parameters: all of them."""
        return list(tensors)

    def norm(self, gradients: list[Tensor]) -> Tensor:
        """By `gpt2x.ops`, which adds up bfloat16 gradients in float32."""
        from gpt2x import ops

        return ops.global_norm(gradients)

    def _update(self, gradients: list[Tensor], norm: Tensor | None, lr: float, good: Tensor | None) -> None:
        from gpt2x import ops

        clip = self.options.grad_clip
        if norm is not None and good is not None:
            norm = torch.where(good, norm, -1.0)  # which adamw_ refuses
        ops.adamw_(
            self.own([parameter.data for parameter in self.parameters]),
            self.own(gradients),
            self.own(self.exp_avgs),
            self.own(self.exp_avg_sqs),
            step=self.num_steps,
            lr=lr,
            betas=self.options.betas,
            eps=self.options.eps,
            weight_decay=self.decays,
            grad_norm=None if clip is None and good is None else norm,
            max_norm=clip,
            bf16_params=self.own(self.bf16_params)
            if any(bf16_param is not None for bf16_param in self.bf16_params)
            else None,
        )

    def gradients(self) -> list[Tensor]:
        """Of each parameter, the mean over micro-batches and ranks."""
        if self.sums is None:
            return [leaf.grad if leaf.grad is not None else torch.zeros_like(leaf) for leaf in self.leaves()]
        return self.sums.means()

    def moments(self) -> list[tuple[Tensor, Tensor]]:
        """AdamW's moments."""
        return list(zip(self.exp_avgs, self.exp_avg_sqs, strict=True))

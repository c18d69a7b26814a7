"""How one training step is computed: every switch of `gpt2x.train.step.TrainingStep`. Loads no torch.

The rungs of `gpt2x bench` above the model's own shape are settings of this, and so is what the trainer runs.
"""

from __future__ import annotations

from dataclasses import dataclass

OPTIMIZERS = ("adamw", "fused", "gpt2x")
"""torch.optim.AdamW, the same with one kernel for all tensors, and `gpt2x.ops.adamw_`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepOptions:
    """All that decides how forward, backward and update are computed, the model and its data apart."""

    autocast: str | None = None
    """The dtype of matrix products, "bfloat16", or None for float32."""
    bf16_weights: bool = False
    """Compute with a bfloat16 copy of the float32 weights, which the optimizer writes, instead of autocast."""
    matmul_precision: str = "highest"
    """torch's word for float32 products: highest, high (TF32 on a GPU) or medium."""
    compile: bool = False
    """Compile the model and its loss with torch.compile."""
    cuda_graphs: bool = False
    """Record forward and backward of a micro-batch once and replay them."""
    optimizer: str = "fused"
    """Who computes AdamW: one of `OPTIMIZERS`."""
    muon: bool = False
    """Move the hidden matrices by Muon, and only what is left by AdamW."""
    muon_lr_ratio: float = 1.0
    """Muon's learning rate over AdamW's."""
    muon_momentum: float = 0.95
    muon_weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1
    decay_groups: bool = True
    """Only tensors of two and more dimensions decay."""
    reset_at: int | None = None
    """The id that begins a document, where documents in one row are not to see each other; None: they do."""
    grad_clip: float | None = 1.0
    """The highest global norm of the gradient; None: it is not clipped."""
    grad_norm: bool = True
    """Compute the gradient's norm even where nothing is clipped."""
    num_passes: int = 1
    """Forward and backward passes of this rank for one update."""
    world_size: int = 1
    """How many ranks average their gradients."""
    shared_memory: bool = False
    """The ranks are on one machine and hold weights and optimizer state together; each moves a share of them."""

    def conflict(self, device_type: str, *, fused_layers: bool) -> str | None:
        """Why such a step cannot be built, whatever the machine; None when it can.

        Args:
            device_type: where it would run, "cpu" or "cuda".
            fused_layers: whether the model's LayerNorm and GELU are `gpt2x.ops`'.

        """
        impossible = {
            "bf16 weights need the fused layers, whose LayerNorm takes float32 weights": self.bf16_weights
            and not fused_layers,
            "bf16 weights need our AdamW, which writes them": self.bf16_weights and self.optimizer != "gpt2x",
            "bf16 weights take the place of autocast; a step has one of the two": self.bf16_weights
            and self.autocast is not None,
            "weights in shared memory need our AdamW, which moves a share of them": self.shared_memory
            and self.optimizer != "gpt2x",
            "weights in shared memory need ranks on CPUs": self.shared_memory and device_type != "cpu",
            "CUDA graphs need a GPU": self.cuda_graphs and device_type != "cuda",
            "DDP averages gradients while backward runs, which a recorded graph does not repeat": self.cuda_graphs
            and self.world_size > 1,
            "gradients of bf16 weights are added up over micro-batches while backward runs, which a recorded graph "
            "does not repeat": self.cuda_graphs and self.bf16_weights and self.num_passes > 1,
        }
        return next((reason for reason, holds in impossible.items() if holds), None)

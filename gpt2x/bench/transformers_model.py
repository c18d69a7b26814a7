"""Hugging Face's GPT-2 with the surface that `TrainingStep` wants of a model: a peer, not a part of ours."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt2x.errors import MissingComponentError
from gpt2x.model import GPT
from gpt2x.model.pretrained import tensors_to_hf


class TransformersModel(nn.Module):
    """transformers.GPT2LMHeadModel with the weights of one of ours, and the loss as nanoGPT computes it.

    Raises:
        MissingComponentError: transformers is not installed.

    """

    def __init__(self, model: GPT) -> None:
        super().__init__()
        try:
            from transformers import GPT2Config, GPT2LMHeadModel
        except ImportError as error:
            raise MissingComponentError(
                "the peer hf needs transformers; install it with pip install transformers"
            ) from error
        self.config = config = model.config  # that of the model whose weights it takes
        self.inner = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=config.num_rows,
                n_positions=config.block_size,
                n_embd=config.n_embd,
                n_layer=config.n_layer,
                n_head=config.n_head,
                n_inner=config.n_inner,
                layer_norm_epsilon=config.layer_norm_epsilon,
                resid_pdrop=config.dropout,
                embd_pdrop=config.dropout,
                attn_pdrop=config.attention_pdrop,
                use_cache=False,
            )
        )
        self._take_weights(model)

    @torch.no_grad()
    def _take_weights(self, model: GPT) -> None:
        given = tensors_to_hf(model.state_dict(), model.config)
        for name, parameter in self.inner.named_parameters():
            source = given[name]
            parameter[: len(source)].copy_(source)
            parameter[len(source) :].zero_()  # padding of the vocabulary, which counts here as classes do

    def forward(self, idx: Tensor, targets: Tensor) -> tuple[None, Tensor]:
        """(B, T) ids and targets -> None, and the mean cross-entropy."""
        logits = self.inner(input_ids=idx).logits  # (B, T, Vp)
        return None, F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())

    def num_parameters(self) -> int:
        """How many numbers are learned, shared ones counted once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def optimizer_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """As `GPT.optimizer_groups`."""
        parameters = list(self.parameters())
        return [
            {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
            {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
        ]

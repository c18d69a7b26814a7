"""A small model learns the same with the operators as without: 300 steps on text, curves held against each other."""

from __future__ import annotations

import torch
from ops_support import require_native, threads
from torch import Tensor, nn

from gpt2x import ops
from gpt2x.data import lyrics
from gpt2x.ops import backend

STEPS, B, T, C, H, V = 300, 8, 32, 48, 3, 128
WINDOW = 50  # steps that a point of the smoothed curve is the mean of


class Block(nn.Module):
    """One layer of a GPT, written with the operators."""

    def __init__(self) -> None:
        super().__init__()
        self.gain, self.shift = nn.Parameter(torch.ones(2, C)), nn.Parameter(torch.zeros(2, C))
        self.qkv, self.out = nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.widen, self.narrow = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)

    def forward(self, x: Tensor, branch: Tensor | None) -> tuple[Tensor, Tensor]:
        """The stream and the branch not yet added to it -> the same two, one block later."""
        y, x = ops.add_layer_norm(x, branch, self.gain[0], self.shift[0])
        q, k, v = (
            ops.linear(y, self.qkv.weight, self.qkv.bias).view(B, T, 3, H, C // H).permute(2, 0, 3, 1, 4)
        )
        y = (
            nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            .transpose(1, 2)
            .reshape(B, T, C)
        )
        y, x = ops.add_layer_norm(x, self.out(y), self.gain[1], self.shift[1])
        return x, self.narrow(ops.bias_gelu(ops.linear(y, self.widen.weight), self.widen.bias))


class Model(nn.Module):
    """Two layers over bytes, the output layer tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(V, C), nn.Embedding(T, C)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.gain, self.shift = nn.Parameter(torch.ones(C)), nn.Parameter(torch.zeros(C))
        for table in (self.tokens, self.positions):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, idx: Tensor, targets: Tensor) -> Tensor:
        """(B, T) and (B, T) -> the mean loss."""
        x, branch = self.tokens(idx) + self.positions.weight, None
        for block in self.blocks:
            x, branch = block(x, branch)
        y, _ = ops.add_layer_norm(x, branch, self.gain, self.shift)
        return ops.linear_cross_entropy(y, self.tokens.weight, targets)


def _curve(text: Tensor, mode: str, *, init_seed: int = 0, data_seed: int = 1) -> Tensor:
    """The loss of every step, smoothed; `mode` says who computes."""
    torch.manual_seed(init_seed)
    model = Model()
    params = [parameter.data for parameter in model.parameters()]
    moments = [[torch.zeros_like(p) for p in params] for _ in range(2)]
    generator, losses = torch.Generator().manual_seed(data_seed), []
    with backend.using(mode):
        for step in range(1, STEPS + 1):
            starts = torch.randint(len(text) - T - 1, (B, 1), generator=generator)
            window = text[starts + torch.arange(T + 1)]
            loss = model(window[:, :-1], window[:, 1:])
            model.zero_grad()
            loss.backward()
            grads = [parameter.grad for parameter in model.parameters()]
            norm = ops.global_norm(grads)
            ops.adamw_(
                params, grads, *moments, step=step, lr=3e-3, weight_decay=0.1, grad_norm=norm, max_norm=1.0
            )
            losses.append(loss.item())
    return torch.tensor(losses).unfold(0, WINDOW, WINDOW).mean(1)


def test_the_fused_operators_learn_what_plain_torch_learns() -> None:
    require_native("cpu")
    text = lyrics.packaged_songs().read_bytes()[:50_000]
    tokens = torch.tensor(list(text)).clamp(max=V - 1)
    with threads(1):
        fused, plain = _curve(tokens, "native"), _curve(tokens, "reference")
        other = _curve(
            tokens, "reference", init_seed=2
        )  # the same batches from other weights: the noise of a run
    assert plain[-1] < plain[0] - 0.5, f"the plain model did not learn: {plain.tolist()}"
    apart, noise = (fused - plain).abs().max().item(), (other - plain).abs().max().item()
    assert apart < noise, f"fused and plain are {apart:.4f} nats apart, two seeds {noise:.4f}"

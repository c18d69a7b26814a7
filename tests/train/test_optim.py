"""AdamW, computed by torch and by gpt2x.ops."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from gpt2x.errors import InputDataError
from gpt2x.model import GPT, GPTConfig
from gpt2x.model.bf16_weights import Bf16Weights
from gpt2x.model.config import fused
from gpt2x.train import sums
from gpt2x.train.make_adamw import make_adamw
from gpt2x.train.optim import Optimizer
from gpt2x.train.step_options import StepOptions

SHAPE = GPTConfig(vocab_size=50, padded_vocab_size=64, block_size=8, n_layer=2, n_head=2, n_embd=16)


# The gradient of a key's bias is zero but for rounding, and AdamW makes full steps of any gradient that is large beside
# epsilon: with the usual 1e-8 the two would take steps in random directions there.
EPSILON = 1e-5


def model() -> GPT:
    torch.manual_seed(0)
    return GPT(SHAPE)


def learn(network: GPT, optimizer: Optimizer, steps: int, first: int = 0) -> list[float]:
    norms = []
    for step in range(first, first + steps):
        idx = torch.randint(50, (2, 9), generator=torch.Generator().manual_seed(step))
        network(idx[:, :-1], idx[:, 1:])[1].backward()
        norm = optimizer.step(1e-2)
        assert norm is not None
        norms.append(float(norm))
        optimizer.zero_grad()
    return norms


@pytest.mark.parametrize("grad_clip", [None, 0.5])
def test_torch_and_our_operator_take_the_same_steps(grad_clip: float | None) -> None:
    results = []
    for name in ("adamw", "fused", "gpt2x"):
        network = model()
        optimizer = make_adamw(network, StepOptions(optimizer=name, grad_clip=grad_clip, eps=EPSILON))
        norms = learn(network, optimizer, 5)
        results.append((network, norms))
    one, norms = results[0]
    for other, other_norms in results[1:]:
        assert norms == pytest.approx(other_norms, rel=1e-4)
        for (name, p), q in zip(one.named_parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(
                p, q, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
            )


@pytest.mark.parametrize("before", ["adamw", "fused", "gpt2x"])
@pytest.mark.parametrize("after", ["adamw", "fused", "gpt2x"])
def test_a_saved_state_goes_on_exactly_also_in_the_other_optimizer(before: str, after: str) -> None:
    straight = model()
    whole = make_adamw(straight, StepOptions(optimizer=before, eps=EPSILON))
    learn(straight, whole, 6)

    network = model()
    first = make_adamw(network, StepOptions(optimizer=before, eps=EPSILON))
    learn(network, first, 3)
    second = make_adamw(network, StepOptions(optimizer=after, eps=EPSILON))
    second.load_state_dict({name: tensor.clone() for name, tensor in first.state_dict().items()}, 3)
    learn(network, second, 3, first=3)
    exact = before == after
    for p, q in zip(straight.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0 if exact else 1e-4, atol=0 if exact else 1e-5)


def test_only_tensors_of_two_dimensions_and_more_decay() -> None:
    network = model()
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer = make_adamw(network, StepOptions(weight_decay=0.1))
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step(1e-2)
    for name, parameter in network.named_parameters():
        factor = 1 - 1e-2 * 0.1 if parameter.dim() >= 2 else 1.0
        torch.testing.assert_close(
            parameter.detach(), before[name] * factor, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_the_state_of_another_model_is_refused() -> None:
    optimizer = make_adamw(model(), StepOptions())
    state = optimizer.state_dict()
    state.popitem()
    with pytest.raises(InputDataError, match="another shape"):
        optimizer.load_state_dict(state, 1)


def test_a_step_with_bf16_params_moves_the_weights_and_their_bf16_params_together() -> None:
    network = GPT(dataclasses.replace(model().config, **fused()))
    bf16 = Bf16Weights(network)
    optimizer = make_adamw(network, StepOptions(optimizer="gpt2x", bf16_weights=True), bf16)
    before = network.wte.weight.detach().clone()
    idx = torch.randint(0, network.config.vocab_size, (2, 5))
    bf16(idx, idx)[1].backward()
    assert float(optimizer.step(1e-2)) > 0
    optimizer.zero_grad()
    assert not torch.equal(network.wte.weight, before)
    for parameter in network.parameters():
        copied = bf16.copy_of(parameter)
        assert copied is None or (torch.equal(copied, parameter.bfloat16()) and copied.grad is None)


@pytest.mark.parametrize("shape", [(1,), (7,), (5, 3), (23, 4), (2, 40)], ids=str)
def test_a_gradient_added_in_parts_is_the_gradient_added_whole(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sums, "PART_SIZE", 16)
    turned = torch.randn(shape[::-1]).bfloat16()  # as a product may lie in memory
    total, gradient = torch.randn(shape), turned.permute(*range(len(shape))[::-1])
    whole = total + gradient
    sums._add_in_parts(total, gradient)
    assert torch.equal(total, whole)

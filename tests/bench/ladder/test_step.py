"""The training step: what a configuration says is what is built, and all learn the same from the same tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from gpt2x import ops
from gpt2x.bench.ladder.config import Setting, StepConfig
from gpt2x.bench.ladder.rungs import RUNGS, Rung
from gpt2x.bench.ladder.step import TimedStep, build_model, micro_batch
from gpt2x.bench.stats import tokens_per_second
from gpt2x.errors import UsageError
from gpt2x.train.optim import OpsAdamW, TorchAdamW

TOKENS = np.random.default_rng(0).integers(0, 61, 1000).astype(np.uint32)


@pytest.fixture(autouse=True)
def _leave_torch_as_it_was() -> Iterator[None]:
    precision, threads = torch.get_float32_matmul_precision(), torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_float32_matmul_precision(precision)
    torch.set_num_threads(threads)


@pytest.fixture
def step(tiny_setting: Setting) -> Callable[..., TimedStep]:
    """A training step of a tiny model, with some fields of its configuration changed."""

    def make(setting: Setting = tiny_setting, **changes: Any) -> TimedStep:
        return TimedStep(StepConfig(**changes), setting, TOKENS)

    return make


class FakeClock:
    """Goes on by a quarter of a second with every look at it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.25
        return self.now


def rung(key: str) -> Rung:
    return next(rung for rung in RUNGS if rung.key == key)


# ----------------------------------------------------------------------------------------------------------------
# Time


def test_a_fake_clock_gives_exactly_the_computed_rate(tiny_setting: Setting) -> None:
    """Between start and end the clock is read at the first mark, after forward, backward and the optimizer: 5 gaps."""
    times = TimedStep(StepConfig(), tiny_setting, TOKENS, clock=FakeClock())()
    assert times.step_ms == 5 * 250.0
    assert (times.forward_ms, times.backward_ms, times.optimizer_ms) == (250.0, 250.0, 250.0)
    assert tokens_per_second(tiny_setting.tokens_per_step(StepConfig()), times.step_ms) == 2 * 8 / 1.25


def test_the_batch_is_part_of_a_step_and_what_the_harness_does_after_it_is_not(tiny_setting: Setting) -> None:
    now = [0.0]
    stepper = TimedStep(StepConfig(), tiny_setting, TOKENS, clock=lambda: now[0])

    def taking(seconds: float, call: Callable[..., Any]) -> Callable[..., Any]:
        def slow(*args: Any) -> Any:
            now[0] += seconds
            return call(*args)

        return slow

    stepper._batch = taking(1.0, stepper._batch)  # type: ignore[method-assign]
    stepper._mean_over_ranks = taking(50.0, stepper._mean_over_ranks)  # type: ignore[method-assign]
    times = stepper()
    assert (times.step_ms, times.forward_ms, times.backward_ms) == (1000.0, 1000.0, 0.0)
    assert now[0] == 51.0


def test_the_phases_of_all_micro_batches_are_summed(tiny_setting: Setting) -> None:
    config = StepConfig(micro_batches=4)
    times = TimedStep(config, tiny_setting, TOKENS, clock=FakeClock())()
    assert (times.forward_ms, times.backward_ms, times.optimizer_ms) == (1000.0, 1000.0, 250.0)
    assert tiny_setting.tokens_per_step(config) == 4 * 2 * 8


# ----------------------------------------------------------------------------------------------------------------
# Data


def test_micro_batches_follow_one_another_and_targets_are_shifted_by_one() -> None:
    tokens = np.arange(100)
    inputs, targets = micro_batch(tokens, 2, 3, 4)
    assert inputs.tolist() == [[24, 25, 26, 27], [28, 29, 30, 31], [32, 33, 34, 35]]
    assert (targets == inputs + 1).all()


def test_after_the_last_micro_batch_comes_the_first() -> None:
    tokens = np.arange(50)
    assert (micro_batch(tokens, 4, 3, 4)[0] == micro_batch(tokens, 0, 3, 4)[0]).all()


def test_a_text_shorter_than_a_batch_is_repeated() -> None:
    inputs, targets = micro_batch(np.arange(5), 0, 2, 4)
    assert inputs.tolist() == [[0, 1, 2, 3], [4, 0, 1, 2]]
    assert targets.tolist() == [[1, 2, 3, 4], [0, 1, 2, 3]]


def test_ranks_together_see_what_one_process_would_have_seen(
    tiny_setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(
        "gpt2x.bench.ladder.step.micro_batch",
        lambda tokens, index, batch, seq: (seen.append(index), micro_batch(tokens, index, batch, seq))[1],
    )
    alone = TimedStep(StepConfig(micro_batches=4), tiny_setting, TOKENS)
    alone(), alone()
    one_process, seen[:] = list(seen), []
    for rank in range(2):
        stepper = TimedStep(StepConfig(micro_batches=2), tiny_setting, TOKENS, rank=rank)
        stepper.config = dataclasses.replace(stepper.config, world_size=2)
        for micro in range(4):
            stepper._batch(micro)
    assert sorted(seen) == one_process == list(range(8))


# ----------------------------------------------------------------------------------------------------------------
# Each rung is observable in what is built


def test_sharing_makes_embedding_and_head_one_matrix(step: Callable[..., TimedStep]) -> None:
    naive, shared = step().model, step(tie_weights=True).model
    assert naive.wte.weight is not naive.lm_head.weight
    assert shared.wte.weight is shared.lm_head.weight
    assert naive.num_parameters() - shared.num_parameters() == 61 * 16


def test_initialisation_scales_the_weights_and_starts_at_the_loss_of_a_guess(
    step: Callable[..., TimedStep],
) -> None:
    naive, gpt2 = step(tie_weights=True), step(tie_weights=True, init="gpt2")
    assert gpt2.model.wte.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert gpt2.model.h[0].mlp.c_proj.weight.std().item() == pytest.approx(0.02 / (2 * 2) ** 0.5, rel=0.15)
    assert naive.model.wte.weight.std() > 0.1
    assert gpt2().loss == pytest.approx(np.log(61), abs=0.15)


@pytest.mark.parametrize("precision", ["highest", "high"])
def test_tf32_is_asked_of_torch(precision: str, step: Callable[..., TimedStep]) -> None:
    step(matmul_precision=precision)
    assert torch.get_float32_matmul_precision() == precision


def test_autocast_multiplies_in_bfloat16_and_keeps_the_weights_in_float32(
    step: Callable[..., TimedStep],
) -> None:
    kinds = {}
    for autocast in (None, "bfloat16"):
        stepper = step(autocast=autocast)
        stepper.model.h[0].mlp.c_fc.register_forward_hook(
            lambda module, args, out, autocast=autocast: kinds.__setitem__(autocast, out.dtype)
        )
        stepper()
        assert {p.dtype for p in stepper.model.parameters()} == {torch.float32}
    assert kinds == {None: torch.float32, "bfloat16": torch.bfloat16}


def test_compile_wraps_the_loss(step: Callable[..., TimedStep]) -> None:
    assert type(step().training.loss).__name__ == "Loss"
    assert type(step(compile=True).training.loss).__name__ == "OptimizedModule"


def test_flash_attention_calls_torchs_kernel(
    step: Callable[..., TimedStep], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    attention = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda *args, **kwargs: (calls.append(kwargs), attention(*args, **kwargs))[1],
    )
    step()()
    assert not calls
    step(attention="flash")()
    assert len(calls) == 2
    assert all(call["is_causal"] for call in calls)


def test_a_padded_vocabulary_has_more_rows_and_the_same_loss(step: Callable[..., TimedStep]) -> None:
    bare, padded = step(tie_weights=True), step(tie_weights=True, padded_vocab_size=128)
    assert padded.model.wte.weight.shape == (128, 16)
    assert torch.equal(padded.model.wte.weight[:61], bare.model.wte.weight)
    assert [padded().loss for _ in range(3)] == pytest.approx([bare().loss for _ in range(3)], abs=1e-5)


def test_clipping_bounds_the_gradient(step: Callable[..., TimedStep]) -> None:
    naive, clipped = step(), step(grad_clip=0.01)
    naive(), clipped()
    assert naive.grad_norm is None
    assert clipped.grad_norm is not None
    assert clipped.grad_norm > 0.01
    norm = torch.nn.utils.get_total_norm([p.grad for p in clipped.model.parameters() if p.grad is not None])
    assert norm == pytest.approx(0.01, rel=1e-3)


def test_groups_decay_matrices_only_and_fused_adamw_is_fused(step: Callable[..., TimedStep]) -> None:
    naive, grouped = step().training.optimizer, step(decay_groups=True, optimizer="fused").training.optimizer
    assert isinstance(naive, TorchAdamW)
    assert isinstance(grouped, TorchAdamW)
    assert [group["weight_decay"] for group in naive.inner.param_groups] == [0.1]
    assert not naive.inner.param_groups[0]["fused"]
    decayed, spared = grouped.inner.param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert {p.dim() for p in decayed["params"]} == {2}
    assert {p.dim() for p in spared["params"]} == {1}
    assert decayed["fused"]
    assert spared["fused"]


@pytest.mark.parametrize(
    ("field", "operators"),
    [
        ("fused_gemm", {"linear"}),
        ("fused_loss", {"linear_cross_entropy", "embedding_backward_"}),
        ("fused_layers", {"add_layer_norm", "bias_gelu"}),
        ("fused_attention", {"causal_attention"}),
    ],
)
def test_fused_operators_are_called_and_give_the_same_loss(
    field: str, operators: set[str], step: Callable[..., TimedStep], monkeypatch: pytest.MonkeyPatch
) -> None:
    called: set[str] = set()

    def spy(name: str) -> Callable[..., Any]:
        operator = getattr(ops, name)
        return lambda *args, **options: (called.add(name), operator(*args, **options))[1]

    for name in set(ops.__all__) - {"keep_freed_memory", "quantize_rows"}:
        monkeypatch.setattr(ops, name, spy(name))
    plain, fused = step(tie_weights=True), step(tie_weights=True, **{field: True})
    losses = [plain().loss for _ in range(3)]
    assert not called
    assert [fused().loss for _ in range(3)] == pytest.approx(losses, abs=1e-4)
    assert called == operators


def test_with_the_fused_loss_there_are_no_logits(step: Callable[..., TimedStep]) -> None:
    assert step(fused_loss=True).model(torch.tensor([[1]]), torch.tensor([[2]]))[0] is None


BF16 = {
    "tie_weights": True,
    "padded_vocab_size": 128,
    "fused_layers": True,
    "optimizer": "gpt2x",
    "grad_clip": 1.0,
}


def test_bf16_weights_take_the_place_of_autocast_and_follow_the_float32_ones(
    step: Callable[..., TimedStep],
) -> None:
    cast, own = step(autocast="bfloat16", **BF16), step(bf16_weights=True, **BF16)
    kinds = []
    own.model.h[0].mlp.c_proj.register_forward_hook(lambda module, args, out: kinds.append(out.dtype))
    assert [own().loss for _ in range(4)] == pytest.approx([cast().loss for _ in range(4)], abs=0.02)
    assert set(kinds) == {torch.bfloat16}
    assert own.training.bf16 is not None
    for parameter in own.model.parameters():
        assert parameter.dtype == torch.float32
        copied = own.training.bf16.copy_of(parameter)
        assert copied is None or torch.equal(copied, parameter.bfloat16())


def test_gradients_of_bf16_weights_are_added_up_in_float32(step: Callable[..., TimedStep]) -> None:
    """Each micro-batch's gradient is bfloat16; their sum must be the exact one of those, not a rounded one."""
    single = step(bf16_weights=True, **BF16)
    names = dict(single.model.named_parameters())
    expected = {name: torch.zeros_like(parameter) for name, parameter in names.items()}
    for micro in range(4):
        single.training.optimizer.zero_grad()
        (single.training.forward(*single._batch(micro)) / 4).backward()
        for name, leaf in zip(names, single.training.optimizer.leaves(), strict=True):
            assert leaf.grad is not None
            expected[name] += leaf.grad
    summed = step(bf16_weights=True, micro_batches=4, **BF16)
    for _ in range(2):  # the second time the sums have to start anew
        summed.num_steps = 0
        summed.training.optimizer.zero_grad()
        for micro in range(4):
            (summed.training.forward(*summed._batch(micro)) / 4).backward()
    optimizer = summed.training.optimizer
    assert isinstance(optimizer, OpsAdamW)
    assert optimizer.sums is not None
    for name, total in zip(names, optimizer.sums.means(), strict=True):
        assert total.dtype == torch.float32, name
        torch.testing.assert_close(total, expected[name], rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_a_compiled_step_with_bf16_weights_and_accumulation_learns_the_same(
    step: Callable[..., TimedStep],
) -> None:
    torch._dynamo.reset()
    options = {"bf16_weights": True, "micro_batches": 2, "fused_loss": True, **BF16}
    eager, compiled = step(**options), step(compile=True, **options)
    assert [compiled().loss for _ in range(4)] == pytest.approx([eager().loss for _ in range(4)], abs=0.02)


def test_a_micro_batch_in_two_parts_makes_the_same_step(step: Callable[..., TimedStep]) -> None:
    whole, parts = step(micro_batches=2), step(micro_batches=2, split=2)
    assert [parts().loss for _ in range(3)] == pytest.approx([whole().loss for _ in range(3)], abs=1e-5)
    for a, b in zip(parts.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bf16_weights": True, "optimizer": "gpt2x"}, "need the fused layers"),
        ({"bf16_weights": True, "fused_layers": True, "optimizer": "fused"}, "need our AdamW"),
        ({"bf16_weights": True, "autocast": "bfloat16", **BF16}, "take the place of autocast"),
        ({"shared_memory": True, "world_size": 2}, "shared memory need our AdamW"),
        ({"cuda_graphs": True}, "CUDA graphs need a GPU"),
        (
            {"cuda_graphs": True, "device": "cuda", "world_size": 2},
            "DDP averages gradients while backward runs",
        ),
    ],
)
def test_a_step_that_cannot_be_says_why(
    changes: dict[str, Any], reason: str, step: Callable[..., TimedStep]
) -> None:
    with pytest.raises(UsageError, match=reason):
        step(**changes)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
@pytest.mark.parametrize("micro_batches", [1, 4])
def test_a_recorded_step_learns_what_an_eager_one_learns(
    micro_batches: int, step: Callable[..., TimedStep]
) -> None:
    options = {"device": "cuda", "micro_batches": micro_batches, "optimizer": "fused", "grad_clip": 1.0}
    eager, recorded = step(**options), step(cuda_graphs=True, **options)
    assert [recorded().loss for _ in range(5)] == pytest.approx([eager().loss for _ in range(5)], abs=1e-4)
    assert recorded.training.recorded is not None


def test_gradients_that_a_graph_writes_stay_where_they_are(step: Callable[..., TimedStep]) -> None:
    stepper = step()
    stepper()
    stepper.training.optimizer.keeps_gradients = True
    addresses = [
        leaf.grad.data_ptr() for leaf in stepper.training.optimizer.leaves() if leaf.grad is not None
    ]
    stepper.training.optimizer.zero_grad()
    kept = [leaf.grad for leaf in stepper.training.optimizer.leaves() if leaf.grad is not None]
    assert [gradient.data_ptr() for gradient in kept] == addresses
    assert not any(gradient.any() for gradient in kept)


def test_our_adamw_takes_the_same_steps_as_torchs(step: Callable[..., TimedStep]) -> None:
    torchs = step(optimizer="fused", grad_clip=1.0, decay_groups=True)
    ours = step(optimizer="gpt2x", grad_clip=1.0, decay_groups=True)
    assert isinstance(ours.training.optimizer, OpsAdamW)
    assert [ours().loss for _ in range(4)] == pytest.approx([torchs().loss for _ in range(4)], abs=1e-4)
    assert ours.grad_norm == pytest.approx(float(torchs.grad_norm or 0), rel=1e-4)


def test_accumulation_gives_the_gradient_of_the_whole_batch(tiny_setting: Setting) -> None:
    accumulated = TimedStep(StepConfig(micro_batches=4), tiny_setting, TOKENS)
    whole = TimedStep(StepConfig(), dataclasses.replace(tiny_setting, batch=8), TOKENS)
    assert accumulated().loss == pytest.approx(whole().loss, abs=1e-5)
    for a, b in zip(accumulated.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-6, rtol=1e-4)


def test_every_step_uses_the_learning_rate_of_the_playground(step: Callable[..., TimedStep]) -> None:
    stepper = step()
    rates = []
    for _ in range(60):
        rates.append(stepper._learning_rate())
        stepper.num_steps += 1
    assert max(rates) == 6e-4
    assert rates[9] == 6e-4
    assert rates[0] == pytest.approx(6e-5)
    assert rates[-1] == 6e-5


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tiny_setting: Setting) -> None:
    config = StepConfig().model_config(tiny_setting)
    first, again, other = (build_model(config, seed).wte.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)

"""The training step is the ladder's: what `gpt2x bench` measures is what a run computes."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gpt2x.bench.ladder import rungs as ladder
from gpt2x.bench.ladder.config import BETAS, EPS, LR, WEIGHT_DECAY, Setting, StepConfig
from gpt2x.bench.ladder.step import TimedStep
from gpt2x.errors import UsageError
from gpt2x.model import GPT, GPTConfig
from gpt2x.model.config import fused
from gpt2x.ops import backend
from gpt2x.train import estimate as plan
from gpt2x.train.config import TrainConfig
from gpt2x.train.distributed import Ranks
from gpt2x.train.optim import Optimizer
from gpt2x.train.plan import step_options
from gpt2x.train.recipe import LYRICS
from gpt2x.train.setup import Setup, prepare
from gpt2x.train.step import TrainingStep
from gpt2x.train.step_options import StepOptions

Tiny = Callable[..., TrainConfig]
CPU = torch.device("cpu")
ONE = Ranks(rank=0, world_size=1, local_rank=0, local_world_size=1, device=CPU)
PADDED = 320
"""Rows of the embedding for a vocabulary of 290: the next multiple of 64."""

needs_ops = pytest.mark.skipif(
    not backend.serves("cpu", torch.float32), reason="gpt2x.ops is not compiled here"
)

# A rung of the ladder, and the settings of the trainer that mean the same. The rungs before flash attention are about
# the model or change what is computed; the trainer has them all.
SAME: dict[str, dict[str, Any]] = {
    "flash": {"optimizer": "adamw"},
    "adamw": {"optimizer": "torch"},
    "accumulation": {"optimizer": "torch", "batch_size": 1},
    "bf16": {"optimizer": "torch", "batch_size": 1, "dtype": "bfloat16"},
    "compile": {"optimizer": "torch", "batch_size": 1, "compile": True},
    "memory": {"optimizer": "torch", "batch_size": 1, "keep_memory": True},
    "gemm": {"optimizer": "torch", "batch_size": 1, "fused_gemm": True},
    "fused-loss": {"optimizer": "torch", "batch_size": 1, "fused_loss": True},
    "fused-layers": {"optimizer": "torch", "batch_size": 1, "fused_loss": True, "fused_layers": True},
    "fused-attention": {"optimizer": "torch", "batch_size": 1, "fused_attention": True},
    "fused-adamw": {"optimizer": "gpt2x", "batch_size": 1, "fused_loss": True, "fused_layers": True},
    "bf16-weights": {"optimizer": "gpt2x", "batch_size": 1, "fused_ops": True, "dtype": "bfloat16"},
}
MODEL = {"tie_weights": True, "init": "gpt2", "attention": "flash", "grad_clip": 1.0, "decay_groups": True}


def rung_step(key: str) -> StepConfig:
    """The step of a rung as the ladder builds it, on top of what it needs."""
    below: dict[str, Any] = dict(MODEL, padded_vocab_size=PADDED)
    if key not in ("flash", "adamw"):
        below |= {"optimizer": "fused", "micro_batches": 4}
    if key in ("fused-layers", "fused-adamw", "bf16-weights"):
        below |= fused() if key == "bf16-weights" else {"fused_loss": True, "fused_layers": True}
    if key == "bf16-weights":
        below |= {"optimizer": "gpt2x", "autocast": "bfloat16"}
    rung = next(rung for rung in ladder.RUNGS if rung.key == key)
    setting = Setting(micro_batches=4)
    return rung.apply(StepConfig(**below), setting)


def same_settings(tiny: Tiny, key: str) -> TrainConfig:
    adamw = {"beta1": BETAS[0], "beta2": BETAS[1], "eps": EPS, "weight_decay": WEIGHT_DECAY}
    return tiny(**{"lr": LR, "min_lr": LR, "warmup": 0, **adamw, **SAME[key]})


def bench_step(run: Setup, config: StepConfig, batches: list[tuple[Tensor, Tensor]]) -> TimedStep:
    """The ladder's step with a run's first weights and its batches."""
    shape = dataclasses.replace(run.model.config, padded_vocab_size=None)
    B, T = batches[0][0].shape
    setting = Setting(model="tiny", shape=shape, batch=B, seq=T)
    step = TimedStep(config, setting, run.batches.tokens, rank=run.ranks.rank)
    step.training.model.load_state_dict(run.model.state_dict())
    if step.training.bf16 is not None:
        for name, copy in step.training.bf16.copies.items():
            with torch.no_grad():
                copy.copy_(dict(step.model.named_parameters())[name])
    step._batch = lambda index: batches[index]  # type: ignore[method-assign]
    step._learning_rate = lambda: LR  # type: ignore[method-assign]
    return step


def both(config: TrainConfig, step: StepConfig, ranks: Ranks) -> tuple[list[float], list[float]]:
    """The losses of three steps, as the trainer and as the ladder compute them."""
    run = prepare(config, LYRICS, ranks)
    batches = [next(run.device_batches()) for _ in range(3 * run.training.options.num_passes)]
    bench = bench_step(run, step, batches)
    assert bench.training.options == dataclasses.replace(run.training.options, grad_norm=False)
    ours = iter(batches)
    trained = [float(run.training(ours, LR).loss) for _ in range(3)]
    trained = [run.ranks.mean([loss])[0] for loss in trained]
    return trained, [bench().loss for _ in range(3)]


def marks(key: str) -> list[Any]:
    return [
        *([pytest.mark.slow] if key == "compile" else []),
        *([needs_ops] if "fused" in str(SAME[key]) else []),
    ]


@pytest.mark.parametrize("key", [pytest.param(key, marks=marks(key)) for key in SAME])
def test_the_trainer_and_the_ladder_compute_the_same_loss_bit_for_bit(key: str, tiny: Tiny) -> None:
    config = same_settings(tiny, key)
    trained, measured = both(config, rung_step(key), ONE)
    assert trained == measured
    assert trained[2] < trained[0], "and they learn"


def test_every_rung_is_held_against_the_trainer_or_is_about_what_is_computed() -> None:
    """A new rung needs a setting of the trainer and a line in `SAME`, or a place among those that need none."""
    about_the_model = {"start", "sharing", "init", "vocab", "clip"}  # the trainer has them all
    about_a_gpu = {"gpu", "tf32", "cuda-graphs"}
    assert {rung.key for rung in ladder.RUNGS} == set(SAME) | about_the_model | about_a_gpu | {
        "ddp",
        "shared-memory",
    }


BF16_WEIGHTS = {"fused_ops": True, "optimizer": "gpt2x", "dtype": "bfloat16"}


def ddp_rank(rank: int, config: TrainConfig, step: StepConfig, folder: str) -> None:
    """One of two processes: trainer and ladder side by side, their losses in a file."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    losses = both(config, step, Ranks(rank, 2, rank, 2, CPU))
    Path(folder, f"{rank}.json").write_text(json.dumps(losses), encoding="utf-8")
    torch.distributed.barrier()
    os._exit(0)  # a process group's destructor would wait for the other rank


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="DDP"),
        pytest.param(BF16_WEIGHTS | {"shared_memory": False}, id="bf16 weights", marks=needs_ops),
        pytest.param(BF16_WEIGHTS, id="shared memory", marks=needs_ops),
    ],
)
def test_two_ranks_of_the_trainer_and_of_the_ladder_compute_the_same_loss_bit_for_bit(
    changes: dict[str, Any], tiny: Tiny, tmp_path: Path
) -> None:
    config = dataclasses.replace(same_settings(tiny, "accumulation"), **changes)
    values: dict[str, Any] = {**MODEL, "padded_vocab_size": PADDED, "world_size": 2, "micro_batches": 2}
    if changes:
        values |= {**fused(), "optimizer": "gpt2x", "bf16_weights": True}
        values |= {"shared_memory": "shared_memory" not in changes}
    else:
        values |= {"optimizer": "fused"}
    context = torch.multiprocessing.get_context("spawn")
    ranks = [
        context.Process(target=ddp_rank, args=(rank, config, StepConfig(**values), str(tmp_path)))
        for rank in range(2)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
        assert process.exitcode == 0
    of_ranks = [json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]
    assert of_ranks[0] == of_ranks[1]
    trained, measured = of_ranks[0]
    assert trained == measured
    assert trained[2] < trained[0]


# ----------------------------------------------------------------------------------------------------------------
# What the trainer does where the settings leave it open


def options(
    config: TrainConfig, dtype: torch.dtype = torch.bfloat16, device: str = "cpu", **how: Any
) -> StepOptions:
    return step_options(config, torch.device(device), dtype, **{"world_size": 1, "num_passes": 1, **how})


@needs_ops
@pytest.mark.parametrize("how", [{}, {"num_passes": 4}, {"world_size": 2}], ids=str)
def test_the_default_step_is_the_top_of_the_ladder(how: dict[str, int]) -> None:
    found = options(TrainConfig(), **how)
    assert (found.bf16_weights, found.optimizer, found.autocast) == (True, "gpt2x", None)
    assert TrainConfig().keep_memory


@needs_ops
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"bf16_weights": False}, {"bf16_weights": False, "autocast": "bfloat16", "optimizer": "gpt2x"}),
        ({"optimizer": "torch"}, {"bf16_weights": False, "autocast": "bfloat16", "optimizer": "fused"}),
        ({"fused_ops": False}, {"bf16_weights": False, "autocast": "bfloat16"}),
        ({"fused_layers": False}, {"bf16_weights": False}),
        ({"compile": True}, {"bf16_weights": True, "compile": True}),
        ({"grad_clip": 0.0}, {"grad_clip": None, "grad_norm": True}),
    ],
    ids=str,
)
def test_each_part_of_the_step_has_its_switch(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    found = options(TrainConfig(**changes))
    assert {name: getattr(found, name) for name in expected} == expected


def test_in_float32_there_are_no_bf16_weights() -> None:
    assert not options(TrainConfig(), torch.float32).bf16_weights
    with pytest.raises(UsageError, match="needs products in bfloat16; give --dtype bfloat16"):
        options(TrainConfig(bf16_weights=True), torch.float32)


@pytest.mark.parametrize(
    ("changes", "how", "graphs"),
    [
        ({}, {}, True),
        ({"dropout": 0.1}, {}, False),
        ({"compile": True}, {}, False),
        ({}, {"world_size": 2}, False),
        ({"cuda_graphs": False}, {}, False),
        ({}, {"num_passes": 2}, True),
        ({"bf16_weights": True}, {}, True),
        ({"bf16_weights": True}, {"num_passes": 2}, False),
    ],
    ids=str,
)
def test_cuda_graphs_are_taken_where_they_pay(
    changes: dict[str, Any], how: dict[str, int], graphs: bool
) -> None:
    assert options(TrainConfig(**changes), device="cuda", **how).cuda_graphs is graphs
    assert not options(TrainConfig(**changes), device="cpu", **how).cuda_graphs


def test_a_step_takes_only_the_batches_that_it_needs_and_marks_each_phase() -> None:
    torch.manual_seed(0)
    shape = GPTConfig(vocab_size=50, block_size=8, n_layer=1, n_head=2, n_embd=16)
    training = TrainingStep(GPT(shape), StepOptions(num_passes=3), CPU)
    idx = torch.randint(50, (2, 8))
    taken: list[str] = []

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            taken.append("batch")
            yield idx, idx

    endless = batches()
    result = training(endless, 1e-3, lambda: taken.append("mark"))
    assert taken == [*["batch", "mark", "mark"] * 3, "mark"]
    assert result.grad_norm is not None
    assert float(training(endless, 1e-3).loss) < float(result.loss)


def test_options_that_contradict_one_another_are_refused() -> None:
    model = GPT(GPTConfig(vocab_size=50, block_size=8, n_layer=1, n_head=2, n_embd=16))
    with pytest.raises(UsageError, match="bf16 weights need the fused layers"):
        TrainingStep(model, StepOptions(bf16_weights=True, optimizer="gpt2x"), CPU)
    with pytest.raises(UsageError, match="CUDA graphs need a GPU"):
        TrainingStep(model, StepOptions(cuda_graphs=True), CPU)


def test_no_graph_is_recorded_of_a_step_that_adds_up_gradients_while_backward_runs() -> None:
    recorded = StepOptions(bf16_weights=True, cuda_graphs=True, optimizer="gpt2x")
    assert recorded.conflict("cuda", fused_layers=True) is None
    several = dataclasses.replace(recorded, num_passes=2).conflict("cuda", fused_layers=True)
    assert several is not None
    assert "a recorded graph does not repeat" in several
    autocast = StepOptions(autocast="bfloat16", cuda_graphs=True, num_passes=2)
    assert autocast.conflict("cuda", fused_layers=True) is None, "the top of the ladder on a GPU"


def test_a_plan_counts_one_update_a_step(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that only backward passes and updates turn: 1 s each for the passes, 10 s for the update."""
    now, options = 0.0, set()

    def turns(original: Callable[..., Any], seconds: float) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal now
            now += seconds
            return original(*arguments, **named)

        return call

    def begin(training: TrainingStep, model: GPT, how: StepOptions, device: torch.device) -> None:
        options.add(how.num_passes)
        begins(training, model, how, device)

    begins = TrainingStep.__init__
    monkeypatch.setattr(TrainingStep, "__init__", begin)
    monkeypatch.setattr(TrainingStep, "_backward", turns(TrainingStep._backward, 1.0))
    monkeypatch.setattr(Optimizer, "step", turns(Optimizer.step, 10.0))
    monkeypatch.setattr(plan.time, "perf_counter", lambda: now)
    config = tiny(tokenizer="train", optimizer="torch")
    assert plan.estimate(config).step_s == 11
    assert options == {1}
    assert plan.estimate(dataclasses.replace(config, batch_size=1)).step_s == 4 * 1 + 10
    assert options == {1, 2}, "the float32 sums of gradients are there as in the run"
    assert plan.estimate(dataclasses.replace(config, batch_size=2), ranks=2).step_s == 1 + 10

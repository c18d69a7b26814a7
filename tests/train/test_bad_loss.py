"""Steps with a NaN, an infinite gradient or a spike: nothing changes, the run stops or goes on, and all is told."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gpt2x.errors import Gpt2xError, UsageError
from gpt2x.model import GPT, GPTConfig
from gpt2x.model.config import fused
from gpt2x.ops import backend
from gpt2x.train import bad_loss, loop
from gpt2x.train.bad_batches import document_start
from gpt2x.train.bad_loss import LossGuard
from gpt2x.train.checkpoint import RunFolder
from gpt2x.train.config import TrainConfig
from gpt2x.train.distributed import Ranks
from gpt2x.train.loop import train
from gpt2x.train.optim import Optimizer
from gpt2x.train.setup import Setup
from gpt2x.train.step import StepResult, TrainingStep
from gpt2x.train.step_options import StepOptions
from tests.train.conftest import run
from tests.train.test_distributed import flags
from tests.train.test_loop import assert_equal_weights, interrupted_at, metrics, trained

Tiny = Callable[..., TrainConfig]
CPU = torch.device("cpu")
ONE = Ranks(rank=0, world_size=1, local_rank=0, local_world_size=1, device=CPU)
SHAPE = GPTConfig(vocab_size=50, padded_vocab_size=64, block_size=8, n_layer=1, n_head=2, n_embd=16)

needs_ops = pytest.mark.skipif(
    not backend.serves("cpu", torch.float32), reason="gpt2x.ops is not compiled here"
)

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "plain": {"optimizer": "adamw"},
    "fused": {"optimizer": "fused"},
    "unclipped": {"optimizer": "fused", "grad_clip": None, "grad_norm": False},
    "gpt2x": {"optimizer": "gpt2x"},
    "gpt2x unclipped": {"optimizer": "gpt2x", "grad_clip": None},
    "bf16 weights": {"optimizer": "gpt2x", "bf16_weights": True, "num_passes": 2},
    "muon": {"muon": True, "optimizer": "adamw"},
    "muon fused": {"muon": True, "optimizer": "fused"},
    "muon gpt2x": {"muon": True, "optimizer": "gpt2x", "bf16_weights": True},
}
EACH = [
    pytest.param(options, id=name, marks=needs_ops if options["optimizer"] == "gpt2x" else ())
    for name, options in OPTIMIZERS.items()
]


def make(options: dict[str, Any]) -> TrainingStep:
    torch.manual_seed(0)
    shape = GPTConfig(**{**SHAPE.__dict__, **fused()}) if options.get("bf16_weights") else SHAPE
    return TrainingStep(GPT(shape), StepOptions(**options), CPU)


def steps(training: TrainingStep, count: int, accept: Any = None, first: int = 0) -> list[float]:
    """Losses of some steps, each on tokens of its own."""
    losses = []
    for step in range(first, first + count):
        ids = torch.randint(50, (4, 9), generator=torch.Generator().manual_seed(step))
        batch = (ids[:, :-1], ids[:, 1:])
        losses.append(float(training([batch] * training.options.num_passes, 1e-2, accept=accept).loss))
    return losses


def state(training: TrainingStep) -> dict[str, Tensor]:
    """All that a step changes but for its count, copied."""
    copies = {} if training.bf16 is None else training.bf16.copies
    all_of_it = {
        **training.model.state_dict(),
        **training.optimizer.state_dict(),
        **{f"bf16/{name}": copy for name, copy in copies.items()},
    }
    return {name: tensor.detach().clone() for name, tensor in all_of_it.items()}


@pytest.mark.parametrize("in_kernels", [False, True], ids=["on a CPU", "as on a GPU"])
@pytest.mark.parametrize("options", EACH)
def test_a_step_that_is_refused_changes_nothing_bit_for_bit(
    options: dict[str, Any], in_kernels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the kernels decide, torch's plain AdamW, which has no switch, still reads the answer."""
    if in_kernels:
        monkeypatch.setattr(Optimizer, "_reads", lambda self, good: False)
    training = make(options)
    steps(training, 2)
    before = state(training)
    for bad in (math.nan, math.inf):
        with torch.no_grad():
            hooks = [
                leaf.register_hook(lambda grad, bad=bad: torch.full_like(grad, bad))
                for leaf in training.optimizer.leaves()
            ]
        norms: list[float] = []

        def accept(loss: Tensor, norm: Tensor, norms: list[float] = norms) -> Tensor:
            norms.append(float(norm))
            return norm.isfinite()

        steps(training, 1, accept)
        assert not math.isfinite(norms[0]), "the gradient was to be bad"
        for hook in hooks:
            hook.remove()
        for name, tensor in state(training).items():
            assert torch.equal(tensor, before[name]), name
    steps(training, 1, lambda loss, norm: norm.isfinite())
    assert any(not torch.equal(tensor, before[name]) for name, tensor in state(training).items())


@pytest.mark.parametrize("options", EACH)
def test_kernels_that_decide_compute_what_the_host_does(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused steps among others, the first one of all too: the same weights, and the same counts of steps."""
    results = []
    for in_kernels in (False, True):
        if in_kernels:
            monkeypatch.setattr(Optimizer, "_reads", lambda self, good: False)
        training, calls = make(options), iter([False, True, True, False, True])
        steps(training, 5, lambda loss, norm, calls=calls: torch.tensor(next(calls)))
        results.append(state(training))
    for name, tensor in results[0].items():
        torch.testing.assert_close(
            tensor, results[1][name], rtol=0, atol=0, msg=lambda text, n=name: n + text
        )


@pytest.mark.parametrize("options", EACH)
def test_a_step_that_is_accepted_is_the_step_without_a_guard(options: dict[str, Any]) -> None:
    guard = LossGuard("stop", 2.0, ONE)
    with_guard, without = make(options), make(options)
    assert steps(with_guard, 3, guard.accept) == steps(without, 3)
    for name, tensor in state(with_guard).items():
        assert torch.equal(tensor, state(without)[name]), name


def test_a_refused_step_counts_in_every_optimizer_alike() -> None:
    """So a run may go on with another AdamW after a skipped step: the count is the run's."""
    for options in ({"optimizer": "adamw"}, {"optimizer": "fused"}):
        training = make(options)
        steps(training, 1, lambda loss, norm: torch.tensor(False))
        steps(training, 2)
        inner = training.optimizer.inner.state  # type: ignore[attr-defined]
        assert {float(one["step"]) for one in inner.values()} == {3.0}, options


def decide(guard: LossGuard, losses: list[float], norm: float = 1.0) -> list[bool]:
    answers = []
    for step, value in enumerate(losses, start=1):
        loss = torch.tensor(value)
        answers.append(bool(guard.accept(loss, torch.tensor(norm))))
        guard.note(StepResult(loss, torch.tensor(norm), loss.view(1)), step, {"position": step})
    return answers


def test_a_spike_is_measured_by_the_running_loss_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bad_loss, "WARM_UP", 3)
    guard = LossGuard("skip", 2.0, ONE)
    assert decide(guard, [1.0, 9.0, 2.0, 7.9, 10.0, 2.0]) == [True, True, True, True, False, True]
    found = guard.read()
    assert [(bad.step, bad.limit) for bad in found.skipped] == [(5, pytest.approx(2 * 19.9 / 4))]
    assert found.skipped[0].reason == "the loss of 10 is a spike, above 9.95"
    assert guard.state_dict()["running_loss"] == pytest.approx((1 + 9 + 2 + 7.9 + 2) / 5), "without the spike"


def test_without_a_factor_no_loss_is_a_spike() -> None:
    assert all(decide(LossGuard("stop", 0.0, ONE), [1.0] * 60 + [1e6]))


def test_after_the_step_that_stops_a_run_no_step_is_taken_until_somebody_reads() -> None:
    """As on a GPU, where the loop reads at a line of the log only."""
    for policy, bad, stop in (("stop", 1, 2), ("skip", 10, 11)):
        guard = LossGuard(policy, 0.0, ONE)
        answers = decide(guard, [1.0, *[math.nan] * bad, 1.0, 1.0])
        assert answers == [True, *[False] * (bad + 2)]
        found = guard.read()
        assert found.stop is not None
        assert (found.stop.step, len(found.skipped), found.num_undone) == (stop, bad - 1, 3)
        assert guard.state_dict()["in_a_row"] == bad - 1, "the state is that of before the step"


def test_good_steps_between_end_the_row() -> None:
    guard = LossGuard("skip", 0.0, ONE)
    decide(guard, ([math.nan] * 9 + [1.0]) * 3)
    found = guard.read()
    assert found.stop is None
    assert len(found.skipped) == guard.skipped == 27


def test_a_document_is_looked_for_backwards_and_not_for_ever() -> None:
    tokens = torch.ones(1 << 17, dtype=torch.int64).numpy()
    tokens[0] = 0
    assert document_start(tokens, 0, 65_535) == 0
    assert document_start(tokens, 0, 65_536) is None


@pytest.mark.parametrize(
    "bad", [{"on_bad_loss": "ignore"}, {"spike_factor": 1.0}, {"spike_factor": -2.0}], ids=str
)
def test_a_policy_that_means_nothing_is_refused(tiny: Tiny, bad: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(bad))} = .* cannot work; "):
        tiny(**bad)


def spoil(monkeypatch: pytest.MonkeyPatch, *bad: int, factor: float = math.nan) -> None:
    """Multiply the loss of some steps, the first of which is 1, and with it the gradients."""
    original, forward = TrainingStep.__call__, TrainingStep.forward

    def call(training: TrainingStep, *arguments: Any, **named: Any) -> StepResult:
        training.spoiled = training.optimizer.num_steps + 1 in bad  # type: ignore[attr-defined]
        return original(training, *arguments, **named)

    def spoiled(training: TrainingStep, *arguments: Any) -> Tensor:
        loss = forward(training, *arguments)
        return loss * factor if getattr(training, "spoiled", False) else loss

    monkeypatch.setattr(TrainingStep, "__call__", call)
    monkeypatch.setattr(TrainingStep, "forward", spoiled)


def records(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "bad-batches.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("optimizer", ["torch", "adamw", "muon", pytest.param("gpt2x", marks=needs_ops)])
def test_a_run_stops_with_the_state_from_before_the_step_and_goes_on_from_there(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    config, whole = tiny(optimizer=optimizer), tiny("whole", optimizer=optimizer)
    trained(whole)
    with monkeypatch.context() as patch:
        spoil(patch, 6)
        with pytest.raises(Gpt2xError) as stopped:
            run(config)
    assert stopped.value.exit_code == 1
    folder = tmp_path / "run"
    for words in (
        "the loss is NaN at step 6 (loss nan, gradient norm nan)",
        f"{folder / 'bad-batches.jsonl'} tells its batch",
        f"{folder / 'trainer' / 'step-00000005'} has the state from before it",
        "--resume --on-bad-loss skip goes on without it, or try a smaller --lr than 0.01",
    ):
        assert words in str(stopped.value)
    assert [record["step"] for record in records(folder)] == [6]
    trained(config)  # nothing is spoiled any more
    assert_equal_weights(whole.out, config.out)
    assert metrics(whole.out) == metrics(config.out)
    assert records(folder) == [], "what has not happened in the end is not told"


def test_a_first_step_that_is_bad_leaves_no_model(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, 1)
    with pytest.raises(Gpt2xError, match=r"NaN at step 1 .*, no step was done before; "):
        run(tiny(save_every=1))
    assert not list((tmp_path / "run").rglob("model.safetensors"))


def test_skipped_steps_are_counted_and_told(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(monkeypatch, 3, 7)
    config = tiny(on_bad_loss="skip", log_every=4, batch_size=2)
    result = trained(config)
    assert (result.steps, result.skipped) == (12, 2)
    assert math.isfinite(result.loss)
    logged = metrics(config.out)
    assert [line.get("skipped") for line in logged] == [1, 2, 2]
    assert all(2 < line["loss"] < 7 for line in logged), "the mean is of the steps that were taken"
    said = capsys.readouterr().err
    assert "skipped    step 3: the loss is NaN" in said
    assert "skipped    2 steps that were not taken" in said


def test_the_record_tells_the_batch(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offsets lead to the very tokens of the step, and documents are named by how they begin."""
    seen: list[Tensor] = []
    original = TrainingStep.forward

    def forward(training: TrainingStep, idx: Tensor, targets: Tensor) -> Tensor:
        seen.append(idx.clone())
        return original(training, idx, targets)

    monkeypatch.setattr(TrainingStep, "forward", forward)
    spoil(monkeypatch, 3)
    prepared: list[Setup] = []
    monkeypatch.setattr(loop, "train", lambda setup: prepared.append(setup) or train(setup))
    run(tiny(on_bad_loss="skip", batch_size=2))
    (record,) = records(tmp_path / "run")
    assert (record["step"], record["reason"], record["loss"], record["data"]["position"]) == (
        3, "the loss is NaN", None, 8,
    )  # fmt: skip
    assert record["data"].keys() == {"position", "seed", "block_size", "num_tokens"}
    first, second = record["micro_batches"]
    assert len(first["sequences"]) == len(second["sequences"]) == 2
    stream = prepared[0].batches.tokens
    for micro_batch, idx in zip((first, second), seen[4:6], strict=True):
        for sequence, row in zip(micro_batch["sequences"], idx, strict=True):
            places = (sequence["offset"] + torch.arange(16)) % len(stream)
            assert torch.equal(torch.tensor(stream[places.numpy()].astype("int64")), row)
            assert sequence["begins"].startswith("Song "), "the title of the song in which it begins"


def test_a_resumed_run_with_a_skipped_step_equals_the_uninterrupted_one_bit_for_bit(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The running loss is a part of the state: the spike after the interruption is measured by all steps before it."""
    monkeypatch.setattr(bad_loss, "WARM_UP", 3)
    settings = {"on_bad_loss": "skip", "spike_factor": 1.5, "log_every": 5, "dropout": 0.1}
    whole, broken = tiny("whole", **settings), tiny("broken", **settings)
    spoil(monkeypatch, 4, 9, factor=3.0)
    trained(whole)
    assert [record["step"] for record in records(tmp_path / "whole")] == [4, 9]
    with interrupted_at(7):
        run(broken)
    trained(broken)
    assert_equal_weights(whole.out, broken.out)
    assert metrics(whole.out) == metrics(broken.out)
    assert records(tmp_path / "whole") == records(tmp_path / "broken")
    states = [RunFolder(tmp_path / name).newest_whole() for name in ("whole", "broken")]
    assert states[0] is not None
    assert states[1] is not None
    assert states[0].state["guard"] == states[1].state["guard"]
    assert states[0].state["guard"]["skipped"] == 2


def test_a_run_that_stopped_goes_on_without_the_bad_batch(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, 6)
    with pytest.raises(Gpt2xError, match="at step 6"):
        run(tiny())
    with pytest.raises(UsageError, match="on_bad_loss = stop, not skip"):
        run(tiny(on_bad_loss="skip"))
    result = trained(tiny(on_bad_loss="skip"), resume=True)
    assert (result.steps, result.skipped) == (12, 1)
    trained(tiny("skipping", on_bad_loss="skip"))
    assert_equal_weights(tiny().out, tiny("skipping").out)


def test_too_many_in_a_row_stop_a_run_that_skips(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, *range(2, 13), factor=math.inf)
    with pytest.raises(
        Gpt2xError, match=r"infinite at step 11 .*, the 10th step in a row that was not taken; .*"
    ):
        run(tiny(on_bad_loss="skip"))
    assert [record["step"] for record in records(tmp_path / "run")] == list(range(2, 12))


@pytest.mark.parametrize("policy", ["stop", "skip"])
def test_what_is_read_late_as_on_a_gpu_gives_the_same_run(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    """The loop reads at every fifth step only, and nobody but the guard keeps the weights from harm until then."""
    settings = {"on_bad_loss": policy, "log_every": 5, "eval_every": 0, "grad_clip": 0.0}
    spoil(monkeypatch, 7)
    settle = loop.settle

    def settle_late(setup: Setup, *rest: Any) -> None:
        if _is_due(setup):
            settle(setup, *rest)

    for name in ("at once", "late"):
        with monkeypatch.context() as patch:
            if name == "late":
                patch.setattr(Optimizer, "_reads", lambda self, good: False)
                patch.setattr(loop, "settle", settle_late)
            if policy == "stop":
                with pytest.raises(Gpt2xError, match="NaN at step 7 .*step-00000006 has the state"):
                    run(tiny(name, **settings))
            else:
                run(tiny(name, **settings))
    assert_equal_weights(tiny("at once").out, tiny("late").out)
    assert metrics(tiny("at once").out) == metrics(tiny("late").out)
    one, other = (RunFolder(tmp_path / name).newest_whole() for name in ("at once", "late"))
    assert one is not None
    assert other is not None
    for part in ("step", "data", "losses", "guard"):
        assert one.state[part] == other.state[part]
    assert one.state["window"]["num_steps"] == other.state["window"]["num_steps"]
    assert one.state["window"]["loss_sum"] == other.state["window"]["loss_sum"]


def _is_due(setup: Setup) -> bool:
    done = setup.training.optimizer.num_steps
    return done % 5 == 0 or done == 12


TWO_RANKS = """
import os, sys
import torch
from gpt2x.train.step import TrainingStep

forward = TrainingStep.forward
def spoiled(training, *arguments):
    loss = forward(training, *arguments)
    bad = os.environ["RANK"] == "1" and training.optimizer.num_steps + 1 == 6
    return loss * float("nan") if bad else loss
TrainingStep.forward = spoiled

from gpt2x.cli.train import app
app()
"""


def on_two_ranks(tmp_path: Path, config: TrainConfig, *more: str) -> subprocess.CompletedProcess[str]:
    """A run of two processes, of which the second one's loss is NaN in the sixth step."""
    script = tmp_path / "spoiled.py"
    script.write_text(TWO_RANKS, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(script),
    ]
    command += ["lyrics", *flags(**config.to_dict()), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, marks=pytest.mark.long),
        pytest.param({"fused_ops": True, "dtype": "bfloat16"}, marks=needs_ops),
    ],
    ids=["DDP", "bf16 weights"],
)
def test_two_ranks_decide_alike_where_only_one_has_the_nan(
    tiny: Tiny, tmp_path: Path, changes: dict[str, Any]
) -> None:
    skipping = on_two_ranks(tmp_path, tiny("skip", on_bad_loss="skip", batch_size=2, **changes), "--json")
    assert skipping.returncode == 0, skipping.stderr
    assert json.loads(skipping.stdout)["skipped"] == 1
    (record,) = records(tmp_path / "skip")
    assert record["step"] == 6
    assert [(one["rank"], one["loss"] is None) for one in record["micro_batches"]] == [(0, False), (1, True)]

    stopping = on_two_ranks(tmp_path, tiny("stop", batch_size=2, **changes))
    assert stopping.returncode != 0
    ours = [line for line in stopping.stderr.splitlines() if line.startswith("gpt2x: ")]
    assert len(ours) == 1
    assert "the loss is NaN at step 6" in ours[0]
    assert "step-00000005 has the state from before it" in ours[0]
    resumed = on_two_ranks(
        tmp_path, tiny("stop", batch_size=2, **changes), "--resume", "--on-bad-loss", "skip"
    )
    assert resumed.returncode == 0, resumed.stderr
    assert_equal_weights(str(tmp_path / "skip"), str(tmp_path / "stop"))

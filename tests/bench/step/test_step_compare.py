"""Our step beside its peers: who takes part, that they take turns, what the figures are, and that losses agree."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from gpt2x.bench.ladder.config import Setting, StepConfig
from gpt2x.bench.ladder.step import TimedStep
from gpt2x.bench.process import WorkerFailed
from gpt2x.bench.step.compare import (
    DTYPES,
    HEAD,
    PEER_STEPS,
    Comparison,
    compare,
    failures,
    loss_difference,
    select,
    table_rows,
)
from gpt2x.errors import UsageError
from tests.bench.fakes import Bench


def _ms(config: StepConfig) -> float:
    """Ours 100 ms, torch.compile's 150, others 200."""
    return 100.0 if config.fused_loss else 150.0 if config.compile else 200.0


def _run(bench: Bench, setting: Setting, *names: str, dtype: str = "bfloat16", rounds: int = 3) -> Comparison:
    return compare(select(names), setting, bench.launch, dtype=dtype, rounds=rounds, steps=2)


def test_all_take_part_unless_some_are_named() -> None:
    assert select([]) == list(PEER_STEPS)
    assert [c.name for c in select(["hf", "naive"])] == ["gpt2x", "naive", "hf"]
    with pytest.raises(UsageError, match="--peer 'jax' is unknown; choose among naive, nanogpt"):
        select(["jax"])


def test_ratios_are_of_times_of_the_same_round(tiny_setting: Setting) -> None:
    found = _run(Bench(step_ms=_ms), tiny_setting, "nanogpt", "compile")
    assert [found.ratio(entry) for entry in found.entries] == [1.0, 2.0, 1.5]
    assert [found.ratio_of_fastest(entry) for entry in found.entries] == [1.0, 2.0, 1.5]
    assert [found.ratio_of_cpu(entry) for entry in found.entries] == pytest.approx([1.0, 2.0, 1.5])
    assert all(len(entry.rounds_ms) == 3 and len(entry.step_ms) == 6 for entry in found.entries)


def test_a_round_that_is_disturbed_for_both_leaves_the_ratio_alone(tiny_setting: Setting) -> None:
    found = _run(Bench(step_ms=_ms), tiny_setting, "nanogpt")
    for entry in found.entries:
        entry.rounds_ms[0] *= 7
    assert found.ratio(found.entries[1]) == 2.0


def test_ours_keeps_its_memory_and_the_plain_one_does_not(tiny_setting: Setting) -> None:
    bench = Bench()
    _run(bench, tiny_setting)
    steps = dict(zip((c.name for c in PEER_STEPS), bench.launched, strict=True))
    assert {name for name, config in steps.items() if config.keep_memory} == {"gpt2x", "nanogpt-kept"}
    assert {name for name, config in steps.items() if config.fused_loss} == {"gpt2x"}
    assert steps["gpt2x"].bf16_weights
    assert steps["nanogpt"].autocast == "bfloat16"
    assert steps["naive"] == StepConfig()
    assert steps["hf"].network == "transformers"
    assert bench.closed == len(PEER_STEPS)


def test_a_peer_that_fails_is_a_row_with_its_reason(tiny_setting: Setting) -> None:
    def broken(config: StepConfig) -> str | None:
        return "needs transformers" if config.network == "transformers" else None

    found = _run(Bench(broken=broken), tiny_setting, "hf", "nanogpt")
    assert found.entries[2].failed == "needs transformers"
    assert found.ratio(found.entries[2]) is None
    assert found.ratio(found.entries[1]) == 1.0
    rows = table_rows(found)
    assert all(len(row) == len(HEAD) for row in rows)
    assert rows[2][-1] == "needs transformers"


def test_an_interruption_keeps_whole_rounds_and_without_one_is_passed_on(tiny_setting: Setting) -> None:
    def in_round(number: int) -> Bench:
        return Bench(interrupt=lambda config, rounds: not config.fused_loss and rounds == number)

    found = _run(in_round(3), tiny_setting, "nanogpt", rounds=5)
    assert len(found.entries[1].rounds_ms) == 2
    assert found.ratio(found.entries[1]) == 1.0
    assert not found.complete
    assert not found.as_dict()["complete"]
    bench = in_round(1)
    with pytest.raises(KeyboardInterrupt):
        _run(bench, tiny_setting, "nanogpt")
    assert bench.closed == 2


def test_losses_are_compared_with_those_that_start_from_our_weights(tiny_setting: Setting) -> None:
    def losses(config: StepConfig) -> list[float]:
        return [4.0, 3.0 if config.fused_loss else 3.01 if config.tie_weights else 9.0]

    bench = Bench(losses=losses)
    assert loss_difference(_run(bench, tiny_setting, "nanogpt", "naive")) == pytest.approx(0.01)
    assert loss_difference(_run(bench, tiny_setting, "naive")) is None


def test_goals_stand_beside_the_peers_that_have_one(tiny_setting: Setting) -> None:
    shape = dataclasses.replace(tiny_setting.shape, block_size=64)
    setting = dataclasses.replace(tiny_setting, model="gpt2", batch=4, seq=64, shape=shape)
    found = _run(Bench(step_ms=_ms), setting, "compile", "hf")
    assert found.goal(found.entries[1]) is not None
    assert found.goal(found.entries[2]) is None
    as_dict = found.as_dict()
    assert as_dict["entries"][1]["goal"] == {"goal": 1.6, "stretch": 2.2}
    assert as_dict["entries"][1]["ratio"] == 1.5
    small = _run(Bench(step_ms=_ms), tiny_setting, "compile")
    assert small.goal(small.entries[1]) is None, "they are set for GPT-2 124M"


def test_a_peer_that_fails_in_a_later_round_keeps_its_figures_and_is_named(tiny_setting: Setting) -> None:
    def dies(config: StepConfig, rounds: int) -> bool:
        if config.compile and rounds == 2:
            raise WorkerFailed("killed")
        return False

    found = _run(Bench(interrupt=dies), tiny_setting, "compile")
    assert failures(found) == ["plain model, torch.compile failed after 1 round: killed"]
    assert found.ratio(found.entries[1]) == 1.0


def test_an_unknown_dtype_is_refused(tiny_setting: Setting) -> None:
    with pytest.raises(UsageError, match="--dtype 'float8' is unknown; choose bfloat16 or float32"):
        _run(Bench(), tiny_setting, dtype="float8")


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_peer_really_computes_our_loss(tiny_setting: Setting, dtype: str) -> None:
    pytest.importorskip("transformers", reason="the peer hf needs transformers")
    tokens = torch.randint(0, 61, (200,), generator=torch.Generator().manual_seed(1)).numpy()
    losses: dict[str, list[float]] = {}
    for peer in PEER_STEPS:
        if not peer.loss_is_ours:
            continue
        # a vocabulary without padding, over which transformers would spread probability; compiling takes too long
        config = dataclasses.replace(peer.make(tiny_setting, dtype), padded_vocab_size=None, compile=False)
        step = TimedStep(config, tiny_setting, tokens)
        losses[peer.name] = [step().loss for _ in range(4)]
    bound = 1e-4 if dtype == "float32" else 0.02
    for name, own in losses.items():
        assert own == pytest.approx(losses["gpt2x"], abs=bound), name

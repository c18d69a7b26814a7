"""`--ema`: the averaged weights are validated and published, the raw ones stay in the checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gpt2x.errors import UsageError
from gpt2x.model import GPT, GPTConfig, load_folder
from gpt2x.train import loop
from gpt2x.train.average import WeightAverage, decay_at
from gpt2x.train.config import TrainConfig
from gpt2x.train.setup import Setup
from tests.train.conftest import run
from tests.train.test_loop import assert_equal_weights, interrupted_at, metrics, trained

Tiny = Callable[..., TrainConfig]
YES, NO = torch.tensor(True), torch.tensor(False)


def averages(folder: str | None) -> dict[str, torch.Tensor]:
    assert folder is not None
    (file,) = Path(folder).glob("trainer/step-00000012/average.safetensors")
    return load_file(file)


def assert_published(folder: Path) -> None:
    """The averages of the last step are the weights on top."""
    kept, top = averages(str(folder)), load_folder(folder)[0]
    for name, parameter in top.named_parameters():
        assert torch.equal(parameter[: len(kept[name])], kept[name]), name


def test_the_average_is_the_sum_by_hand_and_a_step_that_was_not_taken_changes_nothing() -> None:
    model = GPT(GPTConfig(vocab_size=5, block_size=4, n_layer=1, n_head=1, n_embd=4))
    average = WeightAverage(model, 0.5)
    expected = model.wte.weight.detach().clone()
    for step in range(1, 8):
        with torch.no_grad():
            model.wte.weight += step
        before = average.model.wte.weight.clone()
        average.update(step, NO)
        assert torch.equal(average.model.wte.weight, before)
        average.update(step, YES)
        d = decay_at(0.5, step)
        expected = d * expected + (1 - d) * model.wte.weight.detach()
    torch.testing.assert_close(average.model.wte.weight, expected)
    assert average.model.lm_head.weight is average.model.wte.weight


def test_averaged_weights_are_validated_and_published_and_the_raw_ones_kept(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = trained(tiny("plain", save_every=12))
    seen: list[bool] = []
    original = loop.validate

    def validate(setup: Setup) -> float:
        assert setup.average is not None
        seen.append(setup.evaluated is setup.average.model)
        return original(setup)

    monkeypatch.setattr(loop, "validate", validate)
    averaged = trained(tiny("ema", ema=0.9, save_every=12))
    assert seen == [True] * 3
    assert_equal_weights(str(plain.run), str(averaged.run))  # the last: averaging changes nothing in training
    assert averaged.best_step == 12
    assert_published(averaged.run)
    assert not torch.equal(*(load_folder(result.run)[0].wpe.weight for result in (plain, averaged)))
    losses = [[row["loss"] for row in metrics(str(result.run))] for result in (plain, averaged)]
    assert losses[0] == losses[1]
    assert averaged.validation_loss != plain.validation_loss


@pytest.mark.parametrize(
    "changes",
    [{}, {"optimizer": "gpt2x", "fused_ops": True, "dtype": "bfloat16", "batch_size": 2}],
    ids=["plain", "bf16 weights"],
)
def test_a_resumed_average_is_that_of_an_uninterrupted_run_bit_for_bit(
    tiny: Tiny, changes: dict[str, Any]
) -> None:
    whole, broken = (tiny(name, ema=0.8, **changes) for name in ("whole", "broken"))
    trained(whole)
    with interrupted_at(5):
        run(broken)
    trained(broken)
    one, other = averages(whole.out), averages(broken.out)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert metrics(whole.out) == metrics(broken.out)


def test_before_a_validation_the_average_is_on_top_and_its_decay_is_part_of_the_run(tiny: Tiny) -> None:
    result = trained(tiny(ema=0.9, publish="last"))
    assert_published(result.run)
    about = json.loads((result.run / "config.json").read_text(encoding="utf-8"))["gpt2x"]
    assert about["validation_loss"] == pytest.approx(result.validation_loss)
    with pytest.raises(UsageError, match=r"ema = 0\.9, not 0\.5"):
        run(tiny(ema=0.5))
    with pytest.raises(UsageError, match=r"ema = 1\.0 cannot work"):
        tiny(ema=1.0)

"""`--modern` and its parts: trained, resumed, started from, measured and written with, as any model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gpt2x.errors import UsageError
from gpt2x.generate.engine import Engine
from gpt2x.model import load_folder
from gpt2x.model.config import MODERN
from gpt2x.ops import backend
from gpt2x.train.config import TrainConfig, differences
from gpt2x.train.estimate import estimate
from gpt2x.train.evaluate import evaluate
from gpt2x.train.loop import Result
from gpt2x.train.plan import model_shape
from gpt2x.train.records import read_record
from tests.train.conftest import TINY, run
from tests.train.test_distributed import flags, losses, torchrun
from tests.train.test_initial import SHAPE, prepared
from tests.train.test_loop import assert_equal_weights, interrupted_at

Tiny = Callable[..., TrainConfig]
needs_ops = pytest.mark.skipif(
    backend.report()[0].implementation != "native", reason="the native operators are not built"
)


def trained(config: TrainConfig) -> Result:
    result = run(config)
    assert result is not None
    return result


def test_one_word_means_all_parts_and_muon_at_any_size() -> None:
    config = TrainConfig(modern=True, model="mini")
    shape = model_shape(config)
    assert shape.beyond_gpt2 == "rotary positions, QK-norm and ReLU²"
    assert (shape.n_layer, shape.n_embd, config.optimizer) == (6, 384, "muon")
    assert not model_shape(TrainConfig(model="mini")).beyond_gpt2


def test_each_part_can_be_chosen_and_left_out() -> None:
    shape = model_shape(TrainConfig(modern=True, activation="gelu", qk_norm=False, optimizer="torch"))
    assert shape.beyond_gpt2 == "rotary positions"
    assert TrainConfig(modern=True, optimizer="torch").optimizer == "torch"
    assert model_shape(TrainConfig(qk_norm=True)).beyond_gpt2 == "QK-norm"


@pytest.mark.parametrize("part", [{"positions": "alibi"}, {"activation": "silu"}])
def test_a_part_that_there_is_not_is_refused_with_the_choices(part: dict[str, str]) -> None:
    (name,) = part
    with pytest.raises(UsageError, match=f"{name} = .* cannot work; choose one of"):
        TrainConfig(**part)


@pytest.mark.parametrize(
    "changes",
    [{}, pytest.param({"fused_ops": True, "dtype": "bfloat16", "reset_attention": True}, marks=needs_ops)],
    ids=["plain", "bf16 weights, attention reset"],
)
def test_a_modern_run_is_resumed_bit_for_bit_and_used_as_any(
    tiny: Tiny, changes: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    whole, broken = (tiny(name, modern=True, save_every=4, **changes) for name in ("whole", "broken"))
    result = trained(whole)
    assert "; with rotary positions, QK-norm and ReLU²" in capsys.readouterr().err
    with interrupted_at(5):
        run(broken)
    run(broken)
    assert_equal_weights(whole.out, broken.out)
    model, tokenizer = load_folder(result.run)
    assert model.config.beyond_gpt2
    assert read_record(result.run).parameters == result.parameters
    assert json.loads((result.run / "config.json").read_text(encoding="utf-8"))["model_type"] == "gpt2x"
    assert list(Engine(model, tokenizer).stream("home", max_new_tokens=20))
    assert 0 < evaluate(model, tokenizer, [np.array(tokenizer.encode_ordinary("rain falls"))]).loss < 7


def test_a_run_does_not_become_modern_on_its_way(tiny: Tiny) -> None:
    old = tiny(optimizer="muon")
    assert differences(old.to_dict(), tiny(modern=True)) == ["modern = False, not True"]
    without = {name: value for name, value in old.to_dict().items() if name not in {"modern", *MODERN}}
    assert differences(without, old) == [], "runs of before have none of these settings"


def test_weights_of_a_gpt2_do_not_become_modern_ones(tiny: Tiny) -> None:
    first = trained(tiny("first", steps=2))
    for asked, word in (
        (
            {"modern": True},
            "positions = rotary does not fit .* trained with learned; leave out modern or positions",
        ),
        (
            {"qk_norm": True},
            "qk_norm = true does not fit .* trained with false; leave out qk_norm, or init_from",
        ),
        ({"activation": "relu2"}, "activation = relu2 does not fit .* trained with gelu"),
    ):
        with pytest.raises(UsageError, match=word):
            run(tiny("second", init_from=str(first.run), **SHAPE, **asked))
    assert not Path(tiny("second").out or "").exists()


@pytest.mark.parametrize("again", [{}, {"modern": True}], ids=["as given", "asked for again"])
def test_a_run_starts_from_modern_weights_whatever_its_context(tiny: Tiny, again: dict[str, Any]) -> None:
    first = trained(tiny("first", steps=2, modern=True))
    setup = prepared(tiny("second", init_from=str(first.run), **(SHAPE | {"block_size": 32}), **again))
    given, _ = load_folder(first.run)
    assert setup.model.config.beyond_gpt2 == given.config.beyond_gpt2
    assert torch.equal(setup.model.h[0].mlp.c_fc.weight, given.h[0].mlp.c_fc.weight)


def test_what_a_modern_run_will_need_is_planned_from_its_own_shape(tiny: Tiny) -> None:
    modern, gpt2 = (estimate(tiny(modern=on, tokenizer="train")) for on in (True, False))
    assert gpt2.parameters - modern.parameters == 16 * 16, "there is no table of positions"
    assert gpt2.flops_a_step == modern.flops_a_step


@pytest.mark.slow
def test_two_ranks_train_a_modern_model_as_one(tiny: Tiny, songs: Path, tmp_path: Path) -> None:
    run(tiny("one", modern=True, batch_size=2))
    settings = {**TINY, "data": str(songs), "modern": True, "batch_size": 2}
    arguments = flags(**TrainConfig(**settings).to_dict())
    result = torchrun(*arguments, "--out", str(tmp_path / "two"), cwd=Path(__file__).parents[2])
    assert result.returncode == 0, result.stderr
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-4)

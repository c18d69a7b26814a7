"""Settings, presets and what a step is made of."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt2x.errors import UsageError
from gpt2x.settings import resolve
from gpt2x.train.config import FREE_TO_CHANGE, TrainConfig, differences
from gpt2x.train.plan import choose_dtype, has_bfloat16_instructions, model_shape, share_batch
from gpt2x.train.presets import PRESETS, find_preset

IMPOSSIBLE: list[dict[str, Any]] = [
    {"vocab": 0}, {"steps": 0}, {"batch_size": -1}, {"warmup": -1}, {"dropout": 1.0}, {"beta2": 1.5},
    {"validation_share": 0}, {"epochs": 0}, {"lr": 0}, {"min_lr": 1.0}, {"dtype": "float8"}, {"optimizer": "sgd"},
    {"n_layer": 0}, {"seed": -1}, {"keep": 0}, {"attention_dropout": 1.0},
]  # fmt: skip


@pytest.mark.parametrize("setting", IMPOSSIBLE, ids=str)
def test_an_impossible_value_is_refused_by_name(setting: dict[str, Any]) -> None:
    ((name, value),) = setting.items()
    with pytest.raises(UsageError, match=f"{name} = {value} cannot work; "):
        TrainConfig(**setting)


NUMBERS = [
    field.name
    for field in dataclasses.fields(TrainConfig)
    if str(field.type).split(" ", 1)[0] in ("int", "float")
]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, 1e308, 1e-320, 2**64, -(2**64), 10**5000],
    ids=["nan", "inf", "-inf", "1e308", "1e-320", "2**64", "-2**64", "10**5000"],
)
def test_no_setting_takes_a_number_that_nothing_can_be_computed_with(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"^{name} = ") as refused:
        TrainConfig(**{name: value})  # type: ignore[arg-type]
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("text", ["inf", "-inf", "nan", "1e400"])
def test_a_file_or_the_environment_brings_in_no_such_number_either(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.toml").write_text(f"[train]\nlr = {text}\n")
    with pytest.raises(UsageError, match="^lr = "):
        resolve(TrainConfig, config_file=tmp_path / "own.toml", section="train")
    for name in ("LR", "STEPS"):
        monkeypatch.setenv(f"GPT2X_TRAIN_{name}", text)
        with pytest.raises(UsageError, match=f"^{name.lower()} = "):
            resolve(TrainConfig, section="train")
        monkeypatch.delenv(f"GPT2X_TRAIN_{name}")


@pytest.mark.parametrize("name", ["n_layer", "n_embd", "n_head", "block_size", "vocab"])
def test_a_model_that_no_machine_holds_is_refused_by_name(name: str) -> None:
    with pytest.raises(UsageError, match=f"^{name} = 2000000000 cannot work; give at most"):
        TrainConfig(**{name: 2 * 10**9})  # type: ignore[arg-type]


def test_every_setting_has_a_help_text() -> None:
    assert all(field.metadata["help"] for field in dataclasses.fields(TrainConfig))
    assert {field.name for field in dataclasses.fields(TrainConfig)} >= FREE_TO_CHANGE


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_every_preset_resolves_to_a_model_and_a_whole_batch(preset: Any) -> None:
    config = resolve(TrainConfig, preset=(preset.name, preset.settings)).values
    shape = model_shape(config)
    for world_size in (1, 2, 4):
        micro_batch, micro_steps = share_batch(config, shape.block_size, world_size)
        assert micro_batch <= config.batch_size
        assert micro_batch * micro_steps * world_size * shape.block_size == config.total_batch_tokens


def test_an_unknown_preset_or_model_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown preset 'first-sng'; did you mean 'first-song'"):
        find_preset("first-sng")
    with pytest.raises(UsageError, match="unknown model 'gpt-2'; did you mean 'gpt2'"):
        model_shape(TrainConfig(model="gpt-2"))


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16\n", True),
        ("Features : fp asimd bf16\n", True),
        ("flags : fpu avx2 avx512f\nmodel name : bf16\n", False),
        ("", False),
    ],
)
def test_bfloat16_is_chosen_where_the_cpu_has_instructions_for_it(
    tmp_path: Path, cpuinfo: str, expected: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo, encoding="utf-8")
    assert has_bfloat16_instructions(tmp_path / "cpuinfo") is expected
    assert not has_bfloat16_instructions(tmp_path / "nowhere")


def test_the_dtype_comes_with_its_reason() -> None:
    assert choose_dtype("float32", torch.device("cpu")) == (torch.float32, "asked for")
    assert choose_dtype("bfloat16", torch.device("cpu")) == (torch.bfloat16, "asked for")
    assert "this CPU" in choose_dtype("auto", torch.device("cpu"))[1]


def test_a_batch_that_does_not_divide_is_refused_with_one_that_does() -> None:
    with pytest.raises(
        UsageError, match=r"does not divide by 3 ranks × block_size 8; give --total-batch-tokens 96"
    ):
        share_batch(TrainConfig(total_batch_tokens=100), 8, 3)


def test_a_resumed_run_may_move_but_not_learn_something_else() -> None:
    old = TrainConfig(out="a", device="cpu").to_dict()
    assert differences(old, TrainConfig(out="b", device="cuda", batch_size=2, data="elsewhere.csv")) == []
    assert differences(old, TrainConfig(lr=1e-3, min_lr=6e-5)) == ["lr = 0.0006, not 0.001"]

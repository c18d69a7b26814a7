"""The rungs: the playground's twelve in its order, each changing exactly what it says."""

from __future__ import annotations

import dataclasses

import pytest

from gpt2x.bench.ladder.config import Setting, StepConfig
from gpt2x.bench.ladder.rungs import OUR_RUNGS, PLAYGROUND_RUNGS, RUNGS, Rung, select, start_config
from gpt2x.bench.machine import Gpu, Machine
from gpt2x.errors import UsageError
from gpt2x.model.config import PRESETS, flops_per_token

# What changes on each rung, on a machine with two GPUs; the playground's twelve in the playground's order, then ours.
CHANGES = {
    "gpu": {"device": ("cpu", "cuda")},
    "sharing": {"tie_weights": (False, True)},
    "init": {"init": ("torch", "gpt2")},
    "tf32": {"matmul_precision": ("highest", "high")},
    "bf16": {"autocast": (None, "bfloat16")},
    "compile": {"compile": (False, True)},
    "flash": {"attention": ("naive", "flash")},
    "vocab": {"padded_vocab_size": (None, 50304)},
    "clip": {"grad_clip": (None, 1.0)},
    "adamw": {"decay_groups": (False, True), "optimizer": ("adamw", "fused")},
    "accumulation": {"micro_batches": (1, 4)},
    "ddp": {"world_size": (1, 2), "micro_batches": (4, 2)},
    "memory": {"keep_memory": (False, True)},
    "gemm": {"fused_gemm": (False, True)},
    "fused-loss": {"fused_loss": (False, True)},
    "fused-layers": {"fused_layers": (False, True)},
    "fused-attention": {"fused_attention": (False, True)},
    "fused-adamw": {"optimizer": ("fused", "gpt2x")},
    "bf16-weights": {"bf16_weights": (False, True), "autocast": ("bfloat16", None)},
    "shared-memory": {"shared_memory": (False, True)},
    "cuda-graphs": {"cuda_graphs": (False, True)},
}


def rung(key: str) -> Rung:
    return next(rung for rung in RUNGS if rung.key == key)


def test_the_ladder_is_the_start_then_the_twelve_rungs_of_the_seed_then_ours() -> None:
    assert RUNGS[0].key == "start"
    assert [rung.title for rung in RUNGS[1:13]] == [
        "CPU → GPU",
        "weight tying",
        "weight initialisation",
        "TF32",
        "bf16 autocast",
        "torch.compile",
        "flash attention",
        "vocabulary padded to 128",
        "gradient clipping",
        "groups, fused AdamW",
        "gradient accumulation",
        "DDP",
    ]
    assert RUNGS[1:13] == PLAYGROUND_RUNGS
    assert RUNGS[13:] == OUR_RUNGS


def test_each_rung_changes_exactly_what_it_says() -> None:
    setting = Setting(device="cuda", shape=PRESETS["gpt2"])
    config = start_config(RUNGS, setting)
    found = {}
    for rung in RUNGS[1:]:
        above = rung.apply(config, setting)
        before, after = dataclasses.asdict(config), dataclasses.asdict(above)
        found[rung.key] = {
            name: (before[name], after[name]) for name in before if before[name] != after[name]
        }
        config = above
    assert found == CHANGES


def test_the_foot_of_the_ladder_is_naive_in_every_respect() -> None:
    assert start_config(RUNGS, Setting(device="cuda")) == StepConfig()
    assert StepConfig() == StepConfig(
        device="cpu",
        tie_weights=False,
        init="torch",
        attention="naive",
        padded_vocab_size=None,
        fused_loss=False,
        fused_layers=False,
        fused_attention=False,
        fused_gemm=False,
        bf16_weights=False,
        keep_memory=False,
        cuda_graphs=False,
        matmul_precision="highest",
        autocast=None,
        compile=False,
        grad_clip=None,
        decay_groups=False,
        optimizer="adamw",
        micro_batches=1,
        world_size=1,
        shared_memory=False,
    )


def test_without_the_gpu_rung_a_gpu_ladder_starts_on_the_gpu() -> None:
    assert start_config(select("4-6"), Setting(device="cuda")).device == "cuda"


def test_every_rung_explains_itself() -> None:
    for rung in RUNGS:
        assert rung.change, rung.key
        assert rung.why.endswith("."), rung.key
        assert rung.reported or rung not in PLAYGROUND_RUNGS, f"{rung.key}: what did the playground report?"
        assert rung.loss_bound is not None or (rung.alters and rung.expect), (
            f"{rung.key}: how is its loss judged?"
        )
    assert len({rung.key for rung in RUNGS}) == len(RUNGS)


def reasons(machine: Machine, setting: Setting, below: StepConfig | None = None) -> dict[str, str]:
    """Why rungs cannot run, climbing over those that can; or each on the same step."""
    found, config = {}, below or start_config(RUNGS, setting)
    for rung in RUNGS:
        reason = rung.why_not(machine, setting, config)
        if reason:
            found[rung.key] = reason
        elif below is None:
            config = rung.apply(config, setting)
    return found


def test_on_a_laptop_only_what_needs_a_gpu_or_float32_cannot_run(laptop: Machine) -> None:
    assert reasons(laptop, Setting()) == {
        "gpu": "no CUDA GPU here",
        "tf32": "TF32 needs an NVIDIA GPU, Ampere or later",
        "gemm": "products are in bfloat16 below, which torch gives to oneDNN by itself",
        "cuda-graphs": "no CUDA GPU here",
    }


def test_on_a_laptop_without_bfloat16_products_are_routed_and_weights_stay(laptop: Machine) -> None:
    old = dataclasses.replace(laptop, instruction_sets=("avx2",))
    found = reasons(old, Setting())
    assert "gemm" not in found
    assert found["bf16-weights"] == "products are in float32 below; the weights need no rounding"


def test_on_two_gpus_all_of_the_seeds_rungs_run_and_ours_say_what_they_lack(workstation: Machine) -> None:
    assert reasons(workstation, Setting(device="cuda")) == {
        "memory": "on a GPU torch keeps freed memory by itself",
        "gemm": "on a GPU cuBLAS multiplies",
        "fused-attention": "on a GPU torch's flash attention serves",
        "bf16-weights": "on a GPU the casts of autocast cost little",
        "shared-memory": "ranks on GPUs have memory of their own",
        "cuda-graphs": "DDP averages gradients while backward runs, which a recorded graph does not repeat",
    }


def test_rungs_that_need_one_another_say_so(laptop: Machine) -> None:
    below = StepConfig(autocast="bfloat16", optimizer="gpt2x")
    bf16_param = rung("bf16-weights")
    assert "need the fused layers" in str(bf16_param.why_not(laptop, Setting(), below))
    whole = dataclasses.replace(below, fused_layers=True, micro_batches=4, compile=True)
    assert bf16_param.why_not(laptop, Setting(), whole) is None


@pytest.mark.parametrize(
    ("key", "lacks", "device", "reason"),
    [
        ("bf16", {"instruction_sets": ("avx2",)}, "cpu", "this CPU has no bfloat16 instructions"),
        ("compile", {"cpp_compiler": None}, "cpu", "needs a C++ compiler"),
        ("compile", {"triton": False}, "cuda", "needs Triton"),
        ("ddp", {"cores": 1}, "cpu", "needs two cores"),
        ("ddp", {"gloo": False}, "cpu", "a torch with gloo"),
        ("ddp", {"gpus": (Gpu(name="one", memory_bytes=1, capability=(9, 0)),)}, "cuda", "needs two GPUs"),
        ("tf32", {"gpus": (Gpu(name="a T4", memory_bytes=1, capability=(7, 5)),)}, "cuda", "a T4 is older"),
        ("fused-loss", {"native_ops": False}, "cpu", "not compiled here"),
        ("fused-layers", {"native_ops": False}, "cpu", "not compiled here"),
        ("fused-attention", {"native_ops": False}, "cpu", "not compiled here"),
        ("memory", {"keeps_memory": False}, "cpu", "Linux with glibc only"),
        ("shared-memory", {}, "cpu", "one process below"),
        ("gemm", {"onednn_multiplies": False}, "cpu", "multiplies float32 as fast"),
    ],
)
def test_a_rung_says_why_it_cannot_run(
    key: str, lacks: dict[str, object], device: str, reason: str, workstation: Machine
) -> None:
    machine = dataclasses.replace(workstation, **lacks)  # type: ignore[arg-type]
    assert reason in str(rung(key).why_not(machine, Setting(device=device), StepConfig()))


def test_a_vocabulary_that_is_even_already_is_left_alone(laptop: Machine) -> None:
    shape = dataclasses.replace(PRESETS["gpt2"], vocab_size=50304)
    assert "multiple of 128" in str(rung("vocab").why_not(laptop, Setting(shape=shape), StepConfig()))


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("2", ["start", "sharing"]),
        ("fused-loss,1-2", ["start", "gpu", "sharing", "fused-loss"]),
        ("fused", ["start", "fused-loss", "fused-layers", "fused-attention", "fused-adamw"]),
        ("0-1", ["start", "gpu"]),
        ("", ["start"]),
        (" bf16 , compile ", ["start", "bf16", "compile"]),
    ],
)
def test_rungs_are_chosen_by_number_range_or_name(text: str, keys: list[str]) -> None:
    assert [rung.key for rung in select(text)] == keys


def test_all_means_all() -> None:
    assert tuple(select("all")) == RUNGS


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("flsh", "did you mean 'flash'"),
        ("bf61", "did you mean 'bf16'"),
        ("xyzzy", "known: start, gpu"),
        ("99", "the rungs are 0 to 21"),
        ("fusd", "did you mean 'fused-"),
        ("3-1", "the lower number first"),
    ],
)
def test_an_unknown_rung_is_refused_with_a_hint(text: str, hint: str) -> None:
    with pytest.raises(UsageError, match="rung") as error:
        select(text)
    assert hint in str(error.value)


def test_the_arithmetic_of_a_token_is_that_of_the_matrix_products() -> None:
    """GPT-2 124M by hand: 84.9M weights in the blocks, 38.6M in the head, attention over 1024 positions."""
    by_hand = 6 * (12 * 12 * 768 * 768 + 50257 * 768) + 12 * 12 * 768 * 1024
    assert flops_per_token(PRESETS["gpt2"], 1024) == by_hand


def test_padding_and_sharing_add_no_arithmetic_to_a_token() -> None:
    shape = dataclasses.replace(PRESETS["gpt2"], padded_vocab_size=50304, tie_weights=False)
    assert flops_per_token(shape, 64) == flops_per_token(PRESETS["gpt2"], 64)

"""A ladder that computes nothing: rungs of which the test says how fast they are and how they learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gpt2x.bench.ladder.climb import Climb
from gpt2x.bench.ladder.config import Setting
from gpt2x.bench.ladder.effort import Effort
from gpt2x.bench.ladder.results import Results
from gpt2x.bench.ladder.rungs import RUNGS, Rung
from gpt2x.bench.machine import Gpu, Machine
from gpt2x.model.config import GPTConfig

from .fakes import Bench

TINY = GPTConfig(vocab_size=61, block_size=16, n_layer=2, n_head=2, n_embd=16)


@pytest.fixture
def tiny_setting() -> Setting:
    return Setting(model="tiny", shape=TINY, batch=2, seq=8, micro_batches=4)


@pytest.fixture
def laptop() -> Machine:
    """Two cores with everything that a CPU rung asks for."""
    return Machine(
        cpu="a CPU",
        cores=2,
        instruction_sets=("avx2", "avx512_bf16"),
        memory_bytes=16_000_000_000,
        cpp_compiler="g++",
        gloo=True,
        shares_memory=True,
        native_ops=True,
        onednn_multiplies=True,
        keeps_memory=True,
        bandwidth=2e10,
        peak_flops={"float32": 1e11, "bfloat16": 4e11},
        versions={"gpt2x": "0", "python": "3", "torch": "2"},
    )


@pytest.fixture
def workstation(laptop: Machine) -> Machine:
    """The same with two GPUs."""
    gpu = Gpu(name="a GPU", memory_bytes=32_000_000_000, capability=(8, 6))
    return replace(laptop, gpus=(gpu, gpu), triton=True, memory_bytes=64_000_000_000)


@pytest.fixture
def climb(laptop: Machine, tiny_setting: Setting) -> Callable[..., Results]:
    """Climb a ladder of fake rungs; the clock stands still, so all rounds fit into the budget."""

    def run(
        bench: Bench,
        rungs: tuple[Rung, ...] | list[Rung] = RUNGS,
        *,
        machine: Machine = laptop,
        setting: Setting = tiny_setting,
        effort: Effort | None = None,
        **more: Any,
    ) -> Results:
        results = Results(setting=setting, machine=machine, created="2026-01-01T00:00:00+00:00")
        effort = effort or Effort(steps=3, rounds=2)
        Climb(rungs, results, bench.launch, effort=effort, clock=lambda: 0.0, **more).run()
        return results

    return run

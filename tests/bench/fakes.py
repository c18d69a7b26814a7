"""Stand-ins for the processes in which rungs run: they compute nothing and take no time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gpt2x.bench.ladder.config import StepConfig
from gpt2x.bench.process import WorkerFailed


@dataclass
class Bench:
    """Stands in for the processes: `step_ms` and `losses` by the fields of a step, `broken` by a reason.

    `order` has every round that was measured.
    """

    step_ms: Callable[[StepConfig], float] = lambda config: 100.0
    losses: Callable[[StepConfig], list[float]] = lambda config: [4.1, 4.0, 3.9, 3.8, 3.7, 3.6]
    parameters: Callable[[StepConfig], int] = lambda config: 100 if config.tie_weights else 130
    broken: Callable[[StepConfig], str | None] = lambda config: None
    free_bytes: int = 10_000_000_000
    energy_j: float | None = None
    interrupt: Callable[[StepConfig, int], bool] = lambda config, rounds: False
    launched: list[StepConfig] = field(default_factory=list)
    order: list[StepConfig] = field(default_factory=list)
    warm_steps: list[int] = field(default_factory=list)
    closed: int = 0

    def launch(self, config: StepConfig) -> FakeRunner:
        self.launched.append(config)
        return FakeRunner(self, config)


class FakeRunner:
    def __init__(self, bench: Bench, config: StepConfig) -> None:
        self.bench, self.config, self.rounds = bench, config, 0

    def prepare(self) -> dict[str, Any]:
        reason = self.bench.broken(self.config)
        if reason is not None:
            raise WorkerFailed(reason)
        ms = self.bench.step_ms(self.config)
        return {
            "step_ms": ms,
            "first_step_s": ms / 1000 + (20.0 if self.config.compile else 0.0),
            "build_s": 1.0,
            "parameters": self.bench.parameters(self.config),
            "token_flops": 1e6,
        }

    def measure(self, steps: int, warm_steps: int) -> dict[str, Any]:
        self.rounds += 1
        self.bench.order.append(self.config)
        self.bench.warm_steps.append(warm_steps)
        if self.bench.interrupt(self.config, self.rounds):
            raise KeyboardInterrupt
        ms = self.bench.step_ms(self.config)
        return {
            "samples_ms": [ms] * steps,
            "phases_ms": {f"{name}_ms": [ms / 3] * steps for name in ("forward", "backward", "optimizer")},
            "losses": self.bench.losses(self.config),
            "peak_memory_bytes": 500_000_000,
            "free_bytes": self.bench.free_bytes,
            "energy_j": self.bench.energy_j,
            "wall_s": ms * steps / 1000,
            "machine_cpu_s": 2 * ms * steps / 1000,
            "own_cpu_s": 2 * ms * steps / 1000,
        }

    def close(self) -> None:
        self.bench.closed += 1

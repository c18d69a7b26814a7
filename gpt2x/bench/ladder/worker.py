"""One rung in one process: ``python -m gpt2x.bench.ladder.worker``, spoken to in lines of JSON.

A process of its own keeps a rung's settings (matmul precision, threads, compile caches), its memory and its crashes
away from all others. It reads requests from stdin and replies on stdout:

    {"do": "probe", "device": "auto"}                  -> {"event": "machine", …}
    {"do": "prepare", "config": …, "setting": …, …}    -> {"event": "ready", …}      built, compiled, warmed up
    {"do": "measure", "steps": 5, "warm_steps": 2}     -> {"event": "measured", …}   once for each round
    {"event": "failed", "kind": …, "message": …}       instead, when something went wrong

It ends when stdin does. Whatever libraries print goes to stderr.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from gpt2x.bench import machine
from gpt2x.bench.energy import Meter, find_meter
from gpt2x.bench.ladder.config import Setting, StepConfig
from gpt2x.bench.stats import LONG_STEP_S, MS_PER_SECOND
from gpt2x.bench.worker import Worker, serve_process
from gpt2x.model.config import flops_per_token
from gpt2x.process_memory import peak_memory, reset_peak_memory, shared_memory

if TYPE_CHECKING:
    from gpt2x.bench.ladder.step import TimedStep

WARM_STEPS = 1
"""Steps after the first one (which compiles, and makes the optimizer's state) that count for no time either."""


class RungWorker(Worker):
    """What the process holds between two requests."""

    handles = ("prepare", "measure")

    def __init__(self) -> None:
        self.training: TimedStep | None = None
        self.losses: list[float] = []
        self.meter: Meter | None = None

    def prepare(
        self, config: dict[str, Any], setting: dict[str, Any], tokens: str, rank: int, rendezvous: str
    ) -> dict[str, Any]:
        """Build the model, make the first steps (a compiled model is compiled in the first), start counting memory."""
        start = time.perf_counter()
        import numpy as np
        import torch

        from gpt2x.bench.ladder.step import TimedStep

        step_config, shared = StepConfig(**config), Setting.from_dict(setting)
        if step_config.keep_memory:
            from gpt2x.ops.memory import keep_freed_memory

            keep_freed_memory()  # before anything large is allocated; where it cannot be, the rung does not apply
        if step_config.device == "cpu":
            # torch's own choice, which honours OMP_NUM_THREADS; ranks share it.
            torch.set_num_threads(max(1, torch.get_num_threads() // step_config.world_size))
        if step_config.world_size > 1:
            _join(rendezvous, rank, step_config)
        self.training = TimedStep(step_config, shared, np.load(tokens, mmap_mode="r"), rank=rank)
        built = time.perf_counter()
        self.losses.append(self.training().loss)
        first_step_s = time.perf_counter() - built
        is_long = first_step_s > LONG_STEP_S and not (step_config.compile or step_config.cuda_graphs)
        warm_ms = [self._step().step_ms for _ in range(0 if is_long else WARM_STEPS)]
        self.meter = find_meter(self.training.device.type, _uuid(self.training.device))
        self._reset_peak()
        return {
            "event": "ready",
            "build_s": built - start,
            "first_step_s": first_step_s,
            "step_ms": min(warm_ms, default=first_step_s * MS_PER_SECOND),
            "parameters": self.training.model.num_parameters(),
            "token_flops": flops_per_token(shared.shape, shared.seq),
            "threads": torch.get_num_threads(),
        }

    def measure(self, steps: int, warm_steps: int) -> dict[str, Any]:
        """Make `steps` timed steps, after `warm_steps` that are not timed."""
        assert self.training is not None, "prepare first"
        for _ in range(warm_steps):
            self._step()
        gc.collect()
        gc.disable()  # a collection in the middle of a step would be charged to the rung
        machine_before, own_before = machine.cpu_seconds()
        joules_before = self.meter.joules() if self.meter else 0.0
        start = time.perf_counter()
        try:
            times = [self._step() for _ in range(steps)]
        finally:
            gc.enable()
        wall_s = time.perf_counter() - start
        joules = self.meter.joules() - joules_before if self.meter else None
        machine_after, own_after = machine.cpu_seconds()
        phases = ("forward_ms", "backward_ms", "optimizer_ms")
        return {
            "event": "measured",
            "samples_ms": [t.step_ms for t in times],
            "phases_ms": {name: [getattr(t, name) for t in times] for name in phases},
            "losses": self.losses,
            "wall_s": wall_s,
            "machine_cpu_s": machine_after - machine_before,
            "own_cpu_s": own_after - own_before,
            "energy_j": None if joules is None else joules / steps,
            **self._memory(),
        }

    def _step(self) -> Any:
        assert self.training is not None
        times = self.training()
        self.losses.append(times.loss)
        return times

    def _reset_peak(self) -> None:
        import torch

        assert self.training is not None
        if self.training.device.type == "cuda":
            torch.cuda.empty_cache()  # the next one is built beside this one
            torch.cuda.reset_peak_memory_stats()
        else:
            gc.collect()
            reset_peak_memory()

    def _memory(self) -> dict[str, int]:
        """The peak of the timed steps, and what is still free for others on this device."""
        import torch

        assert self.training is not None
        if self.training.device.type == "cpu":
            return {
                # What all ranks see counts once, with rank 0.
                "peak_memory_bytes": peak_memory() - (shared_memory() if self.training.rank else 0),
                "free_bytes": machine.memory_bytes("MemAvailable"),
            }
        peak = torch.cuda.max_memory_allocated()
        torch.cuda.empty_cache()  # the other rungs' processes wait for it
        return {"peak_memory_bytes": peak, "free_bytes": torch.cuda.mem_get_info()[0]}


def _join(rendezvous: str, rank: int, config: StepConfig) -> None:
    """Meet the other ranks of this rung; a file is the meeting place, so no port can be taken."""
    import torch.distributed as dist

    # The ranks are on one machine: never depend on how its name resolves.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    if config.device == "cuda":
        import torch

        torch.cuda.set_device(rank)
    dist.init_process_group(
        "nccl" if config.device == "cuda" else "gloo",
        init_method=f"file://{rendezvous}",
        rank=rank,
        world_size=config.world_size,
    )


def _uuid(device: Any) -> str:
    """A GPU's name for its driver; nothing for a CPU."""
    import torch

    if device.type != "cuda":
        return ""
    return f"GPU-{getattr(torch.cuda.get_device_properties(device), 'uuid', '')}"


if __name__ == "__main__":
    serve_process(RungWorker())

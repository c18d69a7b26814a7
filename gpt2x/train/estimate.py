"""What a run will need, before it is begun: parameters, operations, memory, disk and time.

Time and memory are not guessed from tables: a few steps are computed with random tokens, on the device and in the way
of the run.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from gpt2x.model import GPT, GPTConfig
from gpt2x.process_memory import peak_memory
from gpt2x.train.average import WeightAverage
from gpt2x.train.checkpoint import bytes_a_parameter
from gpt2x.train.config import TrainConfig
from gpt2x.train.distributed import choose_device
from gpt2x.train.initial import find_initial, initial_tokenizer, shape_from
from gpt2x.train.launch import fair_threads
from gpt2x.train.mfu import flops_a_token
from gpt2x.train.plan import choose_dtype, model_shape, share_batch, step_options, with_vocabulary
from gpt2x.train.step import TrainingStep

GPT2_VOCABULARY = 50257
PROBES = 4
"""Steps that are computed; the first warms up and is not counted."""
SLOW_STEP_S = 20.0
"""Of steps that take longer one is counted: the hiccups of a machine weigh little on it."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will need on one rank."""

    parameters: int
    steps: int | None
    """None where epochs are given: that takes the tokens of the data to know."""
    tokens_a_step: int
    flops_a_step: float
    """Floating-point operations of all matrix products."""
    step_s: float
    """As measured now, for all micro-batches of a step."""
    run_s: float | None
    memory_bytes: int
    """Peak of the process, or on a GPU of what was allocated there."""
    disk_bytes: int
    """The checkpoints that are kept, one while it is written, and the weights on top."""

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return dataclasses.asdict(self)


def estimate(
    config: TrainConfig, ranks: int = 1, tell: Callable[[str], None] = lambda text: None
) -> Estimate:
    """Compute a few steps of the run with random tokens, and say what all of them will need.

    Args:
        config: all settings.
        ranks: how many processes of this machine will share a step; one rank's share is computed, with its share of
            the cores, and nothing is exchanged.
        tell: told what is computed, since a large model takes minutes on a CPU.

    Raises:
        Gpt2xError: the settings cannot work here.

    """
    device = choose_device(config.device)
    if ranks > 1:
        choose_device(config.device, ranks - 1)
        torch.set_num_threads(min(torch.get_num_threads(), fair_threads(ranks)))
    shape = whole_shape(config)
    micro_batch, num_passes = share_batch(config, shape.block_size, ranks)
    dtype, _ = choose_dtype(config.dtype, device)
    probed = min(2, num_passes * ranks)  # the second adds to the gradients of the first, as all others will
    options = step_options(config, device, dtype, world_size=1, num_passes=probed, eot_token=0)
    torch.manual_seed(config.seed)
    training = TrainingStep(GPT(shape).train(), options, device)
    average = WeightAverage(training.model, config.ema) if config.ema else None
    idx = torch.randint(shape.vocab_size, (micro_batch, shape.block_size), device=device)
    tokens = probed * micro_batch * shape.block_size
    tell(f"computing up to {PROBES} steps of {tokens:,} random tokens …")
    seconds: list[float] = []
    while len(seconds) < PROBES and not (
        len(seconds) == 2 and seconds[1] * probed / num_passes > SLOW_STEP_S
    ):
        times = _Times(device)
        training([(idx, idx)] * probed, 1e-6, times.mark)
        if average is not None:
            average.update(1, torch.ones((), dtype=torch.bool, device=device))
        seconds.append(times.of_step(num_passes))
    step_s = statistics.median(seconds[1:])
    parameters = training.model.num_parameters()
    steps = config.steps if config.epochs is None else None
    kept = 1 if not config.save_every else config.keep + 1
    return Estimate(
        parameters=parameters,
        steps=steps,
        tokens_a_step=config.total_batch_tokens,
        flops_a_step=flops_a_token(shape) * config.total_batch_tokens,
        step_s=step_s,
        run_s=None if steps is None else steps * step_s,
        memory_bytes=_peak_memory(device),
        disk_bytes=parameters * (bytes_a_parameter(config.ema) * kept + 4),
    )


class _Times:
    """When the passes of a step, forward and backward together, had been computed; begins when it is made."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.num_marks = device, 0
        self.ends = [self._now()]

    def mark(self) -> None:
        """What `TrainingStep` calls after each forward pass, after each backward pass, and at the end."""
        self.num_marks += 1
        if self.num_marks % 2 == 0:
            self.ends.append(self._now())

    def of_step(self, num_passes: int) -> float:
        """Seconds of a step of so many passes that ends now; the last one stands for those that were not computed."""
        *passes, update = (b - a for a, b in itertools.pairwise([*self.ends, self._now()]))
        return sum(passes) + (num_passes - len(passes)) * passes[-1] + update

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def whole_shape(config: TrainConfig) -> GPTConfig:
    """The whole shape; a vocabulary that is yet to be learned has the size that is asked for."""
    from gpt2x.tokenizer import Tokenizer

    given = None if config.init_from is None else find_initial(config.init_from)
    shape = model_shape(config) if given is None else shape_from(config, given)
    if config.tokenizer == "train":
        size = config.vocab
    elif config.tokenizer == "auto" and given is not None:
        size = initial_tokenizer(given).n_vocab
    else:
        size = GPT2_VOCABULARY if config.tokenizer == "gpt2" else Tokenizer.load(config.tokenizer).n_vocab
    return with_vocabulary(shape, size)


def _peak_memory(device: torch.device) -> int:
    return int(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else peak_memory()

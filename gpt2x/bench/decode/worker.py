"""One way of decoding in one process: ``python -m gpt2x.bench.decode.worker``, spoken to in lines of JSON.

    {"do": "prepare", "way": "int8", "shape": …, …}  -> {"event": "ready", …}      built, one short text written
    {"do": "measure", "tokens": 32}                  -> {"event": "measured", …}   once for each round
    {"do": "look", "device": "auto"}                 -> {"event": "seen", …}       in a process without a model

How it listens and ends is `gpt2x.bench.worker`'s.
"""

from __future__ import annotations

import dataclasses
import functools
import gc
import itertools
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt2x.bench import machine
from gpt2x.bench.stats import MS_PER_SECOND
from gpt2x.bench.worker import Worker, serve_process
from gpt2x.errors import MissingComponentError
from gpt2x.process_memory import peak_memory, reset_peak_memory

if TYPE_CHECKING:
    from gpt2x.model import GPT

OnToken = Callable[[int], None]
"""Hears each token as soon as it is known."""

Write = Callable[[list[int], int, OnToken], None]
"""Continues a prompt greedily by a number of tokens."""

WARM_TOKENS = 3
LIVELY = 80.0
"""Matrices of the blocks are LIVELY / √C times GPT-2's initialisation: as it is, a random model repeats one token."""

READ_BYTES = 2**29
"""The size of the array whose reading measures the bandwidth: far more than a cache holds."""


class DecodeWorker(Worker):
    """What the process holds between two requests."""

    handles = ("look", "prepare", "measure")

    def __init__(self) -> None:
        self.writer: Writer | None = None
        self.prompt: list[int] = []
        self.array: Any = None

    def look(self, device: str, seconds: float = 0.3) -> dict[str, Any]:
        """Which device it is, and how many bytes a second can be read of its memory: the best of several sums."""
        import torch

        from gpt2x.model.device import pick_device

        place = pick_device(device)
        if self.array is None:
            self.array = torch.ones(READ_BYTES // 4, device=place)
        return {
            "event": "seen",
            "device": place.type,
            "name": torch.cuda.get_device_name(place) if place.type == "cuda" else "",
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "bytes_per_second": READ_BYTES / machine.fastest_call(self.array.sum, place.type, seconds),
        }

    def prepare(self, way: str, shape: dict[str, Any], device: str, prompt: int, seed: int) -> dict[str, Any]:
        """Build the model, write a few tokens, start counting memory."""
        import torch

        model = random_model(shape, seed).to(device)
        generator = torch.Generator().manual_seed(seed)
        self.prompt = torch.randint(0, model.config.vocab_size, (prompt,), generator=generator).tolist()
        self.writer = WAYS[way](model)
        del model
        gc.collect()
        self.writer.write(self.prompt, WARM_TOKENS, lambda token: None)
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        else:
            reset_peak_memory()
        return {"event": "ready", "weight_bytes": self.writer.weight_bytes}

    def measure(self, tokens: int) -> dict[str, Any]:
        """Write `tokens` tokens after the prompt, and say how long each of them took."""
        assert self.writer is not None, "prepare first"
        ids: list[int] = []
        times = [time.perf_counter()]

        def on_token(token: int) -> None:
            times.append(time.perf_counter())
            ids.append(token)

        gc.collect()
        gc.disable()  # a collection in the middle would be charged to a token
        cpu_start = time.process_time()
        times[0] = time.perf_counter()
        try:
            self.writer.write(self.prompt, tokens, on_token)
        finally:
            gc.enable()
        steps_ms = [(end - start) * MS_PER_SECOND for start, end in itertools.pairwise(times)]
        return {
            "event": "measured",
            "prompt_ms": steps_ms[0],
            "token_ms": steps_ms[1:],
            "cpu_s": time.process_time() - cpu_start,
            "ids": ids,
            "peak_memory_bytes": self.writer.peak_memory(),
        }


@dataclass(frozen=True, slots=True)
class Writer:
    """A way of decoding, made for one model."""

    write: Write
    weight_bytes: int
    """Bytes of weights that a token reads."""
    device: str

    def peak_memory(self) -> int:
        """The most memory that this process had in use since it was ready, in bytes."""
        if self.device == "cpu":
            return peak_memory()
        import torch

        return int(torch.cuda.max_memory_allocated())


def random_model(shape: dict[str, Any], seed: int) -> GPT:
    """The model that all ways decode, the same in every process; its greedy text is no repetition."""
    import torch

    from gpt2x.model import GPT, GPTConfig

    torch.manual_seed(seed)
    model = GPT(GPTConfig(**shape)).eval()
    with torch.no_grad():
        for name, parameter in model.h.named_parameters():
            if parameter.dim() == 2 and name.endswith("weight"):
                parameter.mul_(LIVELY / math.sqrt(model.config.n_embd))
    return model


# ----------------------------------------------------------------------------------------------------------------
# The ways, each from a model to what writes


def _engine(model: GPT, weights: str | None) -> Writer:
    from gpt2x.generate import GREEDY, Engine

    engine = Engine(model, weights=weights)

    def write(prompt: list[int], tokens: int, on_token: OnToken) -> None:
        for token in engine.generate(prompt, max_new_tokens=tokens, sampling=GREEDY):
            on_token(token)

    return Writer(write, engine.bytes_per_token, engine.device.type)


def _plain(model: GPT) -> Writer:
    """The model's own forward pass with a KV cache, as where there are no native operators."""
    from gpt2x.ops import backend

    with backend.using("reference"):
        return _engine(model, None)


def _naive(model: GPT) -> Writer:
    """The whole text again for each token."""
    from gpt2x.generate import GREEDY
    from gpt2x.generate.engine import naive_tokens

    def write(prompt: list[int], tokens: int, on_token: OnToken) -> None:
        text = list(prompt)
        for _ in range(tokens):
            text += naive_tokens(model, text, max_new_tokens=1, sampling=GREEDY)
            on_token(text[-1])

    return dataclasses.replace(_plain(model), write=write)


def _transformers(model: GPT) -> Writer:
    """`GPT2LMHeadModel.generate` with its cache; a streamer is how it gives tokens as they come."""
    from gpt2x.bench.transformers_model import TransformersModel

    device = model.wte.weight.device
    theirs = TransformersModel(model).inner.eval().to(device)
    theirs.generation_config.eos_token_id = None  # write to the end, as the others do

    def write(prompt: list[int], tokens: int, on_token: OnToken) -> None:
        import torch

        ids = torch.tensor([prompt], device=device)
        theirs.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=tokens,
            do_sample=False,
            use_cache=True,
            pad_token_id=0,
            streamer=_Streamer(on_token),
        )

    return dataclasses.replace(_plain(model), write=write)


def _ctranslate2(model: GPT, compute_type: str) -> Writer:
    """CTranslate2's `Generator`, on as many threads as torch has; it converts transformers' model."""
    import torch

    from gpt2x.bench.transformers_model import TransformersModel

    try:
        import ctranslate2
        from ctranslate2.converters.transformers import GPT2Loader
    except ImportError as error:
        raise MissingComponentError(
            "the peer ct2 needs ctranslate2; install it with pip install ctranslate2"
        ) from error
    spec = GPT2Loader().get_model_spec(TransformersModel(model).inner.eval())
    words = [str(token) for token in range(model.config.num_rows)]
    spec.register_vocabulary(words)
    spec.config.bos_token = spec.config.eos_token = spec.config.unk_token = words[0]
    spec.validate()
    spec.optimize(quantization=None if compute_type == "float32" else compute_type)
    with tempfile.TemporaryDirectory(prefix="gpt2x-ct2-") as folder:
        spec.save(folder)
        weight_bytes = Path(folder, "model.bin").stat().st_size
        generator = ctranslate2.Generator(
            folder, device="cpu", compute_type=compute_type, intra_threads=torch.get_num_threads()
        )

    def write(prompt: list[int], tokens: int, on_token: OnToken) -> None:
        start = [words[token] for token in prompt]
        for step in generator.generate_tokens(start, max_length=tokens, sampling_topk=1, end_token=[]):
            on_token(step.token_id)

    positions = 4 * model.config.block_size * model.config.n_embd  # a token reads one row of them
    return Writer(write, weight_bytes - positions, "cpu")


class _Streamer:
    """Passes on what transformers' `generate` puts: first the prompt, then each token."""

    def __init__(self, on_token: OnToken) -> None:
        self.on_token, self.is_first = on_token, True

    def put(self, ids: Any) -> None:
        """Hear of the prompt (1, T) or of a token (1,)."""
        if not self.is_first:
            self.on_token(int(ids[0]))
        self.is_first = False

    def end(self) -> None:
        """Nothing is held back."""


WAYS: dict[str, Callable[[GPT], Writer]] = {
    "float32": functools.partial(_engine, weights="float32"),
    "bfloat16": functools.partial(_engine, weights="bfloat16"),
    "int8": functools.partial(_engine, weights="int8"),
    "plain": _plain,
    "naive": _naive,
    "hf": _transformers,
    "ct2": functools.partial(_ctranslate2, compute_type="float32"),
    "ct2-int8": functools.partial(_ctranslate2, compute_type="int8"),
}

if __name__ == "__main__":
    serve_process(DecodeWorker())

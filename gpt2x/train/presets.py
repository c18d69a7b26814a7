"""What can be trained with one word: presets as data, each with what to expect. Loads no torch.

A preset is a few settings over the defaults of `TrainConfig`; the config file, the environment and flags go over it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt2x.errors import UsageError, quoted
from gpt2x.paths import data_home, runs_dir


@dataclass(frozen=True, slots=True)
class Preset:
    """A named set of settings: what it makes, and what to expect of it."""

    name: str
    what: str
    expect: str
    settings: Mapping[str, Any]
    own: bool = False
    """True for a model that gpt2x trains for itself; it lives in the data home instead of in runs/."""

    @property
    def default_out(self) -> Path:
        """The run folder where none is given."""
        return (data_home() if self.own else runs_dir()) / self.name


PRESETS = (
    Preset(
        name="first-song",
        what="a small lyric writer from the packaged songs, in the shortest time",
        expect="about a minute on 2 cores",
        # Small batches and no dropout: one minute is a pass over the songs, and the model is still learning to
        # spell. Narrow models see more: when there were 165 songs, width 256 ended at 1.01 nats a character of training
        # text after 66 s of one core, 192 at 0.82 after 71 s.
        settings=dict(
            data="songs", vocab=1536, n_layer=2, n_head=4, n_embd=192, block_size=128, dropout=0.0,
            batch_size=4, total_batch_tokens=512, steps=2400, lr=3e-3, min_lr=1e-4, warmup=40,
            beta2=0.99, eval_every=600, save_every=0, keep=1, log_every=100, publish="last",
        ),
        own=True,
    ),
    Preset(
        name="lyrics",
        what="a lyric writer from the packaged songs, or from --data",
        expect="a few minutes on 2 cores",
        settings=dict(
            data="songs", vocab=2048, n_layer=3, n_head=4, n_embd=256, block_size=256, dropout=0.1,
            attention_dropout=0.0, batch_size=8, total_batch_tokens=2048, steps=1500, lr=2e-3, min_lr=1e-4,
            warmup=50, beta2=0.99, eval_every=250, save_every=250, log_every=25,
        ),
    ),
    Preset(
        name="text",
        what="a writer of any text, from tiny Shakespeare or from --data",
        expect="a few minutes on 2 cores",
        settings=dict(
            data="tiny-shakespeare", vocab=2048, n_layer=3, n_head=4, n_embd=256, block_size=256, dropout=0.1,
            attention_dropout=0.0, batch_size=8, total_batch_tokens=2048, steps=1500, lr=2e-3, min_lr=1e-4,
            warmup=50, beta2=0.99, eval_every=250, save_every=250, log_every=25,
        ),
    ),
    Preset(
        name="tokens",
        what="a small GPT-2 from token files of GPT-2's vocabulary, which --data names",
        expect="a few minutes on 2 cores; for more, give --model gpt2",
        settings=dict(
            data="", tokenizer="gpt2", n_layer=3, n_head=4, n_embd=256, block_size=256, dropout=0.0,
            batch_size=8, total_batch_tokens=2048, steps=1500, lr=2e-3, min_lr=1e-4, warmup=50,
            beta2=0.99, eval_every=250, save_every=250, log_every=25,
        ),
    ),
    Preset(
        name="gpt2",
        what="the playground's lyric writer: GPT-2 124M on the Spotify songs, 50 epochs, 524,288 tokens a step",
        expect="needs a GPU; torchrun shares it among several",
        settings=dict(
            data="spotify", tokenizer="gpt2", model="gpt2", block_size=1024, batch_size=16,
            total_batch_tokens=524_288, epochs=50, lr=6e-4, min_lr=6e-5, warmup=10, dtype="auto", compile=True,
            eval_every=50, save_every=50, log_every=1,
        ),
    ),
)  # fmt: skip


def find_preset(name: str) -> Preset:
    """The preset of a name.

    Raises:
        UsageError: there is none; the nearest name is suggested.

    """
    names = [preset.name for preset in PRESETS]
    if name in names:
        return PRESETS[names.index(name)]
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"
    raise UsageError(f"unknown preset {quoted(name)}; {hint}")

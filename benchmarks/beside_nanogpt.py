"""Our trainer beside nanoGPT's own ``train.py``: the same songs, ids, batch and minutes; then the same held-out tokens.

    python benchmarks/beside_nanogpt.py NANOGPT SONGS.csv [--minutes 5] [--ours "…" --ours "…"] [--theirs "…" …]

NANOGPT is a checkout of github.com/karpathy/nanoGPT. A vocabulary is learned from the songs, and their ids are
written in nanoGPT's own format, which ``gpt2x train tokens`` reads too. Each trainer first runs for `PROBE_STEPS`, so
that its schedule can be laid out to end after the given minutes; compiling, validating and saving do not count. All
runs have the same number of threads and the machine to themselves, one after the other. The losses are computed here,
for all of them over the same windows at the end of the stream.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pickle
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch

from gpt2x.data.lyrics import iterate_songs, song_document
from gpt2x.model import load_folder
from gpt2x.tokenizer import train

LAYERS, HEADS, WIDTH, BLOCK, SEQUENCES = 6, 8, 256, 128, 16
VOCAB = 4096
HELD_OUT = 0.03
"""Share of the songs, the last ones, that nobody trains on."""

WINDOWS = 400
PROBE_STEPS = 40
SETTLED = 10
"""First steps of a probe, which are not counted."""

HOME = Path(__file__).resolve().parent.parent
OURS = ("", "--optimizer muon --muon-lr 0.02", "--modern")
THEIRS = ("--learning_rate=1e-3 --min_lr=1e-4",)


@dataclass
class Run:
    """What came of one trainer."""

    title: str
    parameters: int
    steps: int
    seconds: float
    loss: float

    def row(self, first: Run) -> str:
        """A line of the table."""
        tokens = self.steps * SEQUENCES * BLOCK
        return (
            f"| {self.title} | {self.parameters / 1e6:.2f}M | {self.steps:,} | {self.seconds / 60:.1f} | "
            f"{tokens / self.seconds:,.0f} | {self.loss:.3f} | {self.loss - first.loss:+.3f} |"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("nanogpt", type=Path)
    parser.add_argument("songs", type=Path)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--ours", action="append", help="settings of a run of ours; may be repeated")
    parser.add_argument("--theirs", action="append", help="settings of a run of nanoGPT's; may be repeated")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_ids(given.songs, folder)
        seconds = given.minutes * 60
        runs = [nanogpt(given.nanogpt, folder, words, seconds) for words in given.theirs or THEIRS]
        runs += [ours(folder, words, seconds) for words in given.ours or OURS]
    print("| trainer | parameters | steps | minutes | tokens/s | held-out loss, nats | against nanoGPT |")
    print("|---|---|---|---|---|---|---|")
    best = min(runs[: len(given.theirs or THEIRS)], key=lambda run: run.loss)
    for run in runs:
        print(run.row(best))


def write_ids(songs: Path, folder: Path) -> None:
    """``data/train.bin``, ``data/val.bin`` and the vocabulary that made them."""
    texts = [song_document(song) for song in iterate_songs(songs)]
    tokenizer = train(texts, VOCAB)
    assert tokenizer.eot_token is not None
    ids = [np.asarray([*tokenizer.encode_ordinary(text), tokenizer.eot_token], np.uint16) for text in texts]
    cut = round(len(ids) * (1 - HELD_OUT))
    (folder / "data").mkdir()
    np.concatenate(ids[:cut]).tofile(folder / "data" / "train.bin")
    np.concatenate(ids[cut:]).tofile(folder / "data" / "val.bin")
    tokenizer.save(folder / "tokenizer.json")
    with (folder / "data" / "meta.pkl").open("wb") as file:  # without it nanoGPT takes GPT-2's vocabulary
        pickle.dump({"vocab_size": tokenizer.n_vocab}, file)
    say(f"{len(texts):,} songs, {sum(map(len, ids)):,} ids")


def nanogpt(home: Path, folder: Path, words: str, seconds: float) -> Run:
    """Train with nanoGPT's ``train.py`` and take its loss on the held-out windows."""
    data = home / "data" / "gpt2x"
    data.mkdir(exist_ok=True)
    for file in ("train.bin", "val.bin", "meta.pkl"):
        (data / file).unlink(missing_ok=True)
        (data / file).symlink_to(folder / "data" / file)
    shape = (
        f"--n_layer={LAYERS} --n_head={HEADS} --n_embd={WIDTH} --block_size={BLOCK} --bias=True --dropout=0.0"
    )
    batch = f"--batch_size={SEQUENCES} --gradient_accumulation_steps=1 --dataset=gpt2x --device=cpu --dtype=float32"

    def train_for(steps: int) -> list[float]:
        lengths = f"--max_iters={steps} --lr_decay_iters={steps} --warmup_iters={warmup(steps)}"
        rest = f"--eval_interval={steps} --eval_iters=1 --out_dir={folder / 'nanogpt'} --log_interval=1"
        command = [sys.executable, "train.py", *f"{shape} {batch} {lengths} {rest} {words}".split()]
        talk = checked(command, home)
        return [float(found) for found in re.findall(r"time ([\d.]+)ms", talk)]

    steps = enough(median(train_for(PROBE_STEPS)[SETTLED:]), seconds)
    say(f"nanoGPT {words}: {steps} steps")
    times = train_for(steps)[:-1]  # it makes one step more than it saves
    times[0] = median(times)  # in which it compiles
    saved = torch.load(folder / "nanogpt" / "ckpt.pt", weights_only=True)
    sys.path.insert(0, str(home))
    from model import GPT, GPTConfig  # type: ignore[import-not-found]  # nanoGPT's

    model = GPT(GPTConfig(**saved["model_args"]))
    model.load_state_dict(
        {name.removeprefix("_orig_mod."): tensor for name, tensor in saved["model"].items()}
    )
    count = sum(parameter.numel() for parameter in model.parameters())
    loss = held_out_loss(lambda idx, targets: float(model(idx, targets)[1]), folder)
    return told(Run(f"nanoGPT `{words}`", count, steps, sum(times) / 1000, loss))


def ours(folder: Path, words: str, seconds: float) -> Run:
    """The same of our trainer."""
    out = folder / "ours"
    shape = f"--n-layer {LAYERS} --n-head {HEADS} --n-embd {WIDTH} --block-size {BLOCK} --dropout 0"
    batch = f"--batch-size {SEQUENCES} --total-batch-tokens {SEQUENCES * BLOCK}"
    data = f"--data {folder / 'data'} --tokenizer {folder / 'tokenizer.json'} --publish last"

    def train_for(steps: int) -> float:
        lengths = f"--steps {steps} --warmup {warmup(steps)} --eval-every 0 --save-every 0 --eval-batches 1"
        flat = f"{shape} {batch} {data} {lengths} --overwrite --out {out} --json".split()
        talk = checked([sys.executable, "-m", "gpt2x.train", "tokens", *flat, *shlex.split(words)], HOME)
        return float(json.loads(talk)["seconds"])

    steps = enough(1000 * train_for(PROBE_STEPS) / PROBE_STEPS, seconds)
    say(f"gpt2x {words}: {steps} steps")
    took = train_for(steps)
    model, _ = load_folder(out)
    model.eval()
    loss = held_out_loss(lambda idx, targets: float(model(idx, targets)[1]), folder)
    return told(Run(f"gpt2x `{words or 'its defaults'}`", model.num_parameters(), steps, took, loss))


def told(run: Run) -> Run:
    """The same, said to those who wait."""
    say(run.row(run))
    return run


@torch.no_grad()
def held_out_loss(loss_of: Callable[[torch.Tensor, torch.Tensor], float], folder: Path) -> float:
    """The mean over `WINDOWS` windows, spread over all held-out ids, in float32."""
    ids = np.fromfile(folder / "data" / "val.bin", np.uint16).astype(np.int64)
    starts = np.linspace(0, len(ids) - BLOCK - 1, WINDOWS).astype(np.int64)
    losses = []
    for some in np.array_split(starts, math.ceil(WINDOWS / 20)):
        windows = torch.from_numpy(np.stack([ids[start : start + BLOCK + 1] for start in some]))
        losses += [loss_of(windows[:, :-1].contiguous(), windows[:, 1:].contiguous())] * len(some)
    return float(np.mean(losses))


def enough(step_ms: float, seconds: float) -> int:
    """How many steps take so long."""
    return max(2 * PROBE_STEPS, round(1000 * seconds / step_ms))


def warmup(steps: int) -> int:
    """Alike for all."""
    return max(1, steps // 20)


def checked(command: list[str], folder: Path) -> str:
    """A command's stdout; its talk is shown only if it fails."""
    environment = {**os.environ, "PYTHONPATH": str(HOME)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return done.stdout


def say(text: str) -> None:
    """To those who wait."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

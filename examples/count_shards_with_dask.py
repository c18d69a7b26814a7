"""Learn a vocabulary from shards that many machines count: the counting runs on Dask, the learning here.

    pip install dask distributed
    python examples/count_shards_with_dask.py --vocab 32000 --out bpe-32000 shard-*.txt.xz
    python examples/count_shards_with_dask.py --scheduler tcp://head:8786 --vocab 32000 --out bpe-32000 /shared/*.txt

A worker counts one shard and writes its counts beside it; what travels over the network is a file name. The counts
add up to those of all the text, so the merges are those of one machine that reads everything, byte for byte. Any other
engine that calls a function for each shard will do as well: `count_shard` knows nothing of Dask.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path

import dask

from gpt2x.errors import InputDataError
from gpt2x.tokenizer import Corpus, Tokenizer, training


def count_shard(shard: Path, pattern: str = "gpt2") -> Path:
    """Count the pieces of one file; returns where the counts are.

    A shard whose counts are there already is not counted again, so that an interrupted run goes on where it stopped.
    """
    counts = shard.with_name(shard.name + ".counts")
    if not counts.exists():  # files of counts appear whole or not at all
        corpus = Corpus(pattern, num_threads=1)  # there is a worker for each core
        corpus.add_file(shard)
        corpus.save_counts(counts)
    return counts


def learn(shards: Sequence[Path], vocab_size: int, name: str, scheduler: str = "processes") -> Tokenizer:
    """Count all shards with Dask, add the counts up and learn from the sum."""
    tasks = [dask.delayed(count_shard)(shard) for shard in shards]
    with connect(scheduler):
        all_counts = dask.compute(*tasks, scheduler=None if ":" in scheduler else scheduler)
    corpus = Corpus()
    for counts in all_counts:
        corpus.add_counts(counts)
    return training.Plan.of([vocab_size]).learn(corpus, [name])[0]


def connect(scheduler: str) -> contextlib.AbstractContextManager[object]:
    """A running cluster, if `scheduler` is the address of one."""
    if ":" not in scheduler:
        return contextlib.nullcontext()
    from dask.distributed import Client

    return Client(scheduler)


def main() -> None:
    """Read the command line and save the vocabulary."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "shards", nargs="+", type=Path, help="UTF-8 text files, .xz and .gz too, that all workers see"
    )
    parser.add_argument("--vocab", type=int, default=8000)
    parser.add_argument("--out", type=Path, default=Path("bpe-dask"))
    parser.add_argument(
        "--scheduler", default="processes", help="processes, threads, or the address of a cluster"
    )
    options = parser.parse_args()
    try:
        tokenizer = learn(options.shards, options.vocab, options.out.name, options.scheduler)
    except InputDataError as error:
        parser.error(f"{error} (give a smaller --vocab, or more text)")
    tokenizer.save(options.out)
    print(f"{tokenizer.n_vocab} ids in {options.out}/")


if __name__ == "__main__":
    main()

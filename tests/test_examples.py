"""The programs in examples/ do what their first lines say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpt2x.data.lyrics import read_songs, song_document
from gpt2x.tokenizer import train_files

ROOT = Path(__file__).parent.parent


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    songs = [song_document(song) for song in read_songs()]
    paths = [tmp_path / f"shard-{number}.txt" for number in range(4)]
    for number, path in enumerate(paths):
        path.write_text("\n\n".join(songs[number::4]), encoding="utf-8")
    return paths


def run_dask(*arguments: object) -> subprocess.CompletedProcess[str]:
    program = ROOT / "examples" / "count_shards_with_dask.py"
    return subprocess.run(
        [sys.executable, str(program), *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("scheduler", ["processes", "threads"])
def test_dask_counts_shards_to_the_vocabulary_of_one_machine(
    shards: list[Path], tmp_path: Path, scheduler: str
) -> None:
    pytest.importorskip("dask")
    done = run_dask("--scheduler", scheduler, "--vocab", 700, "--out", tmp_path / "together", *shards)
    assert done.returncode == 0, done.stderr
    train_files(shards, 700, name="together").save(tmp_path / "alone" / "together")
    for name in ("tokenizer.json", "vocab.tiktoken", "tokenizer_config.json"):
        together = (tmp_path / "together" / name).read_bytes()
        assert together == (tmp_path / "alone" / "together" / name).read_bytes()
    assert sorted(tmp_path.glob("*.counts")) == [path.with_name(path.name + ".counts") for path in shards]


def test_dask_goes_on_with_the_counts_that_are_there(shards: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("dask")
    run_dask("--scheduler", "threads", "--vocab", 300, "--out", tmp_path / "first", *shards)
    for shard in shards:
        shard.unlink()
    done = run_dask("--scheduler", "threads", "--vocab", 300, "--out", tmp_path / "second", *shards)
    assert done.returncode == 0, done.stderr
    ranks = [(tmp_path / name / "vocab.tiktoken").read_bytes() for name in ("first", "second")]
    assert ranks[0] == ranks[1]


def test_dask_runs_it_on_a_cluster(shards: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    cluster = subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert cluster.stdout is not None
        address = cluster.stdout.readline().strip()
        done = run_dask("--scheduler", address, "--vocab", 700, "--out", tmp_path / "out", *shards)
    finally:
        cluster.communicate("stop\n", timeout=60)
    assert done.returncode == 0, done.stderr
    expected = train_files(shards, 700).vocabulary.rank_file
    assert (tmp_path / "out" / "vocab.tiktoken").read_bytes() == expected


CLUSTER = """
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        input()
"""

"""`gpt2x bench bpe --train`: the same merges are asked of every trainer, and where they differ the table says why."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gpt2x.bench.bpe.encode.peers import find_function
from gpt2x.bench.bpe.encode.results import ALL, ONE, TIMED_OUT
from gpt2x.bench.bpe.training import corpus, merges, report
from gpt2x.bench.bpe.training.measure import Effort, bench_training
from gpt2x.bench.bpe.training.merges import DIFFERS, EQUAL, KNOWN, Judge, Learned, Verdict, first_difference
from gpt2x.bench.bpe.training.results import Cell, TrainResults
from gpt2x.bench.bpe.training.trainers import BASE, TRAINERS, Job, Trainer, select
from gpt2x.bench.bpe.training.worker import TrainerWorker, read_merges
from gpt2x.bench.interleave import Listener
from gpt2x.bench.process import run_worker, worker_environment
from gpt2x.bench.records import FAILED, SKIPPED
from gpt2x.cli.app import app
from gpt2x.errors import InputDataError, UsageError
from tests.bench.bpe.training.fake_trainers import ABSENT, FAKES

ROOT = Path(__file__).parents[4]
# Lines that end with blanks or are empty, and bytes outside ASCII, so that every way of learning gives other merges.
TEXT = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. 雨が降る、歌が聞こえる\n"
TEXT += "".join(
    f"it's {word}ing again, isn't it?{' ' * (i % 3)}\n\n\n"
    for i, word in enumerate(["rain", "sing", "é中"] * 9)
)
NUM_MERGES = 45
TINY = Effort(
    small_bytes=900, small_vocab=256 + NUM_MERGES, large_vocab=256 + NUM_MERGES, rounds=2, timeout_s=60
)


@pytest.fixture(autouse=True)
def _workers_find_the_fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def book(tmp_path: Path) -> Path:
    (tmp_path / "book.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path / "book.txt"


def run(book: Path, *trainers: Trainer, effort: Effort = TINY) -> TrainResults:
    return bench_training(trainers, data=[book], effort=effort)


def cell(results: TrainResults, trainer: str, task: str = "large") -> Cell:
    found = results.cell(task, trainer)
    assert found is not None
    return found


# ----------------------------------------------------------------------------------------------------------------
# Whole runs


def test_every_trainer_gets_both_tasks_in_every_round_and_is_compared(book: Path) -> None:
    base = replace(FAKES["by_lines"], name=BASE)
    results = run(book, base, *(FAKES[name] for name in ("right", "only_tokens", "raw_bytes")), ABSENT)
    assert results.complete
    small, large = results.tasks
    assert (small.threads, large.threads) == (ONE, ALL)
    assert (small.num_bytes, large.num_bytes) == (900, len(TEXT.encode()))
    for task in results.tasks:
        for name in (BASE, "right", "only_tokens", "raw_bytes"):
            found = cell(results, name, task.name)
            assert len(found.samples_s) == len(found.grown_bytes) == 2
            assert found.num_merges == NUM_MERGES
    assert cell(results, "absent").status == SKIPPED
    assert cell(results, "right").verdict == cell(results, "only_tokens").verdict == Verdict(EQUAL)
    for name, reason in ((BASE, "it takes each line as a text"), ("raw_bytes", merges.OTHER_WAYS[1].what)):
        verdict = cell(results, name).verdict
        assert verdict is not None
        assert (verdict.kind, verdict.reason) == (KNOWN, reason)
    ours = cell(results, "right")
    assert results.ratio(ours) == pytest.approx(cell(results, BASE).seconds / ours.seconds)

    shown = report.as_text(results)
    assert "absent            not installed" in shown
    assert "it takes each line as a text; ours, learned that way, are the same" in shown
    assert "900 bytes, 301 tokens, 1 core; the beginning of book.txt" in shown
    assert "| right |" in report.as_markdown(results)


def test_trainers_that_raise_hang_or_crash_are_shown_so_and_break_nothing(book: Path) -> None:
    effort = replace(TINY, timeout_s=3.0)
    results = run(book, *(FAKES[name] for name in ("raising", "hanging", "crashing", "right")), effort=effort)
    assert (cell(results, "raising").status, cell(results, "hanging").status) == (FAILED, TIMED_OUT)
    assert cell(results, "raising").reason == "ValueError: cannot learn this"
    assert "SIGSEGV" in cell(results, "crashing").reason
    assert cell(results, "right").verdict == Verdict(EQUAL)
    assert results.ratio(cell(results, "right")) is None, "there is nothing to compare with"
    shown = report.as_text(results)
    assert "> 3" in shown
    assert "raising: ValueError: cannot learn this" in shown


def test_a_slow_trainer_is_measured_once_and_no_round_is_begun_that_would_end_too_late(book: Path) -> None:
    once = run(book, FAKES["right"], effort=replace(TINY, share_s=1e-9, rounds=3))
    assert len(cell(once, "right").samples_s) == 1
    late = run(book, FAKES["right"], effort=replace(TINY, budget_s=0.0, rounds=3))
    assert len(cell(late, "right").samples_s) == 1
    assert late.complete


def test_what_is_finished_is_shown_after_an_interrupt(book: Path) -> None:
    class Impatient(Listener):
        def stage(self, text: str) -> None:
            if "round 2" in text:
                raise KeyboardInterrupt

    shown: list[TrainResults] = []
    with pytest.raises(KeyboardInterrupt):
        bench_training([FAKES["right"]], data=[book], effort=TINY, listener=Impatient(), show=shown.append)
    assert not shown[0].complete
    assert "Interrupted" in report.as_text(shown[0])


def test_the_command_writes_every_sample_and_a_page(
    book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpt2x.bench.bpe.training.measure.QUICK", TINY)
    monkeypatch.setattr("gpt2x.bench.bpe.training.trainers.select", lambda names: [FAKES["right"], ABSENT])
    arguments = ["bench", "bpe", "--train", "--quick", str(book), "--json", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    saved = json.loads((tmp_path / "out" / "results.json").read_text())
    assert saved == json.loads(done.stdout)
    assert (saved["format"], saved["schema"], saved["complete"]) == ("gpt2x-bench-bpe-train", 1, True)
    assert [task["vocab_size"] for task in saved["tasks"]] == [301, 301]
    measured = [found for found in saved["cells"] if found["trainer"] == "right"]
    assert all(found["verdict"]["kind"] == EQUAL for found in measured)
    assert all(len(found["samples_s"]) == 2 and found["seconds"] > 0 for found in measured)
    assert "| right |" in (tmp_path / "out" / "README.md").read_text()


def test_the_command_refuses_what_belongs_to_encoding() -> None:
    done = CliRunner().invoke(app, ["bench", "bpe", "--train", "--inputs", "lyrics"])
    assert done.exit_code == 2
    assert "--inputs lyrics is for encoding" in done.stderr


# ----------------------------------------------------------------------------------------------------------------
# Trainers


@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda trainer: trainer.name)
def test_every_trainer_learns_as_many_merges_in_a_way_that_is_known(trainer: Trainer, book: Path) -> None:
    if trainer.version is None:
        pytest.skip(f"{trainer.distribution} is not installed")
    training = trainer.prepare(Job(file=book, num_merges=NUM_MERGES, threads=1))
    found = training.merges(training.learn())
    assert len(found) == NUM_MERGES
    assert all(len(b"".join(merge)) > 1 for merge in found)
    verdict = Judge(book, NUM_MERGES).judge(found)
    assert verdict.kind in (EQUAL, KNOWN), verdict
    if trainer.distribution == "gpt2x" or trainer.name == "tokenizers, text":
        assert verdict.kind == EQUAL


def test_trainers_are_chosen_by_library_and_the_two_that_are_compared_always_take_part() -> None:
    assert select("all") == list(TRAINERS)
    assert {trainer.distribution for trainer in select("gigabpe")} == {"tokenizers", "gpt2x", "gigabpe"}
    with pytest.raises(
        UsageError, match="--peers 'tiktoken' is unknown among trainers; known: all, tokenizers"
    ):
        select("tiktoken")


def test_a_worker_finds_a_trainer_by_its_address() -> None:
    for trainer in TRAINERS:
        assert find_function(trainer.address) is trainer.prepare


def test_the_parts_that_iterators_get_are_the_whole_text(tmp_path: Path) -> None:
    text = TEXT * 400
    (tmp_path / "long.txt").write_text(text, encoding="utf-8")
    chunks = Job(file=tmp_path / "long.txt", num_merges=1, threads=1).read_chunks()
    assert len(chunks) > 2
    assert "".join(chunks) == text


def request(trainer: Trainer, book: Path, merges_file: str = "") -> dict[str, object]:
    from gpt2x.bench.bpe.encode.measure import cores_for

    return {
        "do": "train",
        "trainer": trainer.address,
        "file": str(book),
        "num_merges": NUM_MERGES,
        "cores": cores_for("all"),  # this is the process of the tests
        "merges": merges_file,
    }


def test_a_worker_keeps_the_merges(book: Path, tmp_path: Path) -> None:
    assert (
        TrainerWorker().handle(request(FAKES["right"], book, str(tmp_path / "merges")))["num_merges"]
        == NUM_MERGES
    )
    assert Judge(book, NUM_MERGES).judge(read_merges(tmp_path / "merges")) == Verdict(EQUAL)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak is that of the whole process")
def test_a_worker_tells_how_far_memory_rose(book: Path, tmp_path: Path) -> None:
    # In a process of its own, as in a measurement: this one may hold freed memory that would serve again.
    module = "gpt2x.bench.bpe.training.worker"
    process = run_worker(module, worker_environment(tmp_path, None), tmp_path / "log")
    try:
        process.send(request(FAKES["greedy"], book))
        grown = process.receive(time.monotonic() + 60)["grown_bytes"]
    finally:
        process.kill()
    assert 40_000_000 < grown < 80_000_000


# ----------------------------------------------------------------------------------------------------------------
# Merges


def test_the_first_merge_that_differs_is_named_with_what_was_merged(book: Path) -> None:
    judge = Judge(book, NUM_MERGES)
    right = list(judge.learned().merges)
    swapped = [right[0], (b"\x00", b"\x01"), *right[2:]]
    verdict = judge.judge(swapped)
    assert (verdict.kind, verdict.first_difference) == (DIFFERS, 1)
    assert verdict.reason.startswith("Ā + ā instead of ")
    assert judge.judge(right[:-1]) == Verdict(
        DIFFERS, NUM_MERGES - 1, f"there are {NUM_MERGES - 1} instead of {NUM_MERGES}"
    )


def test_a_tie_that_is_broken_in_another_way_is_called_so() -> None:
    ours = Learned([(b"a", b"b"), (b"c", b"d"), (b"e", b"f")], [9, 4, 4])
    judge = Judge(Path("never read"), 3)
    judge._learned = dict.fromkeys([merges.OUR_WAY, *merges.OTHER_WAYS], ours)
    assert (
        judge.judge([(b"a", b"b"), (b"e", b"f"), (b"c", b"d")]).reason
        == "e + f instead of c + d, which occurs as often"
    )
    assert judge.judge([(b"c", b"d"), (b"a", b"b"), (b"e", b"f")]).reason == "c + d instead of a + b"


def test_a_token_alone_is_compared_with_both_parts() -> None:
    assert first_difference([(b"abc",)], [(b"ab", b"c")]) is None
    assert first_difference([(b"a", b"bc")], [(b"ab", b"c")]) == 0


# ----------------------------------------------------------------------------------------------------------------
# Texts


def test_without_files_there_are_two_texts_of_what_every_machine_has() -> None:
    small, large = corpus.gather([], 50_000, 400_000)
    assert (len(small.text.encode()), len(large.text.encode())) == (50_000, 400_000)
    assert "songs" in small.what
    assert "sources" in large.what


def test_the_smaller_text_is_the_beginning_of_the_larger_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("low lower")
    (tmp_path / "b.jsonl").write_text('{"text": "lowest"}\n')
    small, large = corpus.gather([tmp_path / "a.txt", tmp_path / "b.jsonl"], 5, None)
    assert (small.text, small.what) == ("low l", "the beginning of a.txt, b.jsonl")
    assert (large.text, large.what) == ("low lower\n\nlowest", "a.txt, b.jsonl")
    with pytest.raises(InputDataError, match="is empty"):
        (tmp_path / "a.txt").write_text(" \n")
        corpus.gather([tmp_path / "a.txt"], 5, None)


def test_nothing_here_loads_torch() -> None:
    program = (
        "import sys, gpt2x.bench.bpe.training.measure, gpt2x.bench.bpe.training.report\n"
        "import gpt2x.bench.bpe.training.worker\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=ROOT)

"""`gpt2x bpe train` and `gpt2x bpe count-pieces`: several sizes, going on, counts, and everything that can be wrong."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiktoken
import tokenizers
from tiktoken.load import load_tiktoken_bpe

from gpt2x.data.lyrics import read_songs, song_document
from gpt2x.tokenizer import Tokenizer, patterns, train
from tests.cli.conftest import Run

COMMAND = "bpe"
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def _alone(alone: Path) -> None:
    """Every test here works in its own folder."""


@pytest.fixture(scope="module")
def songs() -> list[str]:
    return [song_document(song) for song in read_songs()]


@pytest.fixture
def shards(songs: list[str], alone: Path) -> list[str]:
    """The packaged songs as three files, in the current folder."""
    names = ["a.txt", "b.txt", "c.txt"]
    for number, name in enumerate(names):
        Path(name).write_text("\n\n".join(songs[number::3]), encoding="utf-8")
    return names


def ranks_in(folder: str) -> bytes:
    return Path(folder, "vocab.tiktoken").read_bytes()


def folders() -> list[str]:
    return sorted(path.name for path in Path().iterdir() if path.is_dir())


class TestSizes:
    def test_come_from_one_run_into_a_folder_each(self, run: Run, shards: list[str]) -> None:
        code, out, err = run("train", "--vocab", "512,1k,1Ki", *shards)
        assert (code, err) == (0, "reading a.txt\nreading b.txt\nreading c.txt\n")
        assert folders() == ["bpe-1000", "bpe-1024", "bpe-512"]
        assert [line.split()[0] for line in out.splitlines()[4:]] == ["512", "1000", "1024"]
        for size in (512, 1000, 1024):
            run("train", "--vocab", size, "--out", "alone", *shards)
            assert ranks_in("alone") == ranks_in(f"bpe-{size}")
            assert Tokenizer.load(f"bpe-{size}").name == f"bpe-{size}"
            assert Tokenizer.load(f"bpe-{size}").eot_token == size - 1

    def test_with_a_name_of_their_own(self, run: Run, shards: list[str]) -> None:
        assert run("train", "--vocab", "300,400", "--out", "deep/mine", *shards)[0] == 0
        assert sorted(path.name for path in Path("deep").iterdir()) == ["mine-300", "mine-400"]

    def test_are_reported_as_json(self, run: Run, shards: list[str]) -> None:
        report = json.loads(run("train", "--vocab", "400,300", "--json", *shards)[1])
        assert [row["vocab_size"] for row in report["vocabularies"]] == [300, 400]
        assert [row["out"] for row in report["vocabularies"]] == ["bpe-300", "bpe-400"]
        assert {key: report[key] for key in report["vocabularies"][1]} == report["vocabularies"][1]
        texts = [Path(name).read_text(encoding="utf-8") for name in shards]
        for row in report["vocabularies"]:
            assert row["tokens"] == sum(map(Tokenizer.load(row["out"]).count, texts))
        assert report["bytes"] == sum(len(text.encode()) for text in texts)
        assert (report["pattern"], report["unicode_version"], report["split_lines"]) == (
            "gpt2",
            "16.0.0",
            False,
        )

    def test_that_the_text_cannot_give_leave_nothing(self, run: Run) -> None:
        Path("tiny.txt").write_text("abc abc", encoding="utf-8")
        code, out, err = run("train", "--vocab", "258,300", "tiny.txt")
        assert (code, out) == (3, "")
        assert "gives only 3 merges: ask for a vocabulary of at most 260 (--vocab 260), allow fewer" in err
        assert folders() == []
        code, _, err = run("train", "--vocab", "258,300", "--allow-fewer", "tiny.txt")
        assert code == 0
        assert "the text gave only 3 merges instead of 43" in err
        assert [Tokenizer.load(name).n_vocab for name in ("bpe-258", "bpe-300")] == [258, 260]


class TestContinuing:
    def test_equals_one_run(self, run: Run, shards: list[str]) -> None:
        run("train", "--vocab", 700, "--special", "<a>", "--special", "<b>", "--out", "whole", *shards)
        run("train", "--vocab", 400, "--special", "<a>", "--special", "<b>", "--out", "first", *shards)
        code, out, _ = run("train", "--vocab", 700, "--continue-from", "first", "--out", "second", *shards)
        assert code == 0
        assert "700 ids: 256 bytes, 442 merges, 2 special" in out
        for name in ("vocab.tiktoken", "tokenizer.json"):
            assert Path("second", name).read_bytes() == Path("whole", name).read_bytes()

    def test_goes_on_with_published_vocabularies(
        self, run: Run, shared_data: Callable[[str], Path], shards: list[str]
    ) -> None:
        merges = shared_data("vocab/vocab.bpe")
        assert run("train", "--vocab", 50_300, "--continue-from", merges, "--out", "more", *shards)[0] == 0
        old, new = Tokenizer.load(merges), Tokenizer.load("more")
        assert new.special_tokens == {"<|endoftext|>": 50_299}
        assert new.vocabulary.merges[:50_000] == old.vocabulary.merges
        assert new.count("\n\n".join(read.text for read in read_songs())) < old.count(
            "\n\n".join(read.text for read in read_songs())
        )


class TestInput:
    def test_order_threads_and_packing_do_not_matter(self, run: Run, shards: list[str]) -> None:
        for name, pack in (("b.txt", gzip.compress), ("c.txt", lzma.compress)):
            suffix = ".gz" if pack is gzip.compress else ".xz"
            Path(name + suffix).write_bytes(pack(Path(name).read_bytes()))
        run("train", "--vocab", 600, "--out", "one", "--threads", 1, *shards)
        run("train", "--vocab", 600, "--out", "two", "--threads", 3, "c.txt.xz", "a.txt", "b.txt.gz")
        assert ranks_in("one") == ranks_in("two")

    def test_lines_may_be_documents(self, run: Run) -> None:
        Path("lines.txt").write_text("ab  \n\n\n  ab\nba \n\n" * 20, encoding="utf-8")
        run("train", "--vocab", 262, "--no-special", "--allow-fewer", "--split-lines", "lines.txt")
        model = tokenizers.Tokenizer(tokenizers.models.BPE())
        model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=262, initial_alphabet=alphabet, special_tokens=[], show_progress=False
        )
        model.train(["lines.txt"], trainer)
        ours = tokenizers.Tokenizer.from_file("bpe-262/tokenizer.json")
        assert ours.get_vocab() == model.get_vocab()

    @pytest.mark.parametrize("pattern", [name for name in patterns.BY_NAME if name != "gpt2"])
    def test_other_patterns_are_saved_with_the_vocabulary(
        self, run: Run, shards: list[str], pattern: str
    ) -> None:
        assert run("train", "--vocab", 500, "--pattern", pattern, *shards)[0] == 0
        text = Path("a.txt").read_text(encoding="utf-8") + "\n\n  IT'S 1234567890, 12345 \r\n a  \n\n"
        learned = Tokenizer.load("bpe-500")
        assert learned.pat_str == patterns.named(pattern)
        assert tokenizers.Tokenizer.from_file("bpe-500/tokenizer.json").encode(text).ids == learned.encode(
            text
        )

    def test_bytes_may_be_numbered_by_value(self, run: Run, shards: list[str]) -> None:
        assert run("train", "--vocab", 500, "--byte-order", "raw", *shards)[0] == 0
        assert Tokenizer.load("bpe-500").encode_single_token("a") == 97

    def test_no_more_is_read_than_is_wanted(self, run: Run, shards: list[str]) -> None:
        report = json.loads(run("train", "--limit-bytes", "20k", "--vocab", 400, "--json", *shards)[1])
        assert report["bytes"] == 20_000
        size = Path("a.txt").stat().st_size
        code, _, err = run("train", "--limit-bytes", size, "--vocab", 400, *shards)
        assert code == 0
        assert "b.txt is left out: --limit-bytes is reached" in err

    def test_bytes_that_are_no_text_can_be_replaced(self, run: Run) -> None:
        Path("latin.txt").write_bytes("café olé ".encode("latin-1") * 20)
        code, out, err = run("train", "--vocab", 258, "latin.txt")
        assert (code, out) == (3, "")
        assert err.splitlines()[1:] == [
            "gpt2x: latin.txt is not UTF-8 text: byte 0xe9 at offset 3; convert the file to UTF-8 first, or pass "
            "--errors replace"
        ]
        assert run("train", "--vocab", 258, "--errors", "replace", "latin.txt")[0] == 0
        assert Tokenizer.load("bpe-258") == train(["caf\ufffd ol\ufffd " * 20], 258, name="bpe-258")

    def test_merges_are_shown_as_they_are_learned(self, run: Run, shards: list[str]) -> None:
        code, _, err = run("train", "--vocab", 2600, "--verbose", "--no-special", *shards)
        lines = [line for line in err.splitlines() if line.startswith("merge ")]
        assert code == 0
        assert len(lines) == 2600 - 256
        assert lines[0].split()[:4] == ["merge", "1", "id", "256"]
        assert lines[-1].split()[:4] == ["merge", "2344", "id", "2599"]

    def test_a_page_with_hangul_shows_what_is_half_a_character(
        self, run: Run, shared_data: Callable[[str], Path]
    ) -> None:
        _, out, err = run("train", "--vocab", 1000, "--verbose", shared_data("text/bts_wikipedia.txt"))
        lines = err.splitlines()[1:]
        assert lines[0] == "merge      1  id    256  ' ' + 't' = ' t'  (1,899 times)"
        assert len(lines) == 743
        assert any(r" = b'\xec\x9d'  (" in line for line in lines)
        assert "1,000 ids: 256 bytes, 743 merges, 1 special" in out


class TestCounts:
    def test_of_shards_give_the_vocabulary_of_the_whole(self, run: Run, shards: list[str]) -> None:
        for name in shards:
            code, out, _ = run("count-pieces", name, "--out", f"{name}.counts")
            assert code == 0
            assert f"saved in  {name}.counts" in out
        saved = [f"{name}.counts" for name in shards]
        run("train", "--vocab", "400,900", "--out", "whole", *shards)
        run("train", "--vocab", "400,900", "--out", "sum", "--counts", *reversed(saved))
        assert [ranks_in(f"sum-{size}") for size in (400, 900)] == [
            ranks_in(f"whole-{size}") for size in (400, 900)
        ]
        run("count-pieces", *shards, "--out", "all.counts")
        run("count-pieces", "--counts", *saved, "--out", "added.counts")
        assert Path("all.counts").read_bytes() == Path("added.counts").read_bytes()

    def test_bring_their_settings(self, run: Run, shards: list[str]) -> None:
        run("count-pieces", *shards, "--pattern", "o200k", "--split-lines", "--out", "x.counts")
        report = json.loads(run("train", "--vocab", 400, "--counts", "--json", "x.counts")[1])
        assert (report["pattern"], report["split_lines"], report["sources"]) == ("o200k", True, ["x.counts"])
        run("train", "--vocab", 400, "--pattern", "o200k", "--split-lines", "--out", "text", *shards)
        assert ranks_in("bpe-400") == ranks_in("text")

    def test_are_reported_as_json(self, run: Run, shards: list[str]) -> None:
        report = json.loads(run("count-pieces", "--json", "--out", "x.counts", *shards)[1])
        assert report["sources"] == shards
        assert report["bytes"] == sum(Path(name).stat().st_size for name in shards)
        assert report["unique_pieces"] == len(Path("x.counts").read_bytes().splitlines()) - 2
        assert report["out"] == "x.counts"

    def test_go_on_with_a_vocabulary(self, run: Run, shards: list[str]) -> None:
        run("count-pieces", *shards, "--out", "x.counts")
        run("train", "--vocab", 400, "--out", "first", *shards)
        run("train", "--vocab", 500, "--out", "second", "--continue-from", "first", "--counts", "x.counts")
        run("train", "--vocab", 500, "--out", "whole", *shards)
        assert ranks_in("second") == ranks_in("whole")


@pytest.fixture
def bad_files(songs: list[str], alone: Path) -> None:
    Path("book.txt").write_text("\n".join(songs), encoding="utf-8")
    Path("empty.txt").write_bytes(b"")
    Path("picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" * 9)
    Path("cut.gz").write_bytes(gzip.compress("\n".join(songs).encode())[:1000])
    Path("o200k.counts").write_bytes(counts_of(songs, "o200k"))
    Path("x.counts").write_bytes(counts_of(songs, "gpt2"))
    Path("damaged.counts").write_bytes(Path("x.counts").read_bytes()[:-3])
    Path("old.counts").write_bytes(Path("x.counts").read_bytes().replace(b'"16.0.0"', b'"15.0.0"', 1))
    rewrite_checksum(Path("old.counts"))


def counts_of(texts: list[str], pattern: str) -> bytes:
    from gpt2x.tokenizer import Corpus

    corpus = Corpus(pattern)
    for text in texts:
        corpus.add_text(text)
    corpus.save_counts("tmp.counts")
    data = Path("tmp.counts").read_bytes()
    Path("tmp.counts").unlink()
    return data


def rewrite_checksum(path: Path) -> None:
    """As another version of gpt2x would have written it."""
    import hashlib

    *lines, end = path.read_bytes().splitlines(keepends=True)
    summary = json.loads(end) | {"sha256": hashlib.sha256(b"".join(lines)).hexdigest()}
    path.write_bytes(b"".join(lines) + json.dumps(summary).encode() + b"\n")


BAD: list[tuple[str, int, str]] = [
    (
        "train --vocab 255 book.txt",
        2,
        "a vocabulary of 255 is too small: 256 bytes and 1 special token need 257",
    ),
    ("train --vocab 512,100 book.txt", 2, "a vocabulary of 100 is too small"),
    ("train --vocab 512, book.txt", 2, "--vocab is ''; give a whole number, such as 512, 8k (8,000)"),
    ("train --vocab 8q book.txt", 2, "--vocab is '8q'; give a whole number"),
    ("train --vocab 99M book.txt", 2, "a vocabulary of 99000000 is too large; ask for at most 16777216"),
    ("train --limit-bytes much book.txt", 2, "--limit-bytes is 'much'"),
    ("train --limit-bytes 0 book.txt", 2, "limit_bytes is 0; give 1 or more"),
    ("train --vocab 90000 book.txt", 3, "gives only"),
    ("train empty.txt", 3, "there is no text to learn from; give a file that is not empty"),
    ("train picture.png", 3, "picture.png looks like a binary file: byte 0x89 at offset 0 is not UTF-8"),
    ("train book.txt cut.gz", 3, "cannot read cut.gz: "),
    ("train x.counts", 3, "x.counts holds counts of pieces, no text; pass --counts"),
    ("train --counts", 2, "--counts is for files that `gpt2x bpe count-pieces` wrote; give at least one"),
    ("train --counts book.txt", 3, "book.txt holds no counts of pieces"),
    (
        "train --counts x.counts o200k.counts",
        3,
        "o200k.counts was counted with the pattern 'o200k', not 'gpt2'",
    ),
    (
        "train --counts --pattern cl100k x.counts",
        3,
        "x.counts was counted with the pattern 'gpt2', not 'cl100k'",
    ),
    ("train --counts --split-lines x.counts", 3, "x.counts was counted by whole files, the others were not"),
    ("train --counts damaged.counts", 3, "damaged.counts is damaged or cut off"),
    (
        "train --counts old.counts",
        3,
        "was counted by Unicode '15.0.0', and this gpt2x splits by 16.0.0; count again",
    ),
    ("train --counts missing.counts", 3, "cannot read missing.counts"),
    ("train --counts --errors replace x.counts", 2, "--errors is for text, and --counts takes counts of it"),
    ("train --counts --limit-bytes 5 x.counts", 2, "--limit-bytes is for text"),
    ("train --continue-from missing book.txt", 3, "there is no tokenizer at missing"),
    (
        "train --continue-from small --vocab 260 book.txt",
        2,
        "a vocabulary of 260 is too small: 256 bytes, 43 merges",
    ),
    (
        "train --continue-from small --pattern o200k book.txt",
        2,
        "pattern 'o200k' contradicts the vocabulary 'small'",
    ),
    (
        "train --continue-from small --byte-order raw book.txt",
        2,
        "byte order 'raw' contradicts the vocabulary",
    ),
    ("train --continue-from small --counts o200k.counts", 3, "with the pattern 'o200k', not 'gpt2'"),
    ("train --vocab 300,400 --out book book.txt", 1, "book-400 is a file; name a folder with --out"),
    ("count-pieces", 2, "there is nothing to count; give the files"),
    ("count-pieces book.txt", 2, "there is no place for the counts; name a file with --out"),
    ("count-pieces empty.txt --out y.counts", 3, "there is no text in empty.txt"),
    ("count-pieces picture.png --out y.counts", 3, "looks like a binary file"),
    ("count-pieces book.txt --threads 0 --out y.counts", 2, "--threads is 0; give 1 or more"),
    ("count-pieces --counts x.counts o200k.counts --out y.counts", 3, "pattern 'o200k', not 'gpt2'"),
    ("count-pieces book.txt --out book.txt/y.counts", 1, "cannot write book.txt/y.counts"),
]


@pytest.mark.parametrize(("line", "code", "sentence"), BAD, ids=[line for line, _, _ in BAD])
@pytest.mark.usefixtures("bad_files")
def test_what_cannot_work_is_one_sentence_and_leaves_nothing(
    run: Run, songs: list[str], line: str, code: int, sentence: str
) -> None:
    train(songs, 300, name="small").save("small")
    Path("book-400").write_bytes(b"")
    before = everything()
    outcome = run(*line.split())
    assert (outcome.exit_code, outcome.stdout) == (code, ""), outcome
    errors = [said for said in outcome.stderr.splitlines() if not said.startswith("reading ")]
    assert len(errors) == 1, outcome.stderr
    assert errors[0].startswith("gpt2x: ")
    assert sentence in errors[0]
    assert everything() == before


def everything() -> list[str]:
    return sorted(map(str, Path().rglob("*")))


class TestElsewhere:
    """A vocabulary that was learned here encodes the same in the libraries that people use."""

    @pytest.fixture
    def text(self, shared_data: Callable[[str], Path]) -> str:
        texts = []
        with lzma.open(
            shared_data("multilingual/multilingual_mixed.jsonl.xz"), "rt", encoding="utf-8"
        ) as file:
            for number, line in enumerate(file):
                if number % 40 == 0:
                    texts.append(json.loads(line)["text"])
        return "\n".join(texts)

    @pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
    def test_on_many_languages(
        self, run: Run, text: str, pattern: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from transformers import AutoTokenizer

        monkeypatch.setenv(
            "TIKTOKEN_CACHE_DIR", ""
        )  # else it would remember another test's file of that name
        Path("world.txt").write_text(text, encoding="utf-8", newline="")
        assert run("train", "--vocab", "8k", "--pattern", pattern, "world.txt")[0] == 0
        learned = Tokenizer.load("bpe-8000")
        expected = learned.encode(text)
        theirs = tiktoken.Encoding(
            "bpe-8000",
            pat_str=learned.pat_str,
            mergeable_ranks=load_tiktoken_bpe("bpe-8000/vocab.tiktoken"),
            special_tokens=dict(learned.special_tokens),
        )
        assert theirs.encode(text) == expected
        assert tokenizers.Tokenizer.from_file("bpe-8000/tokenizer.json").encode(text).ids == expected
        assert AutoTokenizer.from_pretrained("bpe-8000").encode(text) == expected


# ----------------------------------------------------------------------------------------------------------------
# In a process of its own


def start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "gpt2x", "bpe", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def interrupt(process: subprocess.Popen[bytes], until: bytes) -> tuple[int, bytes]:
    """Send Ctrl-C once the process has said something; returns its exit code and what else it said."""
    assert process.stderr is not None
    while until not in (line := process.stderr.readline()):
        assert line, "the process ended before"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    return process.returncode, err


def words(num_bytes: int) -> bytes:
    """Text with very many different words."""
    import random

    rng = random.Random(7)
    letters = "etaoinshrdlucmfwyp"
    lines = []
    size = 0
    while size < num_bytes:
        line = " ".join("".join(rng.choices(letters, k=rng.randrange(2, 9))) for _ in range(1000))
        lines.append(line)
        size += len(line) + 1
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("arguments", "until"),
    [
        (["train", "--vocab", "300,200k", "--allow-fewer", "words.txt", "fifo"], b"reading fifo"),
        (["train", "--vocab", "300,200k", "--allow-fewer", "--verbose", "words.txt"], b"merge      3 "),
        (["count-pieces", "--out", "x.counts", "words.txt", "fifo"], b"reading fifo"),
    ],
    ids=["reading", "merging", "counting"],
)
def test_ctrl_c_ends_with_130_and_leaves_nothing(arguments: list[str], until: bytes) -> None:
    Path("words.txt").write_bytes(words(1 << 20))
    os.mkfifo("fifo")
    process = start(*arguments)
    writer = os.open("fifo", os.O_RDWR) if "fifo" in arguments else None  # so that reading it waits
    code, err = interrupt(process, until)
    if writer is not None:
        os.close(writer)
    assert code == 130
    assert err.splitlines()[-1] == b"gpt2x: interrupted"
    assert sorted(path.name for path in Path().iterdir()) == ["fifo", "words.txt"]


def test_a_file_that_is_cut_short_while_it_is_read_never_ends_the_process(alone: Path) -> None:
    # A mapped file would kill it with SIGBUS. Reading is slowed down by a pipe before the file's own turn.
    Path("big.txt").write_bytes(b"some words\n" * 4_000_000)
    program = (
        "import os, sys; from gpt2x.tokenizer import Corpus; corpus = Corpus(); "
        "cut = lambda size: os.truncate('big.txt', 1000); "
        "corpus.add_file('big.txt', cut)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1, "an exception, no signal"
    assert "big.txt became shorter while it was read" in done.stderr.splitlines()[-1]


def test_memory_does_not_grow_with_the_text() -> None:
    Path("small.txt").write_bytes(b"the same few words again and again\n" * 600_000)  # more than a window
    Path("big.txt").write_bytes(b"the same few words again and again\n" * 4_000_000)
    program = (
        "import resource, sys; from gpt2x.tokenizer import train_files; "
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; "
        "train_files(['small.txt'], 270, num_threads=2); before = peak(); "
        "train_files(['big.txt'], 270, num_threads=2); print(peak() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * 1024 < Path("big.txt").stat().st_size / 10

"""`gpt2x bpe …`: what goes to stdout, what to stderr, and one sentence for everything that can go wrong."""

from __future__ import annotations

import json
import lzma
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiktoken
import tokenizers
from tiktoken.load import load_tiktoken_bpe
from typer.testing import CliRunner

from gpt2x.cli.app import app
from gpt2x.tokenizer import Tokenizer, patterns
from tests.cli.conftest import Run

COMMAND = "bpe"
pytestmark = pytest.mark.usefixtures("alone")

TEXT = (
    "I love you, don't you know it's over?\n\n[Chorus]  oh, oh 사랑 😀\n" * 5
    + "Midnight trains are running late again, and nobody waits at the station with an umbrella for me tonight\n"
)
GOLDEN = Path(__file__).parent.parent / "golden" / "songs.tiktoken"
SONGS = ["--tokenizer", str(GOLDEN), "--pattern", "gpt2"]


@pytest.fixture
def book() -> Path:
    path = Path("book.txt")
    path.write_text(TEXT, encoding="utf-8")
    return path


class TestTrain:
    def test_learns_a_vocabulary_and_says_where_it_is(self, run: Run, book: Path) -> None:
        code, out, err = run("train", "--vocab", 300, book)
        assert (code, err) == (0, "reading book.txt\n")
        assert "300 ids: 256 bytes, 43 merges, 1 special" in out
        assert "saved in    bpe-300/ (tokenizer.json, vocab.tiktoken, tokenizer_config.json)" in out
        learned = Tokenizer.load("bpe-300")
        assert learned.decode(learned.encode(TEXT)) == TEXT
        ids = tokenizers.Tokenizer.from_file("bpe-300/tokenizer.json").encode(TEXT).ids
        assert ids == learned.encode(TEXT)
        theirs = tiktoken.Encoding(
            "bpe-300",
            pat_str=learned.pat_str,
            mergeable_ranks=load_tiktoken_bpe("bpe-300/vocab.tiktoken"),
            special_tokens={},
        )
        assert theirs.encode(TEXT) == ids

    def test_reports_as_json(self, run: Run, book: Path) -> None:
        code, out, _ = run(
            "train", "--vocab", 290, "--out", "here", "--special", "<s>", "--special", "</s>", "--json", book
        )
        report = json.loads(out)
        assert code == 0
        assert report["special_tokens"] == {"<s>": 288, "</s>": 289}
        assert (report["vocab_size"], report["merges"], report["out"]) == (290, 32, "here")
        assert report["bytes"] == len(TEXT.encode())
        assert report["tokens"] == Tokenizer.load("here").count(TEXT)
        assert sorted(path.name for path in Path("here").iterdir()) == sorted(report["files"])

    def test_shows_each_merge_when_asked(self, run: Run, book: Path) -> None:
        _, out, err = run("train", "--vocab", 262, "--verbose", "--no-special", book)
        lines = err.splitlines()[1:]
        assert len(lines) == 6
        assert lines[0].split()[:4] == ["merge", "1", "id", "256"]
        assert "' ' + 'o' = ' o'  (15 times)" in err
        assert "special     none" in out

    def test_takes_standard_input_and_packed_files(self, run: Run, book: Path) -> None:
        import gzip

        Path("book.gz").write_bytes(gzip.compress(TEXT.encode()))
        assert run("train", "--vocab", 300, "--out", "a", "-", input=TEXT.encode())[0] == 0
        assert run("train", "--vocab", 300, "--out", "b", "book.gz")[0] == 0
        assert run("train", "--vocab", 300, "--out", "c", book)[0] == 0
        ranks = [Path(name, "vocab.tiktoken").read_bytes() for name in "abc"]
        assert ranks[0] == ranks[1] == ranks[2]

    def test_without_files_learns_from_what_is_on_every_machine_and_says_so(self, run: Run) -> None:
        code, out, err = run("train", "--vocab", 400)
        assert code == 0
        assert "no files given: learning from the" in err
        assert "packaged songs" in err
        assert "pydoc_data" in err
        assert Tokenizer.load("bpe-400").n_vocab == 400
        assert "saved in    bpe-400/" in out

    def test_can_be_quiet(self, run: Run, book: Path) -> None:
        code, out, err = run("train", "--vocab", 300, "--quiet", "--verbose", book)
        assert (code, err) == (0, "")
        assert out.startswith("vocabulary")

    def test_keeps_a_smaller_vocabulary_when_that_is_allowed(self, run: Run, book: Path) -> None:
        code, _, err = run("train", "--vocab", 5000, "--allow-fewer", "--out", "small", book)
        assert code == 0
        assert "gave only" in err
        assert Tokenizer.load("small").n_vocab < 400

    def test_rare_pairs_can_be_left_alone(self, run: Run, book: Path) -> None:
        assert (
            run("train", "--vocab", 5000, "--allow-fewer", "--min-frequency", 11, "--out", "x", book)[0] == 0
        )
        assert 257 < Tokenizer.load("x").n_vocab < 300


class TestEncodeAndDecode:
    def test_go_there_and_back(self, run: Run, book: Path) -> None:
        code, out, err = run("encode", *SONGS, book)
        assert (code, err) == (0, "")
        assert [int(word) for word in out.split()] == Tokenizer.load(GOLDEN, pattern="gpt2").encode(TEXT)
        for arguments, given in ((["-"], out), ([], out), (out.split(), None)):
            assert run("decode", *SONGS, *arguments, input=given) == (0, TEXT, "")

    def test_take_text_files_or_standard_input(self, run: Run, book: Path) -> None:
        expected = run("encode", *SONGS, book)
        assert run("encode", *SONGS, "--text", TEXT) == expected
        assert run("encode", *SONGS, "-", input=TEXT) == expected
        assert run("encode", *SONGS, input=TEXT) == expected
        _, out, _ = run("encode", *SONGS, book, "-", input="love")
        assert len(out.splitlines()) == 2

    def test_gpt2_is_the_default(
        self, run: Run, shared_data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GPT2X_VOCAB", str(shared_data("vocab/r50k_base.tiktoken")))
        assert run("encode", "--text", "hello world") == (0, "31373 995\n", "")
        assert run("decode", 31373, 995) == (0, "hello world", "")
        assert run("count", "--text", "hello world") == (0, "2\n", "")

    @pytest.mark.parametrize(("dtype", "kind"), [(None, "<u2"), ("uint16", "<u2"), ("uint32", "<u4")])
    def test_binary_files(self, run: Run, book: Path, dtype: str | None, kind: str) -> None:
        options = ["--dtype", dtype] if dtype else []
        code, out, err = run("encode", *SONGS, "--out", "ids.bin", *options, book)
        ids = Tokenizer.load(GOLDEN, pattern="gpt2").encode(TEXT)
        assert (code, out) == (0, "")
        assert f"wrote {len(ids)} ids as" in err
        assert np.fromfile("ids.bin", dtype=kind).tolist() == ids
        assert run("decode", *SONGS, *options, "ids.bin") == (0, TEXT, "")
        assert run("decode", *SONGS, *options, "ids.bin", "--out", "back.txt") == (0, "", "")
        assert Path("back.txt").read_text(encoding="utf-8") == TEXT

    def test_json(self, run: Run, book: Path) -> None:
        ids = Tokenizer.load(GOLDEN, pattern="gpt2").encode(TEXT)
        assert json.loads(run("encode", *SONGS, "--json", book)[1]) == {
            "tokenizer": "songs",
            "n_vocab": 1000,
            "inputs": [{"name": "book.txt", "bytes": len(TEXT.encode()), "tokens": len(ids), "ids": ids}],
        }
        report = json.loads(run("encode", *SONGS, "--json", "--out", "ids.bin", book)[1])
        assert (report["out"], report["dtype"]) == ("ids.bin", "uint16")
        assert "ids" not in report["inputs"][0]
        report = json.loads(run("decode", *SONGS, "--json", "ids.bin")[1])
        assert report == {"tokenizer": "songs", "tokens": len(ids), "bytes": len(TEXT.encode()), "text": TEXT}

    def test_bytes_that_are_no_text_survive_when_asked_for(self, run: Run) -> None:
        data = b"love \xff\xfe \x80 me\x00\n"
        Path("raw").write_bytes(data)
        _, out, _ = run("encode", *SONGS, "--bytes", "raw")
        result = CliRunner().invoke(app, ["bpe", "decode", *SONGS, "-"], input=out)
        assert result.stdout_bytes == data

    @pytest.mark.parametrize("threads", [1, 3])
    def test_files_of_many_windows_are_the_same_on_any_number_of_threads(
        self, run: Run, book: Path, monkeypatch: pytest.MonkeyPatch, threads: int
    ) -> None:
        monkeypatch.setattr("gpt2x.tokenizer.files.WINDOW_BYTES", 100)
        monkeypatch.setattr("gpt2x.tokenizer.files._SHARE_BYTES", 20)
        expected = Tokenizer.load(GOLDEN, pattern="gpt2").encode(TEXT)
        run("encode", *SONGS, "--threads", threads, "--out", "ids.bin", book, "-", input=TEXT)
        assert np.fromfile("ids.bin", dtype="<u2").tolist() == expected * 2
        assert run("count", *SONGS, "--threads", threads, book).stdout == f"{len(expected)}\n"

    def test_numbers_and_files_decode_in_the_order_in_which_they_are_given(self, run: Run) -> None:
        ids = Tokenizer.load(GOLDEN, pattern="gpt2").encode("I love you")
        np.array(ids, dtype="<u2").tofile("ids.bin")
        Path("ids.txt").write_text(" ".join(map(str, ids)), encoding="ascii")
        words = [ids[0], "ids.bin", *ids[:2], "ids.txt"]
        start, two = (Tokenizer.load(GOLDEN, pattern="gpt2").decode(ids[:n]) for n in (1, 2))
        assert run("decode", *SONGS, *words).stdout == f"{start}I love you{two}I love you"

    def test_special_tokens_are_refused_allowed_or_text(self, run: Run, book: Path) -> None:
        run("train", "--vocab", 300, "--out", "bpe", book)
        text = ["--tokenizer", "bpe", "--text", "a<|endoftext|>"]
        code, _, err = run("encode", *text)
        assert code == 2
        assert err == (
            "gpt2x: the text holds the special token '<|endoftext|>' at character 1: pass --specials allow to "
            "encode it as such, or --specials text to take it as plain text\n"
        )
        assert run("encode", *text, "--specials", "allow")[1] == "64 299\n"
        assert len(run("encode", *text, "--specials", "text")[1].split()) > 5
        assert run("count", *text, "--specials", "allow")[1] == "2\n"
        assert run("decode", "--tokenizer", "bpe", 64, 299)[1] == "a<|endoftext|>"

    def test_a_slow_pattern_is_mentioned_in_one_line(self, run: Run, book: Path) -> None:
        patterns._splitter.cache_clear()
        run("train", "--vocab", 300, "--out", "bpe", book)
        path = Path("bpe", "tokenizer.json")
        data = json.loads(path.read_text(encoding="utf-8"))
        split = {"type": "Split", "pattern": {"Regex": r"\w+|\W"}, "behavior": "Isolated", "invert": False}
        byte_level = data["pre_tokenizer"] | {"use_regex": False}
        data["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, byte_level]}
        path.write_text(json.dumps(data), encoding="utf-8")
        code, out, err = run("encode", "--tokenizer", "bpe", "--text", "a b")
        assert (code, out) == (0, "64 220 65\n")
        assert err.startswith("note: the core does not know the pattern")
        assert err.count("\n") == 1


class TestCount:
    def test_one_input_gives_a_number_and_several_a_table(self, run: Run, book: Path) -> None:
        expected = Tokenizer.load(GOLDEN, pattern="gpt2").count(TEXT)
        assert run("count", *SONGS, book) == (0, f"{expected}\n", "")
        Path("empty.txt").touch()
        _, out, _ = run("count", *SONGS, book, "empty.txt")
        lines = out.splitlines()
        assert lines[0].split() == ["tokens", "bytes", "bytes/token", "file"]
        assert lines[2].split()[-1] == "book.txt"
        assert lines[-1] == f"{expected} in all"

    def test_json(self, run: Run, book: Path) -> None:
        report = json.loads(run("count", *SONGS, "--json", book)[1])
        expected = Tokenizer.load(GOLDEN, pattern="gpt2").count(TEXT)
        num_bytes = len(TEXT.encode())
        assert report == {
            "tokenizer": "songs",
            "n_vocab": 1000,
            "inputs": [
                {
                    "name": "book.txt",
                    "bytes": num_bytes,
                    "tokens": expected,
                    "bytes_per_token": round(num_bytes / expected, 4),
                }
            ],
            "tokens": expected,
        }


class TestExplain:
    def test_shows_a_word_merge_by_merge(self, run: Run) -> None:
        code, out, _ = run("explain", *SONGS, " love")
        assert code == 0
        assert out.splitlines()[0] == "piece ' love': 5 bytes, 1 tokens"
        assert "␣ | l | o | v | e" in out
        assert out.splitlines()[-1].split() == [
            "ids",
            str(Tokenizer.load(GOLDEN, pattern="gpt2").encode(" love")[0]),
        ]

    def test_takes_standard_input(self, run: Run) -> None:
        assert run("explain", *SONGS, input=" love") == run("explain", *SONGS, " love")
        assert run("explain", *SONGS, "-", input=b"caf\xe9") == (
            3,
            "",
            "gpt2x: standard input is not UTF-8 text: byte 0xe9 at offset 3; convert it first\n",
        )

    def test_json_ends_in_the_ids_that_encode_gives(self, run: Run) -> None:
        text = "It's  tokenization 😀\n"
        report = json.loads(run("explain", *SONGS, "--json", text)[1])
        ids = [token["id"] for piece in report["pieces"] for token in piece["tokens"]]
        assert ids == Tokenizer.load(GOLDEN, pattern="gpt2").encode(text)
        assert "".join(piece["piece"] for piece in report["pieces"]) == text


BAD_INPUT = [
    # arguments, exit code, part of the sentence
    (
        ["train", "--vocab", "255", "book.txt"],
        2,
        "a vocabulary of 255 is too small: 256 bytes and 1 special token need 257",
    ),
    (["train", "--vocab", "-5", "book.txt"], 2, "a vocabulary of -5 is too small"),
    (
        ["train", "--vocab", "90000", "book.txt"],
        3,
        "gives only 98 merges: ask for a vocabulary of at most 355",
    ),
    (["train", "--special", "", "book.txt"], 2, "special tokens must be different and not empty"),
    (["train", "--special", "a", "--no-special", "book.txt"], 2, "--special and --no-special contradict"),
    (["train", "missing.txt"], 3, "cannot read missing.txt"),
    (["train", "empty.txt"], 3, "there is no text to learn from"),
    (["train", "latin.txt"], 3, "latin.txt is not UTF-8 text: byte 0xe9 at offset 3"),
    (["train", "cut.xz"], 3, "cannot read cut.xz"),
    (["train", "."], 3, "gpt2x: . is a folder; give a file"),
    (["train", "--out=", "book.txt"], 2, "--out is empty; give a path"),
    (
        ["train", "--vocab", "300,310", "--out", ".", "book.txt"],
        2,
        "--out . is no name that sizes can be added to; give one, such as bpe",
    ),
    (["train", "--counts", "-"], 2, "--counts reads each file twice, which standard input cannot be"),
    (["train", "--counts", "pipe"], 3, "pipe is no regular file, and counts are read twice"),
    (["train", "--counts", "."], 3, "gpt2x: . is a folder; give a file"),
    (["encode", *SONGS, "cut.xz"], 3, "cannot unpack cut.xz"),
    (["encode", *SONGS, "--bytes", "bad.gz"], 3, "cannot unpack bad.gz"),
    (["encode", *SONGS, "--bytes", "--out", "ids.bin", "bad.gz"], 3, "cannot unpack bad.gz"),
    (["count", *SONGS, "--bytes", "bad.gz"], 3, "cannot unpack bad.gz"),
    (["diff", str(GOLDEN), str(GOLDEN), "--pattern", "gpt2", "bad.gz"], 3, "cannot unpack bad.gz"),
    (["encode", *SONGS, "/dev/zero"], 3, "/dev/zero has more than 1 MiB"),
    (["count", *SONGS, "--bytes", "/dev/zero"], 3, "/dev/zero has more than 1 MiB"),
    (["encode", *SONGS, "--bytes", "--specials", "allow", "book.txt"], 2, "--bytes takes special tokens as"),
    (["train", "--out", "book.txt", "book.txt"], 1, "book.txt is a file; name a folder with --out"),
    (["train", "--vocab", "300", "--out", "book.txt/under", "book.txt"], 1, "cannot write book.txt/under"),
    (["encode", *SONGS, "missing.txt"], 3, "cannot read missing.txt"),
    (
        ["encode", *SONGS, "latin.txt"],
        3,
        "latin.txt is not UTF-8 text: byte 0xe9 at offset 3; convert it, or take it as it is",
    ),
    (["encode", *SONGS, "--text", "a", "book.txt"], 2, "--text and files (book.txt) exclude one another"),
    (
        ["encode", *SONGS, "--dtype", "uint16", "book.txt"],
        2,
        "--dtype is for the binary file that --out names",
    ),
    (["encode", *SONGS, "--out", "book.txt/ids.bin", "book.txt"], 1, "cannot write book.txt/ids.bin"),
    (["encode", "-t", "missing", "book.txt"], 3, "there is no tokenizer at missing"),
    (["encode", "-t", "book.txt", "book.txt"], 3, "book.txt, line 1"),
    (["encode", "-t", "folder", "book.txt"], 3, "folder holds no tokenizer"),
    (["encode", "--text", "x"], 4, "the GPT-2 vocabulary is not on this machine"),
    (["count", *SONGS, "missing.txt"], 3, "cannot read missing.txt"),
    (["count", "-t", "missing", "--text", "a"], 3, "there is no tokenizer at missing"),
    (["decode", *SONGS, "5000"], 3, "unknown token id 5000: the vocabulary 'songs' has the ids 0 to 999"),
    (["decode", *SONGS, "1", "--", "-7"], 3, "unknown token id -7"),
    (["decode", *SONGS, "12", "words"], 3, "cannot read words"),
    (["decode", *SONGS, "book.txt"], 3, "book.txt holds 'I', which is no id"),
    (["decode", *SONGS, "odd.bin"], 3, "odd.bin has 3 bytes, no multiple of 2: not uint16 ids, or cut off"),
    (["explain", "-t", "missing", "word"], 3, "there is no tokenizer at missing"),
    (["count", *SONGS, "--threads", "0", "book.txt"], 2, "--threads is 0; give 1 or more"),
    (["encode", *SONGS, "--threads", "-1", "--out", "x", "book.txt"], 2, "--threads is -1; give 1 or more"),
    (["encode", *SONGS, "--threads", "-3", "book.txt"], 2, "--threads is -3; give 1 or more"),
    (["encode", *SONGS, "--threads", "0", "--text", "a"], 2, "--threads is 0; give 1 or more"),
    (["count", *SONGS, "--threads", "-3", "--text", "a"], 2, "--threads is -3; give 1 or more"),
    (["encode", "-t", str(GOLDEN), "--pattern", "gpt3", "book.txt"], 2, "unknown pattern 'gpt3'; give gpt2"),
    (
        ["encode", "-t", str(GOLDEN), "--pattern", "(", "book.txt"],
        2,
        "the pattern '(' has a group that is not closed at character 0",
    ),
    (
        ["encode", *SONGS, "--out", "ids.bin", "book.txt", "latin.txt"],
        3,
        "latin.txt is not UTF-8 text: byte 0xe9",
    ),
]


@pytest.fixture
def files(book: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Files that are wrong in one way each, on a machine without GPT-2's vocabulary."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr("importlib.metadata.distributions", lambda: iter(()))
    Path("empty.txt").touch()
    Path("latin.txt").write_bytes("café au lait".encode("latin-1"))
    Path("cut.xz").write_bytes(lzma.compress(TEXT.encode() * 100)[:-40])
    Path("bad.gz").write_bytes(b"\x1f\x8b no more than its first bytes")
    Path("odd.bin").write_bytes(b"abc")
    os.mkfifo("pipe")
    Path("folder").mkdir()
    return sorted(Path().rglob("*"))


@pytest.mark.parametrize(
    ("arguments", "exit_code", "sentence"), BAD_INPUT, ids=lambda value: str(value)[-60:]
)
def test_bad_input_gives_one_sentence_and_leaves_nothing(
    run: Run, files: list[Path], arguments: list[str], exit_code: int, sentence: str
) -> None:
    code, out, err = run(*arguments)
    *talk, last = err.splitlines()
    assert last.startswith("gpt2x: ")
    assert sentence in last
    assert (code, out) == (exit_code, "")
    assert all(line.startswith("reading ") for line in talk)
    assert sorted(Path().rglob("*")) == files
    assert "Traceback" not in err


def test_no_space_for_the_result_leaves_nothing(
    run: Run, book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    for arguments in (["train", "--vocab", "300"], ["encode", *SONGS, "--out", "ids.bin"]):
        code, out, err = run(*arguments, book)
        assert (code, out) == (1, "")
        assert "No space left on device; choose another place" in err
    assert list(Path().iterdir()) == [book]


def start(*arguments: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    return subprocess.Popen(
        [sys.executable, "-m", "gpt2x.cli.app", "bpe", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )


def test_ctrl_c_ends_with_130_and_leaves_nothing() -> None:
    process = start("train", "--vocab", "300", "-")
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(TEXT.encode())
    process.stdin.flush()
    assert process.stderr.readline() == b"reading standard input\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == b"gpt2x: interrupted\n"
    assert list(Path().iterdir()) == []


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    Path("long.txt").write_text("love " * 400_000, encoding="utf-8")
    process = start("encode", *SONGS, "long.txt")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(timeout=30) == 0
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.stdin is not None
    process.stdin.close()


NO_TORCH = """
import sys
from gpt2x.cli.app import app

vocabulary = ["--tokenizer", sys.argv[1]]
for arguments in (["encode", "--text", "a", *vocabulary], ["explain", "a", *vocabulary], ["train", "--vocab", "300"]):
    try:
        app(["bpe", *arguments])
    except SystemExit as end:
        assert not end.code, end.code
heavy = {"torch", "transformers", "tokenizers", "sklearn", "matplotlib", "tiktoken", "requests", "rich"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""


def test_no_command_loads_torch_or_what_it_does_not_need() -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    command = [sys.executable, "-c", NO_TORCH, str(GOLDEN)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["train", "encode", "decode", "count", "explain"])
def test_help_ends_with_examples(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"gpt2x bpe {command}" in out.split("Examples:")[1]


@pytest.mark.parametrize("command", [("encode", "--text", "hi"), ("decode", "40", "41")])
def test_a_result_goes_through_a_link_and_into_a_pipe(
    run: Run, alone: Path, command: tuple[str, ...]
) -> None:
    (alone / "target").write_bytes(b"old")
    (alone / "target").chmod(0o640)
    (alone / "link").symlink_to("target")
    os.mkfifo(alone / "fifo")
    heard: list[bytes] = []
    reader = threading.Thread(target=lambda: heard.append((alone / "fifo").read_bytes()), daemon=True)
    reader.start()
    for out in ("link", "fifo"):
        assert run(*command, *SONGS, "-o", out, "--quiet").exit_code == 0
    reader.join(timeout=10)
    assert heard == [(alone / "target").read_bytes()] != [b"old"]
    assert (alone / "link").is_symlink()
    assert (alone / "fifo").is_fifo()
    assert stat.S_IMODE((alone / "target").stat().st_mode) == 0o640


def test_a_vocabulary_of_others_is_not_replaced(run: Run, alone: Path) -> None:
    (alone / "hf").mkdir()
    (alone / "hf" / "tokenizer.json").write_text('{"version": "1.0"}')
    (alone / "book.txt").write_text("la la la " * 100)
    code, stdout, stderr = run("train", "--vocab", 260, "--out", "hf", "book.txt")
    assert (code, stdout) == (1, "")
    assert stderr == "gpt2x: hf holds tokenizer.json, which gpt2x did not write; choose another place\n"
    assert (alone / "hf" / "tokenizer.json").read_text() == '{"version": "1.0"}'


def test_a_vocabulary_without_end_is_one_sentence(run: Run) -> None:
    if not Path("/dev/zero").is_char_device():
        pytest.skip("no /dev/zero here")
    code, _, stderr = run("encode", "--text", "hi", "-t", "/dev/zero")
    assert code == 3
    assert stderr == "gpt2x: /dev/zero has more than 1 MiB, the most that is read of it; give another file\n"


BROKEN = os.fsdecode(b"a\xffb")
"""What Python makes of an argument that is not valid UTF-8."""


class TestBytesInArguments:
    """An argument that is not valid UTF-8 is refused as a file that is none; as the name of a file it works."""

    @pytest.mark.parametrize("command", ["encode", "count"])
    def test_text_is_refused_with_the_remedy_of_a_file(self, run: Run, command: str) -> None:
        code, out, err = run(command, *SONGS, "--text", BROKEN)
        remedy = "is not UTF-8 text: byte 0xff at offset 1; convert it, or take it as it is with --bytes\n"
        assert (code, out, err) == (3, "", f"gpt2x: --text {remedy}")
        assert run(command, *SONGS, input=b"a\xffb") == (3, "", f"gpt2x: standard input {remedy}")
        by_bytes = run(command, *SONGS, "--bytes", "--text", BROKEN)
        assert by_bytes == run(command, *SONGS, "--bytes", input=b"a\xffb")
        assert by_bytes.exit_code == 0

    def test_what_explain_is_given_is_refused(self, run: Run) -> None:
        code, out, err = run("explain", *SONGS, BROKEN)
        assert (code, out) == (3, "")
        assert "TEXT is not UTF-8 text: byte 0xff at offset 1; convert it first" in err

    def test_a_special_token_is_refused(self, run: Run, book: Path) -> None:
        code, _, err = run("train", "--vocab", 300, "--special", BROKEN, book)
        assert code == 2
        assert "is not valid UTF-8 text" in err

    def test_names_of_files_and_folders_work(self, run: Run, book: Path) -> None:
        Path(BROKEN).write_bytes(book.read_bytes())
        expected = run("encode", *SONGS, book).stdout
        assert run("encode", *SONGS, BROKEN).stdout == expected
        assert run("encode", *SONGS, "-o", f"{BROKEN}.ids", BROKEN).exit_code == 0
        Path("ids").write_text(expected, encoding="utf-8")
        Path("ids").rename(f"{BROKEN}.txt")
        assert run("decode", *SONGS, f"{BROKEN}.txt").stdout == TEXT
        folder = Path(f"{BROKEN}-bpe")
        assert run("train", "--vocab", 300, "-q", "--json", "-o", "bpe", book).exit_code == 0
        Path("bpe").rename(folder)
        assert run("count", "--json", "-t", folder, "--text", "a").exit_code == 0
        Tokenizer.load(folder / "tokenizer.json").save("again")
        code, out, err = run("decode", *SONGS, BROKEN + "?")
        assert (code, out) == (3, "")
        assert "cannot read a\ufffdb?" in err


class TestPattern:
    def test_a_guess_is_said_once_and_can_be_silenced(self, run: Run) -> None:
        vocabulary = ["-t", str(GOLDEN)]
        for command in (
            ["encode", "--text", "a"],
            ["count", "--text", "a"],
            ["explain", "a"],
            ["decode", "1"],
        ):
            code, out, err = run(*command, *vocabulary)
            assert code == 0
            assert err.startswith("note: ")
            assert err.count("gpt2's pattern is guessed") == 1
            assert "--pattern on the command line" in err
            assert run(*command, *SONGS) == (0, out, "")
        assert "is guessed" in run("stats", GOLDEN).stderr
        assert run("stats", "--pattern", "gpt2", GOLDEN).stderr == ""
        assert run("diff", GOLDEN, GOLDEN).stderr.count("is guessed") == 2
        assert run("encode", "--text", "a", *vocabulary, "--quiet").stderr == ""

    def test_it_is_the_pattern(self, run: Run) -> None:
        vocabulary = ["-t", str(GOLDEN), "--text", "IT'S 12345678"]
        counts = [
            run("count", *vocabulary, "--pattern", name).stdout for name in ("gpt2", "cl100k", "o200k_base")
        ]
        sizes = [
            Tokenizer.load(GOLDEN, pattern=name).count("IT'S 12345678")
            for name in ("gpt2", "cl100k", "o200k")
        ]
        assert list(map(int, counts)) == sizes

    def test_diff_gives_it_to_the_side_that_has_none(self, run: Run, book: Path) -> None:
        run("train", "--vocab", 300, "-q", "-o", "own", book)
        code, out, err = run("diff", "own", GOLDEN, "--pattern", "cl100k", "--json")
        assert (code, err) == (0, "")
        assert [json.loads(out)[side]["pattern"] for side in "ab"] == ["gpt2", "cl100k"]
        code, _, err = run("diff", "own", "own", "--pattern", "cl100k")
        assert code == 2
        assert "has a pattern of its own, 'gpt2'; leave --pattern 'cl100k' out" in err
        code, _, err = run("diff", "pattern:gpt2", "pattern:o200k", book, "--pattern", "cl100k")
        assert code == 2
        assert "--pattern is for vocabularies" in err

    def test_training_goes_on_from_it(self, run: Run, book: Path) -> None:
        train = [
            "train",
            "--vocab",
            "1010",
            "--allow-fewer",
            "--no-special",
            "--json",
            "--continue-from",
            GOLDEN,
            book,
        ]
        assert "is guessed" in run(*train, "-o", "a").stderr
        code, out, err = run(*train, "-o", "b", "--pattern", "gpt2")
        assert (code, "guessed" in err, json.loads(out)["pattern"]) == (0, False, "gpt2")

    def test_a_cut_vocabulary_is_no_vocabulary(self, run: Run, shared_data: Callable[[str], Path]) -> None:
        merges = shared_data("vocab/vocab.bpe").read_text(encoding="utf-8").splitlines(keepends=True)
        Path("cut").mkdir()
        Path("cut/merges.txt").write_text("".join(merges[:1000]), encoding="utf-8")
        Path("cut/vocab.json").write_bytes(shared_data("vocab/encoder.json").read_bytes())
        code, out, err = run("encode", "-t", "cut", "--text", "hello")
        assert (code, out) == (3, "")
        assert "lists 49,001 tokens that no merge in merges.txt makes" in err
        lines = shared_data("vocab/r50k_base.tiktoken").read_bytes().splitlines(keepends=True)
        Path("cut.tiktoken").write_bytes(b"".join(lines[:1000]))
        code, out, err = run("encode", "-t", "cut.tiktoken", "--text", "hello")
        assert (code, out) == (3, "")
        assert "begins as r50k_base does" in err


def test_explain_shows_an_added_token_as_one_piece(run: Run) -> None:
    ranks = {bytes([byte]): byte for byte in range(256)}
    mine = Tokenizer(
        "mine", pat_str=patterns.GPT2, mergeable_ranks=ranks, special_tokens={}, added_tokens={"<call>": 300}
    )
    mine.save("mine")
    code, out, err = run("explain", "--json", "-t", "mine", "a<call>")
    assert (code, err) == (0, "")
    piece = json.loads(out)["pieces"][1]
    assert piece == {
        "piece": "<call>",
        "start": ["<call>"],
        "merges": [],
        "tokens": [{"id": 300, "text": "<call>"}],
    }
    assert run("encode", "-t", "mine", "--text", "<call>").stdout == "300\n"
    Path("text").write_text("a<call>", encoding="utf-8")
    assert run("count", "-t", "mine", "text").stdout == "2\n"
    assert "added       <call>" in run("stats", "mine").stdout


@pytest.mark.parametrize(
    "arguments", [["count-pieces", "book.txt"], ["encode", *SONGS, "book.txt"], ["decode", *SONGS, "1", "2"]]
)
def test_a_result_that_goes_to_stdout_is_all_that_goes_there(arguments: list[str], book: Path) -> None:
    run_through(*arguments, "--out", "result")
    result = Path("result").read_bytes()
    assert run_through(*arguments, "--out", "/dev/stdout").stdout == result
    refused = run_through(*arguments, "--json", "--out", "/dev/stdout")
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert b"--out '/dev/stdout' is where --json goes, too; leave out one of them" in refused.stderr


def run_through(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    process = start(*arguments)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)

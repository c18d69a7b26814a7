"""Every command gets along with whatever streams it is handed: closed, full, of another encoding, or a terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
VOCABULARY = ["--tokenizer", str(ROOT / "tests" / "golden" / "songs.tiktoken"), "--pattern", "gpt2"]
COUNT = ["bpe", "count", *VOCABULARY, "--text", "love"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="descriptors and terminals are those of Unix")


def gpt2x(
    *words: str, closed: tuple[int, ...] = (), encoding: str = "utf-8", input: bytes = b"", **options: object
) -> subprocess.CompletedProcess[bytes]:
    def close() -> None:
        for descriptor in closed:
            os.close(descriptor)

    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "input": input, **options}
    command = [sys.executable, "-m", "gpt2x", *words]
    return subprocess.run(command, env=environment, preexec_fn=close, check=False, timeout=120, **streams)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize(
    "words",
    [["--version"], ["--help"], ["bpe", "--help"], COUNT, [*COUNT, "--json"], ["data", "list"]],
    ids=" ".join,
)
def test_a_result_that_cannot_be_delivered_is_one_sentence_and_exit_code_1(words: list[str]) -> None:
    closed = gpt2x(*words, closed=(1,))
    assert (closed.returncode, closed.stdout) == (1, b"")
    assert closed.stderr.startswith(b"gpt2x: standard output is closed")
    assert closed.stderr.count(b"\n") == 1
    if not Path("/dev/full").exists():
        return
    with open("/dev/full", "wb") as full:
        done = gpt2x(*words, stdout=full)
    assert done.returncode == 1
    assert b"No space left on device" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_talk_never_takes_the_place_of_a_closed_stderr(tmp_path: Path) -> None:
    (tmp_path / "low.txt").write_text("low lower lowest " * 9)
    words = (
        "bpe",
        "train",
        "--vocab",
        "260",
        "--json",
        "--out",
        str(tmp_path / "v"),
        str(tmp_path / "low.txt"),
    )
    done = gpt2x(*words, closed=(2,))
    assert done.returncode == 0
    assert json.loads(done.stdout)["vocab_size"] == 260
    failed = gpt2x("bpe", "count", *VOCABULARY, "missing.txt", closed=(2,))
    assert (failed.returncode, failed.stdout) == (3, b"")


def test_a_full_stderr_stops_no_command() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    with open("/dev/full", "wb") as full:
        assert gpt2x("data", "list", stderr=full).returncode == 0
        assert gpt2x("bpe", "count", *VOCABULARY, "missing.txt", stderr=full).returncode == 3


@pytest.mark.parametrize(
    "words", [COUNT[:-2], ["bpe", "decode", *VOCABULARY], ["bpe", "train", "-"]], ids=" ".join
)
def test_a_closed_stdin_is_one_sentence(words: list[str], tmp_path: Path) -> None:
    done = gpt2x(*words, closed=(0,), input=None, cwd=tmp_path)
    assert done.returncode == 3
    assert b"standard input is closed" in done.stderr
    assert b"Traceback" not in done.stderr


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """Else a library that prints on descriptor 1 or 2 would write into the result."""
    program = (
        "from gpt2x import boundary\n"
        "boundary.prepare_streams()\n"
        f"file = open({str(tmp_path / 'file')!r}, 'w')\n"
        "raise SystemExit(100 + file.fileno())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: os.closerange(0, 3),
        check=False,
    )
    assert done.returncode >= 103


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-16", "utf-8"])
def test_a_stream_of_any_encoding_gets_all_results(encoding: str, tmp_path: Path) -> None:
    text = "naïve 愛 🙂"
    shown = gpt2x("bpe", "explain", *VOCABULARY, text, encoding=encoding)
    assert shown.returncode == 0, shown.stderr.decode()
    assert b"Traceback" not in shown.stderr
    exact = gpt2x("bpe", "explain", *VOCABULARY, "--json", text, encoding=encoding)
    assert json.loads(exact.stdout.decode(encoding))["text"] == text
    name = "naïve 愛 \udcff"  # a byte that is not valid UTF-8, as Python holds it
    (tmp_path / name).write_text("love")
    counted = gpt2x("bpe", "count", *VOCABULARY, "--json", name, encoding=encoding, cwd=tmp_path)
    assert json.loads(counted.stdout.decode(encoding))["inputs"][0]["name"] == name
    for words in (["--help"], ["bench", "--help"], ["bench", "explain"], ["bench", "explain", "flash"]):
        assert gpt2x(*words, encoding=encoding).returncode == 0


def test_a_name_that_is_not_utf8_goes_into_a_pipe_as_it_is(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\x1b.txt"
    try:
        Path(os.fsdecode(name)).write_text("love")
    except OSError:
        pytest.skip("this file system wants names in UTF-8")
    done = gpt2x("bpe", "count", *VOCABULARY, os.fsdecode(name), os.fsdecode(name))
    assert name in done.stdout


def on_a_terminal(*words: str) -> bytes:
    """What a person sees of a command."""
    import pty

    ours, theirs = pty.openpty()
    try:
        done = gpt2x(*words, stdout=theirs)
        assert done.returncode == 0, done.stderr
        os.close(theirs)
        seen = b""
        while True:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:
                return seen
            if not part:
                return seen
            seen += part
    finally:
        os.close(ours)


def test_no_result_steers_a_terminal(tmp_path: Path) -> None:
    name = tmp_path / "x\x1b[2J\x9b31m.txt"
    name.write_text("love")
    ids = gpt2x("bpe", "encode", *VOCABULARY, "--text", "a\x1b[2Jb").stdout.decode().split()
    seen = {
        "table": on_a_terminal("bpe", "count", *VOCABULARY, str(name), str(name)),
        "json": on_a_terminal("bpe", "count", *VOCABULARY, "--json", str(name)),
        "bytes": on_a_terminal("bpe", "decode", *VOCABULARY, *ids),
    }
    for kind, shown in seen.items():
        assert b"\x1b" not in shown, kind
        assert "\x9b" not in shown.decode(), kind
    assert json.loads(seen["json"])["inputs"][0]["name"] == str(name), "nothing of it is lost"
    assert seen["bytes"] == "a�[2Jb\r\n".encode()
    assert gpt2x("bpe", "decode", *VOCABULARY, *ids).stdout == b"a\x1b[2Jb", "a pipe gets the bytes"


def limited(megabytes: int) -> Callable[[], None]:
    def limit() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))

    return limit


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the limit on memory is not kept")
def test_too_little_memory_is_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gpt2x", "sing", "rain", "--seed", "1"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=limited(300),
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    talk, sentence = done.stderr.splitlines()  # what sings is said before the model is loaded
    assert talk.endswith(b", seed 1")
    assert sentence.startswith(b"gpt2x: there is not enough memory")


def test_ctrl_c_while_a_command_is_loaded_ends_it_at_once_and_silently() -> None:
    program = (
        "import os, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from gpt2x import interrupts\n"
        "interrupts.leave()\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, b"gpt2x: interrupted\n")


def test_an_interrupt_that_is_ignored_stays_ignored() -> None:
    program = (
        "import signal\n"
        "from gpt2x import interrupts\n"
        "interrupts.leave()\n"
        "interrupts.be_raised()\n"
        "raise SystemExit(signal.getsignal(signal.SIGINT) is not signal.SIG_IGN)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        check=False,
    )
    assert done.returncode == 0


def test_a_wrong_command_line_is_told_in_few_words() -> None:
    for words in (
        ["bench", "--batch", "x" * 10**5],
        ["x" * 10**5],
        ["bench", "--" + "x" * 10**5],
        ["bpe", "\x1b[2J"],
    ):
        done = gpt2x(*words)
        assert done.returncode == 2
        assert len(done.stderr) < 2000
        assert b"\x1b" not in done.stderr


def test_the_trainer_on_its_own_has_the_same_boundary() -> None:
    command = [sys.executable, "-m", "gpt2x.train", "presets"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, env=environment, preexec_fn=lambda: os.close(1), stderr=subprocess.PIPE, check=False
    )
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1), done.stderr


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("sing rain --max-copied 1", "--max-copied is '1': "),
        ("sing rain --max-copied=1", "--max-copied is '1': "),
        ("train lyrics --steps many", "--steps is 'many': "),
        ("sing --temperatur 1", "there is no option --temperatur; did you mean --temperature?"),
        ("sing --xyz", "there is no option --xyz; see gpt2x sing -h"),
        ("runs compar", "there is no command 'compar'; did you mean compare?"),
        ("data nope", "there is no command 'nope'; known: list, get"),
        ("bench show", "Missing argument 'FILE'; see gpt2x bench show -h"),
        ("sing rain --lines 3 --min-lines 9", "--min-lines 9 are more than --lines 3; give no more"),
        ("sing rain --stop=", "--stop is empty; give the text before which a song is to end"),
    ],
)
def test_a_wrong_command_line_is_one_sentence_that_names_what_is_wrong(line: str, sentence: str) -> None:
    done = gpt2x(*line.split())
    *talk, last = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout, talk) == (2, b"", [])
    assert last.startswith(f"gpt2x: {sentence}")

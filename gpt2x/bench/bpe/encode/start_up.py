"""How long a whole process takes that counts the tokens of a file: Python, imports, vocabulary, and the text."""

from __future__ import annotations

import importlib.metadata
import subprocess
import time
from pathlib import Path

from gpt2x import child
from gpt2x.bench.bpe.encode.inputs import Input
from gpt2x.bench.bpe.encode.peers import ORACLE, OURS, Vocabulary
from gpt2x.bench.bpe.encode.results import BpeResults, StartUp
from gpt2x.bench.contender import Contender
from gpt2x.bench.effort import Effort
from gpt2x.bench.interleave import interleave
from gpt2x.bench.process import TookTooLong, WorkerFailed, worker_environment
from gpt2x.errors import InputDataError
from gpt2x.tokenizer import registry

FILE_BYTES = 1_000_000

TIKTOKEN_SCRIPT = """
import sys
import tiktoken
from tiktoken.load import load_tiktoken_bpe
ranks, pattern, text = sys.argv[1:]
encoding = tiktoken.Encoding("gpt2", pat_str=pattern, mergeable_ranks=load_tiktoken_bpe(ranks), special_tokens={})
with open(text, encoding="utf-8", newline="") as file:
    print(len(encoding.encode_ordinary(file.read())))
"""
OUR_ENTRY_POINT = "gpt2x.__main__:main"
"""What the command `gpt2x` calls, where gpt2x runs from a checkout that is not installed."""


def our_script() -> str:
    """What the file does that pip makes for the command `gpt2x`."""
    scripts = importlib.metadata.entry_points(group="console_scripts", name="gpt2x")
    entry_point = next((script.value for script in scripts), OUR_ENTRY_POINT)
    module, _, function = entry_point.partition(":")
    return f"from {module} import {function}; {function}()"


def measure_start_up(
    results: BpeResults, text: Input, vocabulary: Vocabulary, folder: Path, *, rounds: int, timeout_s: float
) -> None:
    """Run both programs in turn on the start of a text, and put their times into the results."""
    file = folder / "start-up.txt"
    file.write_bytes(text.text.encode()[:FILE_BYTES].decode(errors="ignore").encode())
    count = ["bpe", "count", str(file)]
    if not _is_gpt2(vocabulary):
        count += ["--tokenizer", str(vocabulary.rank_file)]
    arguments = [str(vocabulary.rank_file), vocabulary.pat_str, str(file)]
    programs = [
        (StartUp(name=ORACLE, what="a script with tiktoken"), child.code_command(TIKTOKEN_SCRIPT, arguments)),
        (
            StartUp(name=OURS, what="gpt2x bpe count FILE"),
            child.code_command(our_script(), count, with_gpt2x=True),
        ),
    ]
    results.start_up_bytes = file.stat().st_size
    results.start_up = [program for program, _ in programs]
    variables = _variables(vocabulary, folder)
    contenders = [ProgramContender(program, command, variables, timeout_s) for program, command in programs]
    interleave(contenders, Effort(rounds=rounds, warm_up=1))


def _variables(vocabulary: Vocabulary, folder: Path) -> dict[str, str]:
    """The environment of both programs: where the vocabulary is, and that Python may keep what it compiled.

    pip compiles what it installs, but not a checkout; so the round that warms up compiles both into a folder of their
    own. With an empty name tiktoken reads the rank file from where it is, instead of a copy of it in a cache.
    """
    variables = worker_environment(folder, None)
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    return variables | {
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
        "TIKTOKEN_CACHE_DIR": "",
        "GPT2X_VOCAB": str(vocabulary.rank_file),
    }


def _is_gpt2(vocabulary: Vocabulary) -> bool:
    try:
        registry.find(vocabulary.rank_file)
    except InputDataError:
        return False
    return True


class ProgramContender(Contender):
    """A whole process, timed from its start to its end; its figures go into a `StartUp`."""

    def __init__(
        self, program: StartUp, command: list[str], variables: dict[str, str], timeout_s: float
    ) -> None:
        super().__init__(program.name, program.what)
        self.program, self.command, self.variables, self.timeout_s = program, command, variables, timeout_s

    def measure(self) -> tuple[float, str]:
        """Run it; the seconds, and what it printed."""
        start = time.perf_counter()
        try:
            done = subprocess.run(
                self.command,
                env=self.variables,
                capture_output=True,
                text=True,
                check=True,
                timeout=self.timeout_s,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            raise TookTooLong("took too long and was stopped") from None
        except subprocess.CalledProcessError as error:
            lines = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]
            raise WorkerFailed(lines[-1][:200]) from error
        return time.perf_counter() - start, done.stdout.strip()

    def keep(self, measured: tuple[float, str]) -> float:
        """Add a sample."""
        elapsed_s, self.program.output = measured
        self.program.samples_s.append(elapsed_s)
        return elapsed_s

    def drop(self, reason: WorkerFailed) -> None:
        """Say why beside the program."""
        super().drop(reason)
        self.program.reason = self.reason

"""Everything that wants a GPU in one go: build, check, test, measure, train. Run it as ``benchmarks/gpu_suite.sh``.

It is written for a machine that is seen for the first time and only for some minutes, so nothing may be lost:

- every part is a process group of its own with its own time limit; one that fails, hangs or is killed stops no other;
- parts stand in the order of their worth, and when the total budget is spent the rest is marked "no time left";
- the summary is written anew after every part, so that it is there whenever the suite is ended;
- a part that needs what is not installed is skipped, and says what that is;
- the GPU's settings are recorded and never changed; nothing is downloaded or installed.

In the folder: ``summary.md`` and ``summary.json``, and for each part its log and what it wrote. Exit status 0 when no
part failed or ran out of time, 1 when one did, 130 when the suite was interrupted.

Standard library only: the parts need torch, the suite does not.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parent))

from gpu_suite_facts import collect_facts
from gpu_suite_parts import ROOT, Part, make_parts

BUDGET_S = 540.0
GRACE_S = 8.0  # from the polite signal to the hard one: `gpt2x bench` writes what it has
SHORTEST_S = 5.0  # with less time than this left no part is begun
TAIL_LINES = 15

PASSED, FAILED, SKIPPED, TIMED_OUT = "passed", "failed", "skipped", "timed out"
NO_TIME, INTERRUPTED = "no time left", "interrupted"

MISSING_COMPONENT = 4  # gpt2x's exit code for what is not installed or not here
NO_TESTS = 5  # pytest's for nothing that ran


@dataclass(kw_only=True)
class Outcome:
    """What became of a part."""

    name: str
    title: str
    command: str
    status: str
    reason: str = ""
    seconds: float = 0.0
    tail: list[str] = field(default_factory=list)
    """The last lines of its log."""
    figures: list[str] = field(default_factory=list)


# ----------------------------------------------------------------------------------------------------------------
# Running them


class Suite:
    """Runs the parts, one after another, and keeps the summary true to what has happened."""

    def __init__(
        self,
        parts: Sequence[Part],
        out: Path,
        *,
        budget_s: float = BUDGET_S,
        grace_s: float = GRACE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.parts, self.out, self.grace_s, self.clock = parts, out, grace_s, clock
        self.start = clock()
        self.deadline = self.start + budget_s
        self.outcomes: list[Outcome] = []
        self.started = time.strftime("%Y-%m-%d %H:%M:%S")

    def run(self) -> int:
        """All parts; the exit status."""
        self.out.mkdir(parents=True, exist_ok=True)
        interrupted = False
        for part in self.parts:
            if interrupted:
                outcome = self._not_run(part, INTERRUPTED)
            else:
                say(f"{part.name}: {part.title} …")
                try:
                    outcome = self._run(part)
                except KeyboardInterrupt:
                    interrupted, outcome = True, self._not_run(part, INTERRUPTED)
            self.outcomes.append(outcome)
            say(f"{part.name}: {outcome.status}{f', {outcome.reason}' if outcome.reason else ''}")
            self.write_summary()
        if interrupted:
            return 130
        return int(any(outcome.status in (FAILED, TIMED_OUT) for outcome in self.outcomes))

    def _run(self, part: Part) -> Outcome:
        missing = [name for name in part.modules if importlib.util.find_spec(name) is None]
        if missing:
            return self._not_run(part, SKIPPED, f"{missing[0]} is not installed")
        program = part.command[0]
        if shutil.which(program) is None:
            return self._not_run(part, SKIPPED, f"{program} is not found")
        left = self.deadline - self.clock() - self.grace_s
        if left < SHORTEST_S:
            return self._not_run(part, NO_TIME)
        begin = self.clock()
        status, reason = self._execute(part, min(part.timeout_s, left))
        outcome = self._not_run(part, status, reason)
        outcome.seconds = self.clock() - begin
        outcome.tail = tail(self.log(part))
        log = read(self.log(part))
        if status == FAILED and part.skipped_by and part.skipped_by in log:
            outcome.status, outcome.reason = SKIPPED, f"it says: {part.skipped_by}"
        elif status == PASSED and part.proof not in log:
            outcome.status, outcome.reason = SKIPPED, "it found nothing to do here"
        elif status == SKIPPED and not reason:
            outcome.reason = outcome.tail[-1] if outcome.tail else ""
        outcome.figures = figures(part, self.result(part))
        return outcome

    def _execute(self, part: Part, timeout_s: float) -> tuple[str, str]:
        """Run the command; its status and the reason for it. No process of its group is left afterwards."""
        with contextlib.ExitStack() as files:
            log = files.enter_context(self.log(part).open("wb"))
            log.write(f"$ {' '.join(part.command)}\n".encode())
            log.flush()
            stdout = files.enter_context(self.result(part).open("wb")) if part.prints_json else log
            try:
                process = subprocess.Popen(
                    part.command,
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=log,
                    env=environment(),
                    start_new_session=True,  # a process group of its own, which Ctrl-C does not reach
                )
            except OSError as error:
                return FAILED, f"it cannot be started: {error.strerror}"
            try:
                return verdict(process.wait(timeout_s))
            except subprocess.TimeoutExpired:
                return TIMED_OUT, f"stopped after {timeout_s:.0f} s"
            finally:
                end_group(process, self.grace_s)

    def _not_run(self, part: Part, status: str, reason: str = "") -> Outcome:
        return Outcome(
            name=part.name, title=part.title, command=" ".join(part.command), status=status, reason=reason
        )

    def log(self, part: Part) -> Path:
        """Where what it says is kept."""
        return self.out / f"{part.name}.log"

    def result(self, part: Part) -> Path:
        """Where the JSON that it prints is kept."""
        return self.out / f"{part.name}.json"

    def write_summary(self) -> None:
        """Write both summaries, each as a whole or not at all."""
        seconds = self.clock() - self.start
        facts = {"started": self.started, "seconds": seconds, "parts": [asdict(o) for o in self.outcomes]}
        write(self.out / "summary.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
        write(self.out / "summary.md", as_markdown(self.outcomes, self.started, seconds))


def environment() -> dict[str, str]:
    """This one, with the checkout's own gpt2x, no network, and output that is not held back."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    fixed = {
        "PYTHONPATH": paths,
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
        "GPT2X_OFFLINE": "1",
        "HF_HUB_OFFLINE": "1",
    }
    return {**os.environ, **fixed}


def verdict(code: int) -> tuple[str, str]:
    """What an exit status means."""
    if code == 0:
        return PASSED, ""
    if code < 0:
        return FAILED, f"killed by {signal.Signals(-code).name}"
    if code == MISSING_COMPONENT:
        return SKIPPED, ""  # its last line says what is missing
    if code == NO_TESTS:
        return SKIPPED, "no test ran (exit status 5)"
    return FAILED, f"exit status {code}"


def end_group(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """End what is left of a process and of all that it started, politely if it is still at work."""
    if process.poll() is None:
        signal_group(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
    signal_group(process, signal.SIGKILL)
    process.wait()


def signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """To every process of the group; nothing happens when there is none left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


# ----------------------------------------------------------------------------------------------------------------
# The summary


def as_markdown(outcomes: Sequence[Outcome], started: str, seconds: float) -> str:
    """A table of all parts, then their figures and the end of their logs."""
    lines = [
        "# The GPU suite",
        "",
        f"Started {started}, {seconds:.0f} seconds so far.",
        "",
        "| part | | status | seconds | remark |",
        "|---|---|---|---|---|",
        *(f"| {o.name} | {o.title} | {o.status} | {o.seconds:.0f} | {cell(o.reason)} |" for o in outcomes),
    ]
    for outcome in outcomes:
        if outcome.figures or outcome.tail:
            lines += ["", f"## {outcome.name}: {outcome.status}", "", f"`{cell(outcome.command)}`", ""]
            lines += [f"- {figure}" for figure in outcome.figures]
        if outcome.tail:
            lines += ["", "```", *(line.replace("```", "'''") for line in outcome.tail), "```"]
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    """Text on one line that breaks neither a table nor a code span."""
    return text.replace("|", "\\|").replace("`", "'").replace("\n", " ")


def read(path: Path, most_bytes: int = 2**20) -> str:
    """The end of a file; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - most_bytes))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def tail(path: Path) -> list[str]:
    """The last lines of a log, each cut to a length that can be read."""
    return [line.rstrip()[:300] for line in read(path, 2**14).splitlines()[-TAIL_LINES:]]


def figures(part: Part, path: Path) -> list[str]:
    """What a part's JSON says in a few lines; also when it ended early, if the file is whole."""
    if part.digest is None:
        return []
    try:
        return part.digest(json.loads(read(path, 2**26)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"{path.name} cannot be read: {type(error).__name__}"]


# ----------------------------------------------------------------------------------------------------------------


def write(path: Path, text: str) -> None:
    """As a whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def say(text: str) -> None:
    """For whoever watches."""
    print(text, file=sys.stderr, flush=True)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/gpu_suite.sh",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = Path(os.environ.get("OUT") or ROOT / "bench-results" / "gpu-suite")
    parser.add_argument("folder", nargs="?", type=Path, default=default, help="where everything goes ($OUT)")
    parser.add_argument(
        "--budget", type=float, default=BUDGET_S, metavar="SECONDS", help="for all parts together"
    )
    parser.add_argument("--only", default="", metavar="NAMES", help="only these parts, separated by commas")
    parser.add_argument("--skip", default="", metavar="NAMES", help="all parts but these")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: the same in small")
    parser.add_argument("--dry-run", action="store_true", help="print what would be done, and do nothing")
    parser.add_argument(
        "--facts", action="store_true", help="print what this machine is, as JSON, and nothing else"
    )
    options = parser.parse_args(arguments)
    known = [part.name for part in make_parts("cuda", options.folder)]
    for option in ("only", "skip"):
        names = list(filter(None, getattr(options, option).split(",")))
        for name in names:
            if name not in known:
                parser.error(f"--{option} {name!r} is unknown; choose among {', '.join(known)}")
        setattr(options, option, names)
    return options


def choose(parts: Sequence[Part], only: Sequence[str], skip: Sequence[str]) -> list[Part]:
    """Those that are asked for."""
    return [part for part in parts if (not only or part.name in only) and part.name not in skip]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite, or say what it would do."""
    options = parse(arguments)
    if options.facts:
        print(json.dumps(collect_facts(), indent=2))
        return 0
    out = options.folder.resolve()
    parts = choose(make_parts(options.device, out), options.only, options.skip)
    if options.dry_run:
        for part in parts:
            print(f"{part.name} (at most {part.timeout_s:.0f} s): {' '.join(part.command)}")
        return 0

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not stop the ending of the part
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    suite = Suite(parts, out, budget_s=options.budget)
    try:
        return suite.run()
    finally:
        say(f"summary: {out / 'summary.md'}")


if __name__ == "__main__":
    sys.exit(main())

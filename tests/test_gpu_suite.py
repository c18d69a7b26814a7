"""The GPU suite loses nothing: a part that fails, hangs or is killed stops no other, and the summary tells of it."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "benchmarks" / "gpu_suite.py"
if not SCRIPT.exists():
    pytest.skip("benchmarks/ is not here", allow_module_level=True)


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPT.with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


suite = _load("gpu_suite")
parts_of_suite = sys.modules["gpu_suite_parts"]


def part(name: str, program: str, **changes: Any) -> Any:
    """A part that runs a Python program."""
    values = {"title": name, "command": (sys.executable, "-c", program), "timeout_s": 30.0, **changes}
    return suite.Part(name=name, **values)


def run(parts: list[Any], out: Path, **options: Any) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit status, and what the summary says of each part."""
    code = suite.Suite(parts, out, **{"budget_s": 60.0, "grace_s": 0.5, **options}).run()
    summary = json.loads((out / "summary.json").read_text())
    return code, {outcome["name"]: outcome for outcome in summary["parts"]}


def alive(pid: int) -> bool:
    """Whether the process still runs; one that nobody has collected yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_part_that_fails_stops_no_other(tmp_path: Path) -> None:
    parts = [
        part("bad", "import sys; print('before the end'); sys.exit('it broke')"),
        part("good", "print('fine')"),
    ]
    code, found = run(parts, tmp_path)
    assert code == 1
    assert (found["bad"]["status"], found["bad"]["reason"]) == ("failed", "exit status 1")
    assert {"before the end", "it broke"} <= set(found["bad"]["tail"])
    assert found["good"]["status"] == "passed"
    page = (tmp_path / "summary.md").read_text()
    assert "| bad | bad | failed |" in page
    assert "it broke" in page


def test_a_part_that_hangs_is_stopped_with_all_that_it_started(tmp_path: Path) -> None:
    hang = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)"
    )
    code, found = run([part("hangs", hang, timeout_s=3.0), part("next", "pass")], tmp_path)
    assert code == 1
    assert (found["hangs"]["status"], found["hangs"]["reason"]) == ("timed out", "stopped after 3 s")
    assert found["next"]["status"] == "passed"
    assert not alive(int(found["hangs"]["tail"][-1]))


def test_a_part_that_is_asked_to_stop_may_keep_what_it_has(tmp_path: Path) -> None:
    polite = (
        "import signal, sys, time\n"
        "def stop(*_): print('{\"half\": 1}', flush=True); sys.exit(130)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "time.sleep(600)"
    )
    slow = part(
        "slow",
        polite,
        timeout_s=2.0,
        prints_json=True,
        digest=lambda found: [f"half: {found['half']}"],
    )
    _, found = run([slow], tmp_path, grace_s=10.0)
    assert (found["slow"]["status"], found["slow"]["figures"]) == ("timed out", ["half: 1"])


def test_a_part_that_is_killed_is_said_to_be(tmp_path: Path) -> None:
    killed = part("killed", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    code, found = run([killed, part("next", "pass")], tmp_path)
    assert code == 1
    assert (found["killed"]["status"], found["killed"]["reason"]) == ("failed", "killed by SIGKILL")
    assert found["next"]["status"] == "passed"


def test_a_process_that_a_part_leaves_behind_is_ended(tmp_path: Path) -> None:
    leaves = (
        "import subprocess, sys\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid)"
    )
    _, found = run([part("leaves", leaves)], tmp_path)
    assert found["leaves"]["status"] == "passed"
    pid = int(found["leaves"]["tail"][-1])
    for _ in range(100):  # the signal is sent; the system may take a moment
        if not alive(pid):
            break
        time.sleep(0.05)
    assert not alive(pid)


def test_when_the_time_is_spent_the_rest_is_marked(tmp_path: Path) -> None:
    now = iter([0.0, 0.0, 1.0, 50.0, *[58.0] * 20])
    code, found = run([part("first", "pass"), part("second", "pass")], tmp_path, clock=lambda: next(now))
    assert code == 0
    assert [found[name]["status"] for name in ("first", "second")] == ["passed", "no time left"]


def test_a_part_gets_no_more_time_than_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "SHORTEST_S", 0.5)
    late = part("late", "import time; time.sleep(600)", timeout_s=500.0)
    _, found = run([late], tmp_path, budget_s=1.5)
    assert found["late"]["status"] == "timed out"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"modules": ("json", "no_such_module")}, "no_such_module is not installed"),
        ({"command": ("no-such-program", "--version")}, "no-such-program is not found"),
    ],
)
def test_what_is_not_installed_skips_a_part_and_is_named(
    changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    code, found = run([part("needs", "pass", **changes)], tmp_path)
    assert code == 0
    assert (found["needs"]["status"], found["needs"]["reason"]) == ("skipped", reason)


@pytest.mark.parametrize(("code", "status"), [(0, "passed"), (1, "failed"), (4, "skipped"), (5, "skipped")])
def test_the_exit_status_decides(code: int, status: str, tmp_path: Path) -> None:
    _, found = run([part("ends", f"import sys; sys.exit({code})")], tmp_path)
    assert found["ends"]["status"] == status


def test_a_command_that_misses_something_says_what(tmp_path: Path) -> None:
    program = "import sys; print('first'); print('needs an NVIDIA GPU'); sys.exit(4)"
    _, found = run([part("needs", program)], tmp_path)
    assert (found["needs"]["status"], found["needs"]["reason"]) == ("skipped", "needs an NVIDIA GPU")


def test_a_success_in_which_nothing_was_done_is_none(tmp_path: Path) -> None:
    parts = [
        part("nothing", "print('12 skipped')", proof=" passed"),
        part("some", "print('3 passed')", proof=" passed"),
    ]
    _, found = run(parts, tmp_path)
    assert [outcome["status"] for outcome in found.values()] == ["skipped", "passed"]


def test_a_tool_that_cannot_work_on_this_machine_is_skipped(tmp_path: Path) -> None:
    refuses = part(
        "tool", "import sys; sys.exit('Error: Device not supported')", skipped_by="Device not supported"
    )
    _, found = run([refuses], tmp_path)
    assert found["tool"]["status"] == "skipped"


def test_json_goes_to_its_file_and_its_figures_into_the_summary(tmp_path: Path) -> None:
    program = "import sys; print('{\"speed\": 3}'); print('talk', file=sys.stderr)"
    parts = [
        part("good", program, prints_json=True, digest=lambda found: [f"speed {found['speed']}"]),
        part("bad", "print('{')", prints_json=True, digest=lambda found: [found["speed"]]),
    ]
    _, found = run(parts, tmp_path)
    assert json.loads((tmp_path / "good.json").read_text()) == {"speed": 3}
    assert found["good"]["figures"] == ["speed 3"]
    assert found["good"]["tail"][-1] == "talk"
    assert found["bad"]["figures"] == ["bad.json cannot be read: JSONDecodeError"]
    assert "- speed 3" in (tmp_path / "summary.md").read_text()


def test_a_log_that_is_no_text_does_not_spoil_the_summary(tmp_path: Path) -> None:
    noise = part("noise", "import sys; sys.stdout.buffer.write(b'\\xff\\xfe```\\n|x' + b'y' * 5000)")
    code, found = run([noise], tmp_path)
    assert code == 0
    assert max(map(len, found["noise"]["tail"])) <= 300
    assert (tmp_path / "summary.md").read_text().count("```") == 2


def test_the_summary_is_there_after_every_part(tmp_path: Path) -> None:
    look = f"import pathlib; print(pathlib.Path({str(tmp_path)!r}, 'summary.json').read_text())"
    _, found = run([part("first", "pass"), part("second", look)], tmp_path)
    assert '"name": "first",' in "".join(found["second"]["tail"])


def test_an_interrupted_suite_keeps_its_summary_and_leaves_no_process(tmp_path: Path) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r})\n"
        "import gpu_suite\n"
        "wait = 'import os, time; print(os.getpid(), flush=True); time.sleep(600)'\n"
        "parts = [gpu_suite.Part(name=name, title='', command=(sys.executable, '-c', code), timeout_s=600)\n"
        "         for name, code in (('quick', 'pass'), ('long', wait), ('never', 'pass'))]\n"
        "gpu_suite.make_parts = lambda device, out, python='': parts\n"
        f"sys.exit(gpu_suite.main([{str(tmp_path)!r}]))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    log = tmp_path / "long.log"
    deadline = time.monotonic() + 60
    while not (log.exists() and len(log.read_text().splitlines()) == 2) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    parts = json.loads((tmp_path / "summary.json").read_text())["parts"]
    assert [p["status"] for p in parts] == ["passed", "interrupted", "interrupted"]
    assert not alive(int(log.read_text().splitlines()[-1]))


# ----------------------------------------------------------------------------------------------------------------
# The real parts


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_the_real_parts_have_names_of_their_own_and_files_that_exist(device: str, tmp_path: Path) -> None:
    parts = suite.make_parts(device, tmp_path)
    names = [p.name for p in parts]
    assert len(set(names)) == len(names)
    assert names[:4] == ["facts", "build", "kernels", "tests"]
    assert ("memcheck" in names) == (device == "cuda")
    for p in parts:
        assert 0 < p.timeout_s < suite.BUDGET_S
        for word in p.command:
            if word.endswith(".py") or word.startswith("tests/"):
                assert (ROOT / word).exists(), f"{p.name}: {word}"


def test_the_ladder_is_asked_for_rungs_that_there_are() -> None:
    from gpt2x.bench.ladder import rungs as ladder

    assert [rung.key for rung in ladder.select(parts_of_suite.LADDER)][1:] == parts_of_suite.LADDER.split(",")


@pytest.mark.parametrize("name", ["step", "decode", "ladder", "train"])
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_the_commands_have_the_options_that_they_are_given(name: str, device: str, tmp_path: Path) -> None:
    command = next(p.command for p in suite.make_parts(device, tmp_path) if p.name == name)
    pytest.importorskip("typer")
    done = subprocess.run(
        [*(word for word in command if word != "--json"), "--help"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=120,
        env={**os.environ, "COLUMNS": "200", "TERMINAL_WIDTH": "200"},
    )
    assert done.returncode == 0, done.stderr
    for option in (word for word in command if word.startswith("--")):
        assert option in done.stdout, f"{' '.join(command)}: no option {option}"


def test_a_dry_run_does_nothing_but_say_what_it_would(tmp_path: Path) -> None:
    done = _script(str(tmp_path / "out"), "--dry-run", "--skip", "train,ladder")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "facts", "build", "kernels", "tests", "step", "ops", "memcheck", "decode", "racecheck",
    ]  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_an_unknown_part_is_refused_by_name(tmp_path: Path) -> None:
    done = _script(str(tmp_path), "--only", "facts,fcats")
    assert done.returncode == 2
    assert "--only 'fcats' is unknown; choose among facts, build" in done.stderr


def test_the_facts_and_the_kernels_part_work_on_a_cpu(tmp_path: Path) -> None:
    from gpt2x.ops import backend

    done = _script(str(tmp_path), "--device", "cpu", "--only", "facts,kernels")
    parts = {p["name"]: p for p in json.loads((tmp_path / "summary.json").read_text())["parts"]}
    native = backend.report("cpu")[0].implementation == "native"
    assert parts["facts"]["status"] == "passed", done.stderr
    assert any(line.startswith("torch, cuda") for line in parts["facts"]["figures"])
    assert parts["kernels"]["status"] == ("passed" if native else "failed")
    assert done.returncode == (0 if native else 1)


@pytest.mark.parametrize("wrong", [1.01, float("nan")])
def test_a_kernel_that_computes_something_else_is_found(
    wrong: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gpt2x import ops
    from gpt2x.ops import reference

    kernels = _load("sanitize_kernels")
    shape = kernels.SHAPES[1]
    assert kernels.check("cpu", "bias_gelu", shape) == 0
    monkeypatch.setattr(ops, "bias_gelu", lambda x, bias: reference.bias_gelu(x, bias) * wrong)
    assert kernels.check("cpu", "bias_gelu", shape) == 2
    assert "bias_gelu in float32, Shape(rows=37" in capsys.readouterr().out


def test_operators_are_measured_without_typer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gpt2x.bench import machine

    measure = _load("measure_ops")
    monkeypatch.setattr(machine, "measure_bandwidth", lambda device: 5e10)
    monkeypatch.setattr(machine, "measure_peak", lambda device: {"float32": 2e11})
    monkeypatch.setattr(measure.ops, "QUICK", measure.ops.Effort(budget_s=0.0, min_rounds=1))
    monkeypatch.setattr(measure, "keep_freed_memory", lambda: True)
    tables = tmp_path / "ops.md"
    arguments = ["--device", "cpu", "--quick", "--rows", "4", "--vocab", "16", "--tables", str(tables)]
    monkeypatch.setattr(sys, "argv", ["measure_ops.py", *arguments])
    assert measure.main() == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["sizes"]["N"], found["sizes"]["V"]) == (4, 16)
    assert len(parts_of_suite.ops_digest(found)) == 1 + len(found["operators"])
    assert all(op["name"] in tables.read_text() for op in found["operators"])


def _script(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(ROOT / "benchmarks" / "gpu_suite.sh"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHON": sys.executable},
    )


# ----------------------------------------------------------------------------------------------------------------
# What is read out of the results


def _entry(title: str, **changes: Any) -> dict[str, Any]:
    values = {"step_ms": [1.0], "median_ms": 100.0, "peak_memory_bytes": 30_000_000_000, "losses": [4.0]}
    return {"title": title, "failed": "", "ratio": None, **values, **changes}


def test_the_step_is_held_against_its_peers_and_goals() -> None:
    found = {
        "dtype": "bfloat16",
        "setting": {"model": "gpt2", "batch": 64, "seq": 1024, "device": "cuda"},
        "entries": [
            _entry("gpt2x"),
            _entry("torch.compile", median_ms=115.0, ratio=1.15, peak_memory_bytes=50_000_000_000),
            _entry("transformers", step_ms=[], failed="transformers is not installed"),
        ],
    }
    assert parts_of_suite.step_digest(found) == [
        "gpt2, B = 64, T = 1024, bfloat16: 100.0 ms a step, 30.00 GB, loss 4.000",
        "torch.compile: 115.0 ms, so ours is 1.15 × as fast and takes 0.60 × its memory",
        "transformers: transformers is not installed",
        "the goals beside torch.compile: 1.12 × as fast, 0.70 × the memory",
    ]
    found["entries"][0] = _entry("gpt2x", step_ms=[], failed="out of memory")
    assert parts_of_suite.step_digest(found) == ["gpt2x: out of memory"]


def test_every_way_of_decoding_is_listed() -> None:
    entries = [
        {"title": "gpt2x int8", "tokens_per_second": 81.26, "failed": ""},
        {"title": "transformers", "tokens_per_second": None, "failed": "not installed"},
    ]
    assert parts_of_suite.decode_digest({"entries": entries}) == [
        "gpt2x int8: 81.3 tokens/s",
        "transformers: not installed",
    ]


def test_an_operator_that_is_slower_than_torch_is_named() -> None:
    op = {"name": "gemv", "case": "", "dtype": "float32", "served": "native"}
    found = {
        "device_name": "a GPU",
        "bandwidth": 4e12,
        "peak_flops": {"bfloat16": 7.9e14},
        "operators": [
            {**op, "share_of_peak": 0.4, "speedup_over_torch": 0.5},
            {**op, "case": "int8 weight", "share_of_peak": None, "speedup_over_torch": None},
        ],
        "failed": [{"name": "linear", "case": "forward", "dtype": "float32", "reason": "no memory"}],
    }
    assert parts_of_suite.ops_digest(found) == [
        "a GPU: 4000 GB/s, 790 TFLOP/s bfloat16",
        "gemv, float32: 40% of the peak, 0.50 × torch (slower), served by native",
        "gemv int8 weight, float32: no peak to compare with, served by native",
        "linear forward, float32 failed: no memory",
    ]

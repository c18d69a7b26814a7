"""Children of gpt2x never import from the folder that the user happens to be in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpt2x import child
from gpt2x.bench.ladder.fork_server import ForkServer
from gpt2x.bench.process import run_worker, worker_environment

ROOT = Path(__file__).parent.parent
SHADOWS = (
    "json",
    "signal",
    "typing",
    "torch",
    "numpy",
    "typer",
    "runpy",
    "encodings",
    "subprocess",
    "tiktoken",
)
"""Names that a student may give a file, and that a child of ours would import."""


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder whose modules must not be imported: each leaves a file ``imported-NAME``, and raises."""
    folder = tmp_path / "homework"
    folder.mkdir()
    for name in SHADOWS:
        report = f"open({str(tmp_path / f'imported-{name}')!r}, 'w').close()\n"
        (folder / f"{name}.py").write_text(f"{report}raise SystemExit('{name}.py of the current folder')\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep)  # nothing but empty entries, which mean the current folder
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)  # as on Python 3.10, which does not know it
    return folder


def imported(trap: Path) -> list[str]:
    return sorted(file.name for file in trap.parent.glob("imported-*"))


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    # Without PYTHONSAFEPATH even where it is known: the command alone has to do on Python 3.10.
    variables = {k: v for k, v in child.environment().items() if k != "PYTHONSAFEPATH"}
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=120)


def test_the_traps_catch_a_python_that_is_started_the_plain_way(trap: Path) -> None:
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", "import json"], env=variables, capture_output=True, check=False)
    assert imported(trap) == ["imported-json"]


def test_a_module_runs_with_our_gpt2x_and_its_arguments(trap: Path) -> None:
    done = run(child.module_command("gpt2x", ["--version"]))
    assert (done.returncode, done.stdout[:6]) == (0, "gpt2x "), done.stderr
    assert imported(trap) == []


def test_code_runs_without_the_current_folder(trap: Path) -> None:
    code = "import json, signal, typing, subprocess, sys; print(sys.argv[1:], '' in sys.path)"
    assert run(child.code_command(code, ["a", "b"])).stdout == "['a', 'b'] False\n"
    where = run(child.code_command("import gpt2x, json; print(gpt2x.__file__)", with_gpt2x=True))
    assert Path(where.stdout.strip()) == ROOT / "gpt2x" / "__init__.py", where.stderr
    assert imported(trap) == []


def test_modules_beside_the_package_do_not_come_before_pythons_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gpt2x").symlink_to(ROOT / "gpt2x")
    (tmp_path / "colorsys.py").write_text("raise SystemExit('beside the package')\n")
    monkeypatch.setattr("gpt2x.__file__", str(tmp_path / "gpt2x" / "__init__.py"))
    done = run(child.code_command("import colorsys, gpt2x; print(gpt2x.__file__)", with_gpt2x=True))
    assert done.stdout == f"{tmp_path / 'gpt2x' / '__init__.py'}\n", done.stderr


def test_a_worker_of_the_bench_starts(trap: Path, tmp_path: Path) -> None:
    process = run_worker("gpt2x.bench.ladder.worker", worker_environment(tmp_path, None), tmp_path / "log")
    try:
        process.send({"do": "dance"})
        assert json.loads(process.lines.get(timeout=60) or "{}")["event"] == "failed", "it heard the request"
    finally:
        process.kill()
    assert imported(trap) == []


@pytest.mark.skipif(sys.platform != "linux", reason="workers are split off on Linux only")
def test_the_process_that_splits_off_workers_starts(trap: Path, tmp_path: Path) -> None:
    fork_server = ForkServer(["typing", "subprocess"], worker_environment(tmp_path, None), tmp_path / "log")
    try:
        with (tmp_path / "worker.log").open("wb") as errors:
            worker = fork_server.fork(errors)
        worker.kill()
        assert worker.wait() < 0
        for pipe in (worker.stdin, worker.stdout):
            assert pipe is not None
            pipe.close()
    finally:
        fork_server.close()
    assert imported(trap) == []


def test_the_trainer_of_the_first_song_starts(trap: Path) -> None:
    done = run(child.module_command("gpt2x.train", ["lyrics", "--preset", "first-song", "--show-config"]))
    assert done.returncode == 0, done.stderr
    assert imported(trap) == []


def test_what_a_child_starts_in_turn_is_kept_from_the_folder_too(
    trap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{os.pathsep}lib{os.pathsep}{os.pathsep}{tmp_path}{os.pathsep}")
    found = child.environment()
    assert found["PYTHONPATH"] == os.pathsep.join([str(trap / "lib"), str(tmp_path)])
    process = run_worker("gpt2x.bench.ladder.worker", worker_environment(tmp_path, None), tmp_path / "log")
    try:
        time.sleep(0.01)
        assert Path(os.readlink(f"/proc/{process.process.pid}/cwd")) == tmp_path
    except OSError:
        pytest.skip("this system does not tell where a process works")
    finally:
        process.kill()


@pytest.mark.parametrize("entries", ["", ":", f"{ROOT}:", f":{ROOT}"])
def test_an_empty_entry_in_pythonpath_lets_the_command_itself_import_nothing(
    entries: str, trap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the script `gpt2x` does, from a folder with a ``json.py``."""
    for name in ("encodings", "runpy"):  # which Python itself imports before any program can say anything
        (trap / f"{name}.py").unlink()
    monkeypatch.setenv("PYTHONPATH", entries)
    script = f"import sys; sys.path[0] = {str(trap.parent)!r}; sys.path.append({str(ROOT)!r})\n"
    script += "from gpt2x.__main__ import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", script, "--version"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout[:6]) == (0, "gpt2x "), done.stderr
    assert imported(trap) == []


def test_children_of_libraries_are_kept_from_the_folder(trap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child.protect_children()
    try:
        assert "PYTHONPATH" not in os.environ
        assert os.environ["PYTHONSAFEPATH"] == "1"
    finally:
        monkeypatch.undo()
        os.environ.pop("PYTHONSAFEPATH", None)

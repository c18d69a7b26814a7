"""The house has floors, and imports only go down (see CONTRIBUTING.md)."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "gpt2x"
FLOORS = {
    "__init__": 0, "_version": 0, "errors": 0, "paths": 0, "console": 0, "settings": 0, "_bpe": 0, "_ops": 0,
    "_text": 0, "download": 0, "child": 0, "markup": 0, "process_memory": 0, "interrupts": 0, "boundary": 0,
    "usage_errors": 0, "tables": 0,
    "tokenizer": 1, "ops": 1,
    "model": 2, "data": 2,
    "generate": 3, "export": 3,
    "train": 4, "classify": 4, "web": 4,
    "bench": 5,
    "cli": 6,
    "__main__": 7,
}  # fmt: skip
NEVER_THE_TRAINER = (
    "generate", "export", "classify", "web", "cli/sing.py", "cli/sing_options.py", "cli/sing_song.py",
    "cli/sing_interactive.py", "cli/sing_web.py", "cli/export.py", "cli/classify.py", "cli/classify_options.py",
    "cli/classify_compare.py", "cli/classify_train.py", "cli/classify_predict.py", "cli/classify_asking.py",
)  # fmt: skip
LIGHT_COMMANDS = (
    ["--help"],
    ["--version"],
    ["bpe", "--help"],
    ["bpe", "train", "--help"],
    ["train", "--help"],
)


def imports_of(file: Path) -> list[tuple[int, str]]:
    """All modules that a file imports, anywhere in it, as (line, absolute dotted name)."""
    found = []
    package = file.relative_to(PACKAGE.parent).with_suffix("").parts
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: -node.level]) + "." if node.level else ""
            module = (base + (node.module or "")).rstrip(".")
            found.append((node.lineno, module))
            if module == "gpt2x":
                found += [(node.lineno, f"gpt2x.{alias.name}") for alias in node.names]
    return found


def module_of(file: Path) -> str:
    """The dotted name of a file: gpt2x/model/gpt.py -> gpt2x.model.gpt, gpt2x/model/__init__.py -> gpt2x.model."""
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """The room a dotted name belongs to: gpt2x.model.gpt -> model."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def all_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_every_room_stands_on_a_floor() -> None:
    rooms = {
        path.stem if path.is_file() else path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"
    }
    rooms = {room for room in rooms if (PACKAGE / room).is_dir() or (PACKAGE / f"{room}.py").exists()}
    assert rooms <= set(FLOORS), f"give these a floor in {Path(__file__).name}: {sorted(rooms - set(FLOORS))}"


def test_imports_only_go_down() -> None:
    wrong = []
    for file in all_files():
        here = "__main__" if file.name == "__main__.py" else room_of(module_of(file))
        for line, module in imports_of(file):
            if not module.startswith("gpt2x.") and module != "gpt2x":
                continue
            there = room_of(module)
            same_floor_neighbour = FLOORS[there] == FLOORS[here] and there != here and FLOORS[here] > 0
            if FLOORS[there] > FLOORS[here] or same_floor_neighbour:
                wrong.append(f"{file.relative_to(PACKAGE.parent)}:{line} ({here}) imports {module}")
    assert not wrong, "imports that go up or sideways:\n" + "\n".join(wrong)


def test_no_files_import_one_another_in_a_circle() -> None:
    """Also not inside functions, nor for types alone: who reads a file need not know the one that uses it."""
    files = {module_of(file): file for file in all_files()}
    reached = {name: imported_files(file, files) - {name} for name, file in files.items()}
    circles = []
    while reached:
        free = [name for name, others in reached.items() if not others]
        if not free:
            circles = sorted(reached)
            break
        for name in free:
            del reached[name]
        for others in reached.values():
            others.difference_update(free)
    left = {name: sorted(others & set(circles)) for name, others in reached.items()}
    assert not circles, f"these import one another, or what does: {left}"


def imported_files(file: Path, files: dict[str, Path]) -> set[str]:
    """The modules among `files` that a file imports; a package stands for its ``__init__``."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in files else node.module for name in inside]
        else:
            continue
        found.update(name for name in names if name in files)
    return found


def test_singing_classifying_and_exporting_never_import_the_trainer() -> None:
    wrong = []
    for place in NEVER_THE_TRAINER:
        target = PACKAGE / place
        for file in [target] if target.is_file() else sorted(target.rglob("*.py")):
            wrong += [
                f"{file.name}:{line}" for line, module in imports_of(file) if module.startswith("gpt2x.train")
            ]
    assert not wrong


def test_the_tokenizer_never_imports_torch() -> None:
    files = [
        *sorted((PACKAGE / "tokenizer").rglob("*.py")),
        *sorted((PACKAGE / "cli").glob("bpe*.py")),
        PACKAGE / "cli" / "arguments.py",
        *sorted(PACKAGE.glob("*.py")),
    ]
    wrong = [f"{f.name}:{n}" for f in files for n, module in imports_of(f) if module.split(".")[0] == "torch"]
    assert not wrong


@pytest.mark.parametrize("arguments", LIGHT_COMMANDS, ids=" ".join)
def test_help_and_tokenizer_commands_start_without_torch(arguments: list[str]) -> None:
    assert "torch" not in modules_after(
        f"from gpt2x.cli.app import app; app({arguments!r}, prog_name='gpt2x')"
    )


def test_importing_gpt2x_loads_neither_torch_nor_native_modules() -> None:
    loaded = modules_after("import gpt2x")
    assert not {"torch", "gpt2x._bpe", "gpt2x._ops", "gpt2x._text", "numpy"} & loaded


def test_encoding_and_learning_a_vocabulary_need_no_torch() -> None:
    program = "from gpt2x.tokenizer import train; train(['low lower lowest'] * 9, 260).encode('low')"
    assert "torch" not in modules_after(program)


TRAIN = (
    "lyrics --steps 2 --n-layer 1 --n-head 2 --n-embd 16 --vocab 300 --block-size 16 --batch-size 2 "
    "--total-batch-tokens 32 --eval-batches 1 --device cpu --quiet --out"
)


@pytest.mark.parametrize("command", ["train", "sing"])
def test_the_compiler_of_torch_which_doubles_a_start_is_loaded_by_who_compiles(
    command: str, tmp_path: Path
) -> None:
    words = (
        [command, *TRAIN.split(), str(tmp_path / "run")]
        if command == "train"
        else ["sing", "rain", "--lines", "4"]
    )
    loaded = modules_after(f"from gpt2x.cli.app import app; app({words!r}, standalone_mode=False)")
    assert "torch" in loaded
    assert not {"torch._dynamo", "torch._inductor", "sympy"} & loaded


WITHOUT_TORCH = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

sys.meta_path.insert(0, Hidden())
"""


def test_the_tokenizer_works_where_there_is_no_torch(tmp_path: Path) -> None:
    program = f"""
from gpt2x.tokenizer import Tokenizer, train
train(["low lower lowest"] * 9, 260).save({str(tmp_path)!r})
loaded = Tokenizer.load({str(tmp_path)!r})
assert loaded.decode(loaded.encode("lower")) == "lower"
sys.argv[:] = ["gpt2x", "bpe", "count", "--tokenizer", {str(tmp_path)!r}, "--text", "lower"]
from gpt2x.__main__ import main
main()
"""
    done = without_torch(program)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


def test_env_says_that_torch_is_missing_instead_of_failing() -> None:
    for words, code in ([], 0), (["--check"], 4):
        done = without_torch(
            f"from gpt2x.cli.app import main; sys.argv[:] = {['gpt2x', 'env', *words]}; main()"
        )
        assert done.returncode == code, done.stderr
        assert "pip install torch" in done.stdout


def without_torch(program: str) -> subprocess.CompletedProcess[str]:
    """Run `program` in a Python that has no torch."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH + program],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def modules_after(program: str) -> set[str]:
    """Names of the modules that are loaded once `program` has run in a fresh interpreter."""
    wrapped = (
        "import sys, atexit, os\n"
        "atexit.register(lambda: os.write(2, ('\\nMODULES ' + ' '.join(sys.modules)).encode()))\n" + program
    )
    result = subprocess.run(
        [sys.executable, "-c", wrapped], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stderr
    return set(result.stderr.rsplit("MODULES ", 1)[1].split())


def test_what_benchmarks_share_knows_none_of_them_and_only_those_of_a_step_know_the_ladder() -> None:
    bench = PACKAGE / "bench"
    rooms = {path.name for path in bench.iterdir() if path.is_dir() and path.name != "__pycache__"}
    wrong = []
    for file in sorted(bench.rglob("*.py")):
        here = file.relative_to(bench).parts[0]
        for line, module in imports_of(file):
            parts = module.split(".")
            there = parts[2] if parts[:2] == ["gpt2x", "bench"] and len(parts) > 2 else ""
            allowed = {here, "ladder"} if here == "step" else {here}
            if there in rooms - allowed:
                wrong.append(f"{file.relative_to(PACKAGE)}:{line} imports {module}")
    assert not wrong

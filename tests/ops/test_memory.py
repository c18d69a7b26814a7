"""keep_freed_memory: memory that was freed serves again without a page fault, and one variable turns it off."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from gpt2x.errors import UsageError
from gpt2x.ops import keep_freed_memory

# Allocates and frees 64 MiB a few times, then counts the faults of doing so once more.
PROGRAM = """
import ctypes, json, resource
from gpt2x.ops import keep_freed_memory
holds = keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def use():
    block = libc.malloc(2**26)
    ctypes.memset(block, 1, 2**26)
    libc.free(block)
for _ in range(3):
    use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(json.dumps({"holds": holds, "faults": resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before}))
"""


def _faults(program: str = PROGRAM, **environment: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_block_that_was_freed_costs_no_fault_when_it_is_taken_again() -> None:
    found = _faults(GPT2X_KEEP_MEMORY="1")
    if not found["holds"]:
        pytest.skip("this C library has no mallopt")
    assert found["faults"] < 100  # 64 MiB are 16,384 pages of 4 KiB


RETURNED = PROGRAM.replace(
    "before =",
    """from gpt2x.ops.memory import return_freed_memory
return_freed_memory()
before =""",
)


def test_what_is_free_can_be_returned_once() -> None:
    kept, returned = _faults(GPT2X_KEEP_MEMORY="1"), _faults(RETURNED, GPT2X_KEEP_MEMORY="1")
    if not kept["holds"]:
        pytest.skip("this C library has no mallopt")
    assert returned["faults"] > 10_000 > kept["faults"]


def test_one_variable_turns_it_off() -> None:
    found = _faults(GPT2X_KEEP_MEMORY="0")
    assert not found["holds"]


def test_another_value_of_the_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT2X_KEEP_MEMORY", "perhaps")
    with pytest.raises(UsageError, match="GPT2X_KEEP_MEMORY='perhaps' is neither 0 nor 1"):
        keep_freed_memory()

"""Keep memory that was freed in the process, so that the next step finds it there.

A training step frees and allocates the same large tensors over and over. The C library gives large blocks back to the
system when they are freed, and the system hands out zeroed pages one fault at a time when they are asked for again:
measured, a quarter of a CPU step of GPT-2 124M in bfloat16. `keep_freed_memory` tells the C library not to.

The price: the process does not shrink again, its size stays at the largest it has had. ``GPT2X_KEEP_MEMORY=0`` turns
the setting off for whoever cannot afford that.
"""

from __future__ import annotations

import ctypes
import os
import sys

from gpt2x.errors import UsageError

VARIABLE = "GPT2X_KEEP_MEMORY"

# <malloc.h> of glibc. No block is a mapping of its own (such a one goes back when it is freed) …
_M_MMAP_MAX = -4
# … the heap is never cut off at its end …
_M_TRIM_THRESHOLD = -1
# … and grows by this much at a time.
_M_TOP_PAD = -2
_TOP_PAD_BYTES = 64 * 2**20


def keep_freed_memory() -> bool:
    """Keep freed memory for the rest of the process; a setting of the whole process, made once, without an undo.

    Returns:
        True where it holds: on Linux with glibc, unless ``GPT2X_KEEP_MEMORY=0``. Elsewhere nothing changes.

    Raises:
        UsageError: ``GPT2X_KEEP_MEMORY`` is neither 0 nor 1.

    """
    if not _wanted() or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    mallopt.argtypes, mallopt.restype = [ctypes.c_int, ctypes.c_int], ctypes.c_int
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, _TOP_PAD_BYTES))
    return all(mallopt(name, value) == 1 for name, value in settings)


def return_freed_memory() -> None:
    """Give what is free now back to the system, once, although freed memory is kept: what built a model is not needed
    to train it. Does nothing without glibc.
    """
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _wanted() -> bool:
    choice = os.environ.get(VARIABLE, "")
    if choice not in ("", "0", "1"):
        raise UsageError(f"{VARIABLE}={choice!r} is neither 0 nor 1")
    return choice != "0"

"""How threads wait for work: to be said before torch, and with it OpenMP, is loaded. Loads no torch."""

from __future__ import annotations

import os

SPINS = "10000"
"""How often a thread looks for work before it sleeps: for longer than from one operator to the next, and much shorter
than another program's turn on a core. Without, a step of GPT-2 124M on two idle cores took 3 to 7 % longer."""


def let_waiting_threads_sleep() -> None:
    """Threads that wait spin shortly and then sleep, unless ``OMP_WAIT_POLICY`` says otherwise.

    Spinning for as long as OpenMP's default does is ten times slower where another program wants a core too.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)

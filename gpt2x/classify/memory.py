"""Whether what is to be learned fits this machine's memory, asked before it is filled."""

from __future__ import annotations

import os

from gpt2x.errors import InputDataError


def check_memory(needed: int, num_features: int, num_classes: int) -> None:
    """Refuse to learn weights that this machine cannot hold: there is one for each class and feature.

    Raises:
        InputDataError: they take more than its memory.

    """
    if not hasattr(os, "sysconf"):
        return
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise InputDataError(
            f"{num_classes:,} classes and {num_features:,} features need about {needed / 2**30:,.0f} GiB of memory and "
            f"this machine has {there / 2**30:,.0f}; give fewer classes (is the label's column the right one?) or a "
            "larger min_count"
        )

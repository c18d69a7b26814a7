"""GPT-2: its configuration, the model in one file, and the folders it lives in.

`config` loads no torch; the other names are imported at their first use, so that reading a preset costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gpt2x.model.config import PRESETS, GPTConfig

if TYPE_CHECKING:
    from gpt2x.model.folder import load_folder, save_folder
    from gpt2x.model.gpt import GPT
    from gpt2x.model.kv_cache import KVCache

__all__ = ["GPT", "PRESETS", "GPTConfig", "KVCache", "load_folder", "save_folder"]

_HOMES = {"GPT": "gpt", "KVCache": "kv_cache", "load_folder": "folder", "save_folder": "folder"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

"""Writing text with a model: sampling, the engine, when to stop, songs, and how original they are."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpt2x.generate.engine import Engine, TextStream
    from gpt2x.generate.sampling import GREEDY, SamplingConfig
    from gpt2x.generate.stops import Stops

__all__ = ["GREEDY", "Engine", "SamplingConfig", "Stops", "TextStream"]

_HOMES = {
    "GREEDY": "sampling",
    "Engine": "engine",
    "SamplingConfig": "sampling",
    "Stops": "stops",
    "TextStream": "engine",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

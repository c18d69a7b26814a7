"""Where to compute: one place that turns the word behind ``--device`` into a device, or into one clear sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from gpt2x.errors import MissingComponentError, UsageError


def pick_device(name: str = "auto") -> torch.device:
    """The device called `name`: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        UsageError: another word.
        MissingComponentError: a GPU that is not here.

    >>> pick_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    kind, colon, number = name.partition(":")
    if kind != "cuda" or (colon and not number.isdecimal()):
        raise UsageError(f"device {name!r} is unknown; give auto, cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        built = "torch finds none" if torch.backends.cuda.is_built() else "this torch is built without CUDA"
        raise MissingComponentError(f"device {name!r} needs an NVIDIA GPU and {built}; use --device cpu")
    if number and int(number) >= torch.cuda.device_count():
        raise MissingComponentError(
            f"device {name!r} is not here; the GPUs are 0 to {torch.cuda.device_count() - 1}"
        )
    return torch.device(name)


@contextlib.contextmanager
def shapes_only() -> Iterator[None]:
    """Models are built on the meta device: nothing is allocated, nor initialised, for weights that come from elsewhere.

    >>> with shapes_only():
    ...     layer = torch.nn.Linear(10**6, 10**6)
    >>> layer.weight.is_meta
    True
    """
    with torch.device("meta"), _NoInit():
        yield


class _NoInit(TorchFunctionMode):
    """Passes over the functions of `torch.nn.init`.

    On the meta device it is not the filling that costs, but the import of torch's compiler, as long as that of all the
    rest of torch, which a meta `normal_` starts.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))

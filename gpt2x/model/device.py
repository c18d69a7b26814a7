"""Where to compute: one place that turns the word behind ``--device`` into a device, or into one clear sentence."""

from __future__ import annotations

import torch

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

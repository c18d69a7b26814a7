from __future__ import annotations

import pytest
import torch

from gpt2x.errors import MissingComponentError, UsageError
from gpt2x.model.device import pick_device


def test_auto_is_the_best_that_is_here() -> None:
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "", "cpu:0x"])
def test_an_unknown_device_is_refused_in_words(name: str) -> None:
    with pytest.raises(UsageError, match="auto, cpu, cuda or cuda:N"):
        pick_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_here_is_a_missing_component() -> None:
    with pytest.raises(MissingComponentError, match="--device cpu"):
        pick_device("cuda")

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from gpt2x.errors import UsageError
from gpt2x.model import GPT, PRESETS, GPTConfig


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vocab_size", 0),
        ("block_size", -1),
        ("n_layer", 1.5),
        ("n_head", True),
        ("n_embd", "768"),
        ("n_inner", 0),
        ("dropout", 1.0),
        ("dropout", float("nan")),
        ("attention_dropout", 1.0),
        ("attention_dropout", -0.1),
        ("layer_norm_epsilon", 0.0),
        ("padded_vocab_size", 50256),
        ("init", "xavier"),
        ("attention", "fast"),
        ("tie_weights", "yes"),
    ],
)
def test_a_value_that_cannot_work_is_refused_and_its_field_is_named(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=name) as caught:
        GPTConfig(**{name: value})
    assert str(value) in str(caught.value)


def test_width_that_heads_cannot_share_is_refused_with_both_names() -> None:
    with pytest.raises(UsageError, match=r"n_embd = 768 .* n_head = 7"):
        GPTConfig(n_head=7)


def test_a_config_cannot_be_changed_after_it_was_checked() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        GPTConfig().n_head = 7  # type: ignore[misc]


def test_every_field_has_a_sentence_that_documents_it() -> None:
    assert all(field.metadata.get("help") for field in dataclasses.fields(GPTConfig))


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("gpt2", 124.4),
        ("gpt2-medium", 354.8),
        ("gpt2-large", 774.0),
        ("gpt2-xl", 1557.6),
        ("mini", 30.1),
        ("micro", 7.3),
    ],
)
def test_presets_have_the_sizes_that_their_comments_tell(name: str, millions: float) -> None:
    import torch

    with torch.device("meta"):
        model = GPT(PRESETS[name])
    assert round(model.num_parameters() / 1e6, 1) == millions


def test_presets_can_be_read_without_torch() -> None:
    code = "import sys, gpt2x.model.config, gpt2x.model.runs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

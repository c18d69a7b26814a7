"""Documents that share a row and do not see each other: as if each stood alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gpt2x.model import GPT, GPTConfig
from gpt2x.model.gpt import document_numbers

EOT = 0
LENGTHS = (5, 1, 7, 3)


@pytest.fixture
def row() -> torch.Tensor:
    """Two rows (2, 16); the first has four documents, the second begins in the middle of one."""
    torch.manual_seed(1)
    rows = torch.randint(1, 20, (2, sum(LENGTHS)))
    starts = torch.tensor([0, *LENGTHS[:-1]]).cumsum(0)
    rows[0, starts] = EOT
    rows[1, 9] = EOT
    return rows


def model(**changes: Any) -> GPT:
    torch.manual_seed(2)
    config = GPTConfig(vocab_size=20, block_size=16, n_layer=2, n_head=2, n_embd=16, **changes)
    return GPT(config).eval()


@pytest.mark.parametrize("attention", ["flash", "naive"])
def test_logits_are_those_of_each_document_alone(row: torch.Tensor, attention: str) -> None:
    gpt = model(attention=attention)
    packed, _ = gpt(row, documents=document_numbers(row, EOT))
    assert packed is not None
    for number, parts in enumerate((row[0].split(LENGTHS), row[1].split((9, 7)))):
        alone = torch.cat([gpt(part[None])[0][0] for part in parts])
        torch.testing.assert_close(packed[number], alone, atol=1e-5, rtol=1e-5)
    usual, _ = gpt(row)
    assert usual is not None
    assert not torch.allclose(usual[0], packed[0], atol=1e-3), "or there is nothing to reset"
    torch.testing.assert_close(usual[0, : LENGTHS[0]], packed[0, : LENGTHS[0]], atol=1e-5, rtol=1e-5)


def test_documents_and_a_cache_are_refused(row: torch.Tensor) -> None:
    gpt = model()
    with pytest.raises(ValueError, match="give one of the two"):
        gpt(row, documents=document_numbers(row, EOT), cache=gpt.new_cache(2))


@pytest.mark.parametrize("attention", ["flash", "naive"])
def test_no_gradient_flows_between_documents(row: torch.Tensor, attention: str) -> None:
    gpt = model(attention=attention)
    reached = []
    gpt.wte.register_forward_hook(
        lambda _, __, out: reached.append(out.requires_grad_().retain_grad() or out)
    )
    logits, _ = gpt(row[:1], documents=document_numbers(row[:1], EOT))
    assert logits is not None
    logits[0, 6:13].square().sum().backward()  # of the third document
    touched = reached[0].grad[0].abs().sum(-1) > 0
    assert touched.tolist() == [False] * 6 + [True] * 7 + [False] * 3

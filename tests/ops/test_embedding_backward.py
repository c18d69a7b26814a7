"""embedding_backward_: a token's rows are added up once, in a fixed order, on top of what is there."""

from __future__ import annotations

import pytest
import torch
from ops_support import DTYPES, draw, dtype_id, relative_error, require_native

from gpt2x.ops import backend, embedding_backward_, reference


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("count", [0, 1, 7, 600])
def test_it_is_torchs_embedding_gradient_on_top_of_what_is_there(
    device: str, dtype: torch.dtype, count: int
) -> None:
    require_native(device, dtype)
    V, C = 23, 17
    ids = (torch.arange(count, device=device) ** 2) % 19
    dy, before = draw(1, count, C, dtype=dtype, device=device), draw(2, V, C, dtype=dtype, device=device)
    got, expected = before.clone(), before.clone()
    embedding_backward_(got, dy, ids)
    reference.embedding_backward_(expected, dy, ids)
    truth = before.double()
    truth += torch.ops.aten.embedding_dense_backward(dy.double(), ids, V, -1, False)
    floor = {torch.float64: 1e-14, torch.float32: 1e-6, torch.bfloat16: 2.0**-9}[dtype]
    assert relative_error(got, truth) <= 2 * relative_error(expected, truth) + floor
    assert torch.equal(got[19:], before[19:])


def test_a_float32_gradient_takes_in_bfloat16_rows(device: str) -> None:
    dweight = torch.zeros(3, 2, device=device)
    embedding_backward_(
        dweight, torch.ones(2, 2, 2, device=device).bfloat16(), torch.tensor([[2, 2], [0, 2]], device=device)
    )
    assert dweight.tolist() == [[1, 1], [0, 0], [3, 3]]


def test_what_is_not_finite_stays_in_its_row() -> None:
    dweight, dy = torch.zeros(3, 2), torch.tensor([[float("nan"), 1.0], [float("inf"), 1.0]])
    embedding_backward_(dweight, dy, torch.tensor([0, 2]))
    assert dweight[0, 0].isnan()
    assert dweight[2, 0].isinf()
    assert dweight[1].tolist() == [0, 0]


@pytest.mark.parametrize("mode", ["auto", "reference"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            (torch.ones(3), torch.ones(2, 3), torch.zeros(2).long()),
            r"dweight: expected a contiguous \(V, C\)",
        ),
        ((torch.ones(3, 2).T, torch.ones(2, 3), torch.zeros(2).long()), "dweight: expected a contiguous"),
        ((torch.ones(4, 3), torch.ones(2, 2), torch.zeros(2).long()), r"dy: expected \(..., 3\) as dweight"),
        ((torch.ones(4, 3), torch.ones(2, 3), torch.zeros(2)), "ids: expected a tensor of dtype int64"),
        (
            (torch.ones(4, 3), torch.ones(2, 3), torch.zeros(3).long()),
            r"ids: expected shape \(2,\), got \(3,\)",
        ),
        ((torch.ones(4, 3).double(), torch.ones(2, 3), torch.zeros(2).long()), "dweight: expected dtype"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(mode: str, arguments: tuple, words: str) -> None:
    with backend.using(mode), pytest.raises(ValueError, match=words):
        embedding_backward_(*arguments)


@pytest.mark.parametrize("mode", ["auto", "reference"])
def test_a_gradient_in_the_memory_that_is_written_is_refused(mode: str) -> None:
    both = torch.ones(5, 3)
    with backend.using(mode), pytest.raises(ValueError, match=r"dweight\[0\] and dy\[0\] share memory"):
        embedding_backward_(both[:4], both[1:3], torch.tensor([2, 0]))
    embedding_backward_(both[:3], both[3:], torch.tensor([2, 0]))  # beside each other in one tensor
    assert both.tolist() == [[2] * 3, [1] * 3, [2] * 3, [1] * 3, [1] * 3]


@pytest.mark.parametrize("mode", ["auto", "reference"])
@pytest.mark.parametrize("dtype", [*DTYPES, torch.float16], ids=dtype_id)
@pytest.mark.parametrize("bad", [-1, -4, -5, 4, 2**40, -(2**63)])
def test_an_id_out_of_range_is_an_index_error_and_nothing_is_written(
    mode: str, dtype: torch.dtype, bad: int
) -> None:
    dweight = torch.zeros(4, 3, dtype=dtype)
    words = rf"ids: expected ids in 0\.\.3, got {bad} at row 1"
    with backend.using(mode), pytest.raises(IndexError, match=words):
        embedding_backward_(dweight, torch.ones(2, 3, dtype=dtype), torch.tensor([0, bad]))
    assert not dweight.any()


@pytest.mark.parametrize("bad", [-1, 4])
def test_where_nobody_can_look_at_the_ids_first_torchs_own_indexing_refuses_them(bad: int) -> None:
    """As in compiled code, under torch.func, and on a GPU: never is an id counted from the end."""
    dweight = torch.zeros(4, 3)
    with pytest.raises(IndexError):
        reference.embedding_backward_(dweight, torch.ones(2, 3), torch.tensor([0, bad]))
    assert not dweight[1:].any()

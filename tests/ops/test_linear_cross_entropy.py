"""linear_cross_entropy: native against its reference, padding, ignored rows, chunks, smoothing, z-loss, bad targets."""

from __future__ import annotations

import math

import pytest
import torch
from ops_support import (
    DTYPES,
    assert_as_exact_as_reference,
    draw,
    dtype_id,
    relative_error,
    require_native,
    run_with_gradients,
)
from torch import Tensor

from gpt2x.ops import backend, linear_cross_entropy, reference

# N rows, C channels, Vp padded vocabulary, V vocabulary
SIZES = [(1, 1, 1, 1), (1, 8, 16, 16), (7, 33, 131, 100), (513, 16, 64, 50), (1025, 8, 37, 37)]
# label_smoothing, z_loss: none, each alone, both; larger than anyone would train with, so that they show
TERMS = [(0.0, 0.0), (0.1, 0.0), (0.0, 0.01), (0.3, 0.01)]

h, w, t = torch.zeros(3, 4), torch.zeros(9, 4), torch.zeros(3, dtype=torch.int64)


def _targets(rows: int, vocabulary: int, device: str, ignore_index: int | None = None) -> Tensor:
    targets = torch.randint(vocabulary, (rows,), generator=torch.Generator().manual_seed(5))
    if ignore_index is not None:
        targets[::3] = ignore_index
    return targets.to(device)


@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: "N{}-C{}-Vp{}-V{}".format(*sizes))
@pytest.mark.parametrize(
    ("dtype", "weight_dtype"), [*((d, d) for d in DTYPES), (torch.bfloat16, torch.float32)], ids=dtype_id
)
@pytest.mark.parametrize("terms", TERMS, ids=lambda terms: "smoothing{}-z{}".format(*terms))
def test_loss_and_gradients_are_as_exact_as_the_references(
    device: str,
    sizes: tuple[int, ...],
    dtype: torch.dtype,
    weight_dtype: torch.dtype,
    terms: tuple[float, float],
) -> None:
    require_native(device, dtype)
    rows, channels, padded, vocabulary = sizes
    ignore_index = -100 if rows > 1 else None
    targets = _targets(rows, vocabulary, device, ignore_index)

    def run(f, compute: torch.dtype | None = None) -> list[Tensor]:
        """Results and gradients for several draws side by side: with one row, luck would decide who rounds better."""
        options = {"vocab_size": vocabulary, "label_smoothing": terms[0], "z_loss": terms[1]}

        def call(hidden: Tensor, weight: Tensor) -> Tensor:
            return f(hidden, weight, targets, **options)

        drawn = []
        for seed in (1, 2, 3):
            hidden = draw(seed, rows, channels, dtype=dtype, device=device)
            weight = draw(seed + 9, padded, channels, dtype=weight_dtype, device=device)
            drawn.append(run_with_gradients(call, [hidden, weight], compute))
        return [torch.stack(tensors) for tensors in zip(*drawn, strict=True)]

    truth = run(reference.linear_cross_entropy, torch.float64)
    assert_as_exact_as_reference(run(linear_cross_entropy), run(reference.linear_cross_entropy), truth, dtype)


REDUCTIONS = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])


@REDUCTIONS
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("mode", ["auto", "reference"])
def test_loss_and_gradients_are_those_of_torch(
    device: str, mode: str, reduction: str, smoothing: float
) -> None:
    targets = _targets(40, 30, device, -100).view(8, 5)
    options = {"label_smoothing": smoothing, "reduction": reduction}

    def torchs(hidden: Tensor, weight: Tensor) -> Tensor:
        logits = (hidden @ weight.T).movedim(-1, 1)
        return torch.nn.functional.cross_entropy(logits, targets, **options)

    def ours(hidden: Tensor, weight: Tensor) -> Tensor:
        return linear_cross_entropy(hidden, weight, targets, **options)

    inputs = [draw(1, 8, 5, 16, device=device), draw(2, 30, 16, device=device)]
    with backend.using(mode):
        got = run_with_gradients(ours, inputs)
    for one, other in zip(got, run_with_gradients(torchs, inputs), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("reduction", ["sum", "none"])
@pytest.mark.parametrize(
    ("dtype", "weight_dtype"), [*((d, d) for d in DTYPES), (torch.bfloat16, torch.float32)], ids=dtype_id
)
@pytest.mark.parametrize("sizes", [(7, 33, 131, 100), (1025, 8, 37, 37)], ids=str)
def test_without_a_mean_loss_and_gradients_are_as_exact_as_the_references(
    device: str, reduction: str, dtype: torch.dtype, weight_dtype: torch.dtype, sizes: tuple[int, ...]
) -> None:
    require_native(device, dtype)
    rows, channels, padded, vocabulary = sizes
    targets = _targets(rows, vocabulary, device, -100)
    inputs = [
        draw(1, rows, channels, dtype=dtype, device=device),
        draw(2, padded, channels, dtype=weight_dtype, device=device),
    ]

    def run(f, compute: torch.dtype | None = None) -> list[Tensor]:
        options = {"vocab_size": vocabulary, "label_smoothing": 0.1, "z_loss": 0.01, "reduction": reduction}
        return run_with_gradients(lambda h, w: f(h, w, targets, **options), inputs, compute)

    truth = run(reference.linear_cross_entropy, torch.float64)
    assert_as_exact_as_reference(run(linear_cross_entropy), run(reference.linear_cross_entropy), truth, dtype)


def test_batches_of_different_lengths_add_up_with_sums_and_not_with_means(device: str) -> None:
    """A mean of means gives each token of a short piece more weight; sums over the whole count do not."""
    weight, targets = draw(2, 9, 8, device=device).requires_grad_(), _targets(12, 9, device)
    hidden = draw(1, 12, 8, device=device)
    targets[7:] = -100
    whole = torch.autograd.grad(linear_cross_entropy(hidden, weight, targets), weight)[0]
    pieces = [slice(0, 6), slice(6, 12)]  # six targets that count, and one
    count = int((targets != -100).sum())
    sums = sum(linear_cross_entropy(hidden[p], weight, targets[p], reduction="sum") for p in pieces) / count
    torch.testing.assert_close(torch.autograd.grad(sums, weight)[0], whole)
    means = sum(linear_cross_entropy(hidden[p], weight, targets[p]) for p in pieces) / 2
    assert relative_error(torch.autograd.grad(means, weight)[0], whole) > 0.1


@pytest.mark.parametrize("needs", ["hidden", "weight"])
def test_without_a_reduction_each_row_counts_as_much_as_is_said_later(device: str, needs: str) -> None:
    hidden = draw(1, 6, 8, device=device).requires_grad_(needs == "hidden")
    weight = draw(2, 9, 8, device=device).requires_grad_(needs == "weight")
    targets, leaf = _targets(6, 9, device), hidden if needs == "hidden" else weight
    factors = draw(3, 6, device=device)
    losses = linear_cross_entropy(hidden, weight, targets, reduction="none")
    got = torch.autograd.grad(losses, leaf, factors)[0]
    expected = reference.linear_cross_entropy(hidden, weight, targets, reduction="none")
    torch.testing.assert_close(got, torch.autograd.grad(expected, leaf, factors)[0])


@pytest.mark.parametrize("mode", ["auto", "reference"])
def test_with_nothing_to_count_the_sum_is_zero_and_so_is_each_row(device: str, mode: str) -> None:
    hidden, weight = draw(1, 3, 8, device=device).requires_grad_(), draw(2, 9, 8, device=device)
    nothing = torch.full((3,), -100, device=device)
    with backend.using(mode):
        total = linear_cross_entropy(
            hidden, weight, nothing, reduction="sum", label_smoothing=0.1, z_loss=0.01
        )
        assert total.item() == 0
        assert not torch.autograd.grad(total, hidden)[0].any()
        each = linear_cross_entropy(hidden, weight, nothing, reduction="none")
        assert each.tolist() == [0, 0, 0]
        assert not torch.autograd.grad(each.sum(), hidden)[0].any()
        assert linear_cross_entropy(hidden[:0], weight, nothing[:0], reduction="none").shape == (0,)


@pytest.mark.parametrize("mode", ["auto", "reference"])
@REDUCTIONS
def test_every_reduction_compiles_as_one_graph(mode: str, reduction: str) -> None:
    targets = _targets(6, 7, "cpu", -100)

    def loss(hidden: Tensor, weight: Tensor) -> Tensor:
        options = {"vocab_size": 7, "label_smoothing": 0.1, "z_loss": 0.01, "reduction": reduction}
        return linear_cross_entropy(hidden, weight, targets, **options)

    torch._dynamo.reset()
    inputs = [draw(1, 6, 8), draw(2, 9, 8)]
    with backend.using(mode):
        compiled = run_with_gradients(torch.compile(loss, fullgraph=True, backend="aot_eager"), inputs)
        for one, other in zip(compiled, run_with_gradients(loss, inputs), strict=True):
            torch.testing.assert_close(one, other)


def test_the_z_loss_of_equal_logits_is_the_squared_logarithm_of_their_number(device: str) -> None:
    hidden, weight = torch.zeros(2, 3, device=device), draw(2, 11, 3, device=device)
    targets = torch.tensor([0, 4], device=device)
    got = linear_cross_entropy(hidden, weight, targets, vocab_size=7, z_loss=0.5)
    assert got.item() == pytest.approx(math.log(7) + 0.5 * math.log(7) ** 2, rel=1e-6)


def test_the_z_loss_pulls_the_normaliser_towards_one(device: str) -> None:
    hidden, weight = draw(1, 20, 8, device=device), draw(2, 11, 8, device=device).requires_grad_()
    targets = _targets(20, 11, device)

    def normaliser() -> float:
        return float(torch.logsumexp(hidden @ weight.detach().T, dim=-1).square().mean())

    before = normaliser()
    for _ in range(50):
        linear_cross_entropy(hidden, weight, targets, z_loss=1.0).backward()
        weight.data -= 0.1 * weight.grad
        weight.grad = None
    assert normaliser() < before / 4


@pytest.mark.parametrize("terms", TERMS, ids=str)
def test_every_row_of_a_gradient_of_the_logits_sums_to_what_the_z_loss_adds(
    device: str, terms: tuple[float, float]
) -> None:
    smoothing, z_loss = terms
    weight = torch.eye(13, device=device)  # the hidden states are the logits
    hidden, targets = draw(1, 6, 13, device=device).requires_grad_(), _targets(6, 13, device)
    linear_cross_entropy(hidden, weight, targets, label_smoothing=smoothing, z_loss=z_loss).backward()
    expected = 2 * z_loss * torch.logsumexp(hidden.detach(), dim=-1) / 6
    torch.testing.assert_close(hidden.grad.sum(-1), expected, rtol=1e-5, atol=1e-6)


def test_padding_gets_neither_probability_nor_gradient(device: str) -> None:
    hidden, targets = draw(1, 6, 8, device=device), _targets(6, 5, device)
    weight = draw(2, 9, 8, device=device, scale=30.0).requires_grad_()
    terms = {"label_smoothing": 0.2, "z_loss": 1e-3}
    loss = linear_cross_entropy(hidden, weight, targets, vocab_size=5, **terms)
    loss.backward()
    bare = linear_cross_entropy(hidden, weight[:5].detach(), targets, **terms)
    torch.testing.assert_close(loss.detach(), bare)
    assert weight.grad[5:].abs().max() == 0
    assert weight.grad[:5].abs().max() > 0


def test_ignored_rows_get_no_gradient_and_count_not_in_the_mean(device: str) -> None:
    hidden = draw(1, 6, 8, device=device).requires_grad_()
    weight, targets = draw(2, 9, 8, device=device), _targets(6, 9, device)
    targets[2] = 7777
    terms = {"label_smoothing": 0.2, "z_loss": 1e-3}
    loss = linear_cross_entropy(hidden, weight, targets, ignore_index=7777, **terms)
    loss.backward()
    assert hidden.grad[2].abs().max() == 0
    rest = torch.arange(6) != 2
    torch.testing.assert_close(
        loss.detach(), linear_cross_entropy(hidden.detach()[rest], weight, targets[rest], **terms)
    )


@pytest.mark.parametrize("terms", TERMS, ids=str)
def test_with_nothing_to_count_the_loss_is_nan_as_in_torch(device: str, terms: tuple[float, float]) -> None:
    smoothing, z_loss = terms
    hidden = draw(1, 3, 8, device=device).requires_grad_()
    weight = draw(2, 9, 8, device=device)
    nothing = torch.full((3,), -100, device=device)
    loss = linear_cross_entropy(hidden, weight, nothing, label_smoothing=smoothing, z_loss=z_loss)
    loss.backward()
    assert loss.isnan()
    assert hidden.grad.abs().max() == 0
    assert linear_cross_entropy(hidden[:0], weight, torch.zeros(0, dtype=torch.int64, device=device)).isnan()


def test_leading_dimensions_are_rows(device: str) -> None:
    hidden = draw(1, 2, 5, 8, device=device).requires_grad_()
    weight, targets = draw(2, 11, 8, device=device), _targets(10, 11, device).view(2, 5)
    loss = linear_cross_entropy(hidden, weight, targets)
    loss.backward()
    assert hidden.grad.shape == (2, 5, 8)
    torch.testing.assert_close(
        loss.detach(), reference.linear_cross_entropy(hidden.detach(), weight, targets)
    )


@REDUCTIONS
@pytest.mark.parametrize("terms", TERMS, ids=str)
def test_gradients_agree_with_finite_differences_in_float64(
    device: str, terms: tuple[float, float], reduction: str
) -> None:
    require_native(device, torch.float64)
    hidden = draw(1, 5, 4, dtype=torch.float64, device=device).requires_grad_()
    weight = draw(2, 9, 4, dtype=torch.float64, device=device).requires_grad_()
    targets = _targets(5, 7, device, -100)
    options = {"vocab_size": 7, "label_smoothing": terms[0], "z_loss": terms[1], "reduction": reduction}
    assert torch.autograd.gradcheck(
        lambda h, w: linear_cross_entropy(h, w, targets, **options), [hidden, weight]
    )


@pytest.mark.parametrize("needs", ["hidden", "weight", "neither"])
def test_only_what_needs_a_gradient_gets_one(device: str, needs: str) -> None:
    hidden = draw(1, 5, 4, device=device).requires_grad_(needs == "hidden")
    weight = draw(2, 9, 4, device=device).requires_grad_(needs == "weight")
    targets = _targets(5, 9, device)
    loss = linear_cross_entropy(hidden, weight, targets)
    assert loss.requires_grad == (needs != "neither")
    with torch.no_grad():
        assert torch.equal(linear_cross_entropy(hidden, weight, targets), loss)
    if needs != "neither":
        (3 * loss).backward()
        mine = (hidden if needs == "hidden" else weight).grad
        by_references = [t.detach().clone().requires_grad_() for t in (hidden, weight)]
        (3 * reference.linear_cross_entropy(*by_references, targets)).backward()
        assert relative_error(mine, by_references[0 if needs == "hidden" else 1].grad) < 1e-5


def test_huge_logits_neither_overflow_nor_lose_the_loss(device: str) -> None:
    hidden = torch.full((2, 1), 1e4, device=device)
    weight = torch.tensor([[1.0], [2.0], [-3e30]], device=device)
    targets = torch.tensor([1, 0], device=device)
    assert linear_cross_entropy(hidden[:1], weight, targets[:1]).item() == 0.0
    assert linear_cross_entropy(hidden[1:], weight, targets[1:]).item() == 1e4


def test_a_nan_in_one_row_makes_the_loss_nan(device: str) -> None:
    hidden = draw(1, 4, 8, device=device)
    hidden[2, 3] = float("nan")
    assert linear_cross_entropy(hidden, draw(2, 9, 8, device=device), _targets(4, 9, device)).isnan()


def test_non_contiguous_inputs_give_what_their_copies_give(device: str) -> None:
    hidden, weight = draw(1, 8, 6, device=device).T, draw(2, 8, 40, device=device).T[::2]
    targets = _targets(12, 20, device)[::2]
    got = linear_cross_entropy(hidden, weight, targets)
    expected = linear_cross_entropy(hidden.contiguous(), weight.contiguous(), targets.contiguous())
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=0)


def test_under_autocast_the_products_run_in_bfloat16(device: str) -> None:
    hidden, weight = draw(1, 6, 16, device=device), draw(2, 12, 16, device=device).requires_grad_()
    targets = _targets(6, 12, device)
    with torch.autocast(device, torch.bfloat16):
        loss = linear_cross_entropy(hidden, weight, targets)
    loss.backward()
    assert loss.dtype == torch.float32
    assert weight.grad.dtype == torch.float32
    expected = linear_cross_entropy(hidden.bfloat16(), weight.detach(), targets)
    assert torch.equal(loss.detach(), expected)


@pytest.mark.parametrize("mode", ["auto", "reference"])
@pytest.mark.parametrize("bad", [9, -1, 2**40, -100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=dtype_id)
@REDUCTIONS
def test_a_target_out_of_range_is_an_index_error_that_names_it(
    mode: str, bad: int, dtype: torch.dtype, reduction: str
) -> None:
    targets, hidden, weight = (
        torch.tensor([0, 8, bad]),
        torch.zeros(3, 4, dtype=dtype),
        torch.zeros(12, 4, dtype=dtype),
    )
    with (
        backend.using(mode),
        pytest.raises(
            IndexError, match=rf"targets: expected ids in 0\.\.8 or ignore_index 7777, got {bad} at row 2"
        ),
    ):
        linear_cross_entropy(hidden, weight, targets, 7777, 9, reduction=reduction)


def test_the_kernel_itself_refuses_targets_out_of_range() -> None:
    require_native("cpu")
    with pytest.raises(IndexError, match="targets: expected ids in 0..8"):
        torch.ops.gpt2x.linear_cross_entropy(
            torch.zeros(1, 4), torch.zeros(9, 4), torch.tensor([9]), None, 1, -100, 9, 0.0, 0.0, True, True
        )


@pytest.mark.parametrize("mode", ["auto", "reference"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label_smoothing": 1.0}, r"label_smoothing: expected a number in \[0, 1\), got 1.0"),
        ({"label_smoothing": -0.1}, r"label_smoothing: expected a number in \[0, 1\), got -0.1"),
        ({"label_smoothing": math.nan}, r"label_smoothing: expected a number in \[0, 1\), got nan"),
        ({"z_loss": -1e-4}, "z_loss: expected a finite number from 0 on, got -0.0001"),
        ({"z_loss": math.inf}, "z_loss: expected a finite number from 0 on, got inf"),
        ({"z_loss": math.nan}, "z_loss: expected a finite number from 0 on, got nan"),
        ({"reduction": "average"}, "reduction: expected mean, sum or none, got 'average'"),
        ({"reduction": None}, "reduction: expected mean, sum or none, got None"),
    ],
    ids=str,
)
def test_a_term_out_of_its_range_is_refused_by_name(mode: str, options: dict, words: str) -> None:
    with backend.using(mode), pytest.raises(ValueError, match=words):
        linear_cross_entropy(h, w, t, **options)


@pytest.mark.parametrize(("terms", "name"), [((1.0, 0.0), "label_smoothing"), ((0.0, -1.0), "z_loss")])
def test_the_kernel_itself_refuses_a_term_out_of_its_range(terms: tuple[float, float], name: str) -> None:
    require_native("cpu")
    with pytest.raises(ValueError, match=f"{name}: expected"):
        torch.ops.gpt2x.linear_cross_entropy(h, w, t, None, 1, -100, 9, *terms, True, True)


@pytest.mark.cuda
def test_on_a_gpu_a_target_out_of_range_makes_the_loss_nan() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    require_native("cuda")
    hidden, weight = torch.zeros(2, 4, device="cuda"), torch.zeros(9, 4, device="cuda")
    assert linear_cross_entropy(hidden, weight, torch.tensor([0, 9], device="cuda")).isnan()


@pytest.mark.parametrize("mode", ["auto", "reference"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((h.int(), w, t), "hidden: expected dtype"),
        ((torch.zeros(3, 0), w, t), "hidden: expected .* C > 0"),
        ((h, w.T, t), r"weight: expected shape \(4, 4\), got \(4, 9\)"),
        ((h, w[0], t), r"weight: expected \(Vp, 4\)"),
        ((h, w[:0], t), r"weight: expected \(Vp, 4\) with Vp > 0"),
        ((h, w.double(), t), "weight: expected dtype float32 as hidden, got float64"),
        ((h, w, t.int()), "targets: expected a tensor of dtype int64, got int32"),
        ((h, w, t[:2]), r"targets: expected shape \(3,\)"),
        ((h, w, [1, 2, 3]), "targets: expected a tensor of dtype int64, got list"),
        ((h, w, t, -100, 10), r"vocab_size: expected 1..9 \(rows of weight\), got 10"),
        ((h, w, t, -100, 0), "vocab_size: expected 1..9"),
        ((h, w, t, -100, 3.5), "vocab_size: expected a whole number, got 3.5"),
        ((h, w, t, None), "ignore_index: expected a whole number, got None"),
        ((h.to_sparse(), w, t), "hidden: expected a dense tensor, got layout torch.sparse_coo"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(mode: str, arguments: tuple, words: str) -> None:
    with backend.using(mode), pytest.raises(ValueError, match=words):
        linear_cross_entropy(*arguments)

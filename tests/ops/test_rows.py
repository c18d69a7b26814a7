"""The row functions themselves: run by several threads as a GPU runs them, rounding, the exponential."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from ops_support import assert_as_exact_as_reference, draw, dtype_id
from torch import Tensor

from gpt2x.ops import reference

HERE = Path(__file__).parent
SOURCES = HERE.parent.parent / "csrc" / "ops"


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Any:
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None or not SOURCES.exists():
        pytest.skip("needs a C++ compiler and the sources in csrc/ops")
    library = tmp_path_factory.mktemp("rows") / "crowd_rows.so"
    flags = ["-std=c++20", "-O1", "-fPIC", "-shared", "-pthread", f"-I{SOURCES}"]
    done = subprocess.run(
        [compiler, *flags, str(HERE / "crowd_rows.cpp"), "-o", str(library)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = ctypes.CDLL(str(library))
    loaded.crowd_cross_entropy.restype = ctypes.c_float
    loaded.crowd_squares.restype = ctypes.c_double
    return loaded


def _pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


class Crowd(NamedTuple):
    """A team of threads, each of which takes `pack` neighbouring elements at a time."""

    size: int
    pack: int
    storage: int  # place in STORAGES


# dtypes of the activations and of the parameters
STORAGES = (
    (torch.float32, torch.float32),
    (torch.bfloat16, torch.bfloat16),
    (torch.bfloat16, torch.float32),
)
CROWDS = pytest.mark.parametrize(
    "crowd",
    [
        pytest.param(
            Crowd(size, pack, storage),
            id=f"{size}-lanes-of-{pack}-{'-'.join(map(dtype_id, dict.fromkeys(STORAGES[storage])))}",
        )
        for storage in range(len(STORAGES))
        for pack in ((1, 4, 8) if storage == 0 else (1, 8))
        for size in (1, 5, 32)
    ],
)
# No multiple of a pack; packs, but not as many for each of 5 or 32 lanes; as many for each of 5.
CHANNELS = pytest.mark.parametrize("channels", [37, 72, 320])


@CROWDS
@CHANNELS
@pytest.mark.parametrize("plain", [False, True], ids=["residual-and-bias", "neither"])
def test_any_team_normalises_a_row_as_the_reference(
    rows: Any, crowd: Crowd, channels: int, plain: bool
) -> None:
    dtype, parameter_dtype = STORAGES[crowd.storage]
    x, residual, dy, dsum = (draw(seed, channels, dtype=dtype) for seed in range(4))
    weight, bias = (draw(seed, channels, dtype=parameter_dtype) for seed in (5, 6))
    inputs = [x, None if plain else residual, weight, None if plain else bias]

    def expected(dtype: torch.dtype | None) -> list[Tensor]:
        leaves = [None if t is None else t.to(dtype or t.dtype).clone().requires_grad_() for t in inputs]
        y, total = reference.add_layer_norm(*leaves)
        upstream = [dy.to(y.dtype)] if plain else [dy.to(y.dtype), dsum.to(total.dtype)]
        torch.autograd.backward([y] if plain else [y, total], upstream)
        return [y.detach(), total.detach(), leaves[0].grad, *(t.grad for t in leaves[2:] if t is not None)]

    total, y, dx = (torch.empty(channels, dtype=dtype) for _ in range(3))
    mean, rstd = torch.empty(1), torch.empty(1)
    dweight, dbias = torch.ones(channels), torch.zeros(channels)
    count, eps = ctypes.c_int64(channels), ctypes.c_float(1e-5)
    outputs = (None if plain else total, y, mean, rstd)
    rows.crowd_add_layer_norm(*crowd, *map(_pointer, inputs), count, eps, *map(_pointer, outputs))
    stored = x if plain else total
    rows.crowd_add_layer_norm_backward(
        *crowd,
        *map(_pointer, (dy, None if plain else dsum, stored, weight)),
        ctypes.c_float(mean.item()),
        ctypes.c_float(rstd.item()),
        count,
        *map(_pointer, (dx, dweight, dbias)),
    )
    gradients = [dweight - 1] if plain else [dweight - 1, dbias]  # they accumulate onto what is there
    mine = [y, stored, dx, *(gradient.to(parameter_dtype) for gradient in gradients)]
    assert_as_exact_as_reference(mine, expected(None), expected(torch.float64), dtype)


@CROWDS
@CHANNELS
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("name", ["bias_gelu", "bias_relu2"])
def test_any_team_computes_an_activation_as_the_reference(
    rows: Any, crowd: Crowd, channels: int, with_bias: bool, name: str
) -> None:
    dtype, parameter_dtype = STORAGES[crowd.storage]
    x, dy = draw(1, channels, dtype=dtype), draw(2, channels, dtype=dtype)
    bias = draw(3, channels, dtype=parameter_dtype) if with_bias else None

    def expected(dtype: torch.dtype | None) -> list[Tensor]:
        leaf = x.to(dtype or x.dtype).clone().requires_grad_()
        y = getattr(reference, name)(leaf, None if bias is None else bias.to(dtype or bias.dtype))
        y.backward(dy.to(y.dtype))
        return [y.detach(), leaf.grad]

    y, dx, dbias = torch.empty_like(x), torch.empty_like(x), torch.zeros(channels)
    count = ctypes.c_int64(channels)
    activate = getattr(rows, f"crowd_{name}")
    activate(*crowd, *map(_pointer, (x, bias, dy)), count, *map(_pointer, (y, dx, dbias)))
    assert_as_exact_as_reference([y, dx], expected(None), expected(torch.float64), dtype)
    assert torch.equal(dbias.to(dtype), dx if with_bias else torch.zeros_like(dx))


@CROWDS
@pytest.mark.parametrize("target", [13, 28])
@pytest.mark.parametrize("terms", [(0.0, 0.0), (0.1, 0.0), (0.0, 1e-2), (0.3, 1e-2)], ids=str)
def test_any_team_turns_logits_into_loss_and_gradient(
    rows: Any, crowd: Crowd, target: int, terms: tuple[float, float]
) -> None:
    vocabulary, padded = 29, 40  # the padding begins inside a pack, after the second target
    dtype = STORAGES[crowd.storage][0]
    logits = draw(1, padded, scale=3.0, dtype=dtype)
    truth = logits[:vocabulary].double().requires_grad_()
    smoothing, z_loss = terms
    loss = torch.nn.functional.cross_entropy(truth, torch.tensor(target), label_smoothing=smoothing)
    loss = loss + z_loss * truth.logsumexp(0).square()
    (loss * 0.5).backward()

    numbers = [ctypes.c_int64(n) for n in (vocabulary, padded, target)]
    work = logits.clone()
    floats = [ctypes.c_float(value) for value in (*terms, 0.5)]
    only = rows.crowd_cross_entropy(*crowd, _pointer(work), *numbers, *floats, 0)
    assert torch.equal(work, logits)
    got = rows.crowd_cross_entropy(*crowd, _pointer(work), *numbers, *floats, 1)
    assert got == only == pytest.approx(loss.item(), rel=2e-6)
    assert_as_exact_as_reference([work[:vocabulary]], [truth.grad.to(dtype)], [truth.grad], dtype)
    assert (work[vocabulary:] == 0).all()


@CROWDS
@CHANNELS
def test_any_team_clears_a_row_and_no_more(rows: Any, crowd: Crowd, channels: int) -> None:
    logits = torch.ones(channels + 3, dtype=STORAGES[crowd.storage][0])
    rows.crowd_clear_row(*crowd, _pointer(logits), ctypes.c_int64(channels))
    assert (logits[:channels] == 0).all()
    assert (logits[channels:] == 1).all()


@CROWDS
@CHANNELS
def test_any_team_updates_a_span_as_the_reference(rows: Any, crowd: Crowd, channels: int) -> None:
    dtype, moment_dtype = STORAGES[crowd.storage]
    mine = [draw(seed, channels, dtype=dtype) for seed in (1, 2)]
    mine += [draw(3, channels, dtype=moment_dtype), draw(4, channels, dtype=moment_dtype).square()]
    expected, truth = ([[t.to(to or t.dtype, copy=True)] for t in mine] for to in (None, torch.float64))
    norm = reference.global_norm(mine[1:2]).float()
    for lists in (expected, truth):
        reference.adamw_(*lists, step=3, lr=0.1, weight_decay=0.2, grad_norm=norm, max_norm=1.0)
    count, step = ctypes.c_int64(channels), ctypes.c_int64(3)
    doubles = [ctypes.c_double(value) for value in (0.1, 0.9, 0.95, 1e-8)]
    floats = [ctypes.c_float(value) for value in (1 - 0.1 * 0.2, norm.item(), 1.0)]
    rows.crowd_adamw(*crowd, *map(_pointer, mine), count, step, *doubles, *floats)
    assert_as_exact_as_reference(mine, [one for (one,) in expected], [one for (one,) in truth], dtype)


@CROWDS
@CHANNELS
def test_any_team_sums_squares(rows: Any, crowd: Crowd, channels: int) -> None:
    x = draw(1, channels, dtype=STORAGES[crowd.storage][0])
    squares = rows.crowd_squares(*crowd, _pointer(x), ctypes.c_int64(channels))
    assert squares == pytest.approx(x.double().square().sum().item(), rel=1e-6)


@CROWDS
@CHANNELS
def test_any_team_multiplies_a_row_with_one_vector_and_with_four(
    rows: Any, crowd: Crowd, channels: int
) -> None:
    dtype, weight_dtype = STORAGES[crowd.storage]
    weight, x = draw(1, channels, dtype=weight_dtype), draw(2, 4, channels, dtype=dtype)
    got = torch.empty(5)
    rows.crowd_dots(*crowd, _pointer(weight), _pointer(x), ctypes.c_int64(channels), _pointer(got))
    truth = x.double() @ weight.double()
    torch.testing.assert_close(got.double(), truth[[0, 0, 1, 2, 3]], rtol=1e-5, atol=1e-5)


@CROWDS
@pytest.mark.parametrize("tokens", [5, 8, 21])
def test_any_team_attends_in_parts_as_the_reference(rows: Any, crowd: Crowd, tokens: int) -> None:
    """In parts with and without a rest of four keys, and in one."""
    dtype, D, S = STORAGES[crowd.storage][0], 40, 21
    query, keys, values = (draw(k, *shape, D, dtype=dtype) for k, shape in enumerate(((), (S,), (S,))))
    y = torch.empty_like(query)
    numbers = [ctypes.c_int64(n) for n in (S, D, tokens)]
    pointers = [_pointer(t) for t in (query, keys, values)]
    rows.crowd_decode_attention(*crowd, *pointers, *numbers, ctypes.c_float(D**-0.5), _pointer(y))
    heads = query[None, None], keys[None, None], values[None, None]
    expected = reference.decode_attention(*heads)[0, 0]
    truth = reference.decode_attention(*(t.double() for t in heads))[0, 0]
    assert_as_exact_as_reference([y], [expected], [truth], dtype)


@pytest.mark.parametrize("storage", range(len(STORAGES)))
def test_single_elements_serve_arrays_that_are_not_aligned(rows: Any, storage: int) -> None:
    crowd = Crowd(size=5, pack=1, storage=storage)
    dtype, parameter_dtype = STORAGES[storage]
    x, bias = (draw(seed, 65, dtype=to)[1:] for seed, to in ((1, dtype), (2, parameter_dtype)))
    y, dx, dbias = torch.empty(65, dtype=dtype)[1:], torch.empty(65, dtype=dtype)[1:], torch.zeros(65)[1:]
    assert not rows.both_aligned_for_packs(_pointer(x), _pointer(y))
    count = ctypes.c_int64(64)
    rows.crowd_bias_gelu(*crowd, *map(_pointer, (x, bias, x)), count, *map(_pointer, (y, dx, dbias)))
    truth = reference.bias_gelu(x.double(), bias.double())
    assert_as_exact_as_reference([y], [reference.bias_gelu(x, bias)], [truth], dtype)


def test_packs_are_taken_only_where_every_array_is_aligned(rows: Any) -> None:
    aligned = torch.empty(64)
    assert aligned.data_ptr() % 16 == 0
    assert rows.both_aligned_for_packs(_pointer(aligned), _pointer(None))
    assert rows.both_aligned_for_packs(_pointer(aligned), _pointer(aligned[4:]))
    for offset in (1, 2, 3):
        assert not rows.both_aligned_for_packs(_pointer(aligned), _pointer(aligned[offset:]))
        assert not rows.both_aligned_for_packs(_pointer(aligned[offset:]), _pointer(aligned))
    halves = torch.empty(64, dtype=torch.bfloat16)
    assert not rows.both_aligned_for_packs(_pointer(halves[4:]), _pointer(halves))
    assert rows.both_aligned_for_packs(_pointer(halves[8:]), _pointer(halves))


def test_rounding_to_bfloat16_is_torchs_for_all_kinds_of_numbers(rows: Any) -> None:
    generator = torch.Generator().manual_seed(1)
    patterns = torch.randint(-(2**31), 2**31, (20_000,), generator=generator).to(torch.int32)
    ties = torch.arange(0, 2**16, 7, dtype=torch.int32) * 2**16 + 2**15  # exactly between two neighbours
    special = torch.tensor([0x7F800000, -0x800000, 0, -(2**31), 0x7F7FFFFF, 1], dtype=torch.int32)
    x = torch.cat([patterns, ties, special]).view(torch.float32)
    got = torch.empty(len(x), dtype=torch.int16)
    rows.round_to_bfloat16(_pointer(x), ctypes.c_int64(len(x)), _pointer(got))
    mine, theirs = got.view(torch.bfloat16), x.to(torch.bfloat16)
    assert torch.equal(mine.isnan(), theirs.isnan())
    assert torch.equal(mine[~mine.isnan()], theirs[~theirs.isnan()])


def test_the_exponential_is_within_two_units_in_the_last_place(rows: Any) -> None:
    x = torch.linspace(-87.2, 88.2, 200_001)
    got = torch.empty_like(x)
    rows.exponentials(_pointer(x), ctypes.c_int64(len(x)), _pointer(got))
    truth = x.double().exp()
    assert ((got - truth).abs() / truth).max() < 2 * 2.0**-23


def test_the_exponential_of_what_is_not_ordinary(rows: Any) -> None:
    inf, nan = float("inf"), float("nan")
    x = torch.tensor([-inf, -1e30, -88.0, 0.0, 89.0, 1e30, inf, nan])
    got = torch.empty_like(x)
    rows.exponentials(_pointer(x), ctypes.c_int64(len(x)), _pointer(got))
    assert torch.equal(got[:-1], torch.tensor([0.0, 0.0, 0.0, 1.0, inf, inf, inf]))
    assert got[-1].isnan()

"""The operators on a GPU: exactness, layouts and alignment, no rows, streams, CUDA graphs, the same bits again.

The other files of this folder run on a GPU too, where there is one; this one holds what only a GPU can get wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from ops_support import (
    DTYPES,
    assert_as_exact_as_reference,
    draw,
    dtype_id,
    require_native,
    run_with_gradients,
)
from torch import Tensor

from gpt2x import ops
from gpt2x.bench.ops.cases import CASES, Case, Draw, Sizes
from gpt2x.bench.ops.report import label
from gpt2x.model import GPT, GPTConfig
from gpt2x.model.decoding import DecodingModel, suits
from gpt2x.ops import library, reference, selfcheck

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

SIZES = Sizes(N=37, C=48, V=129, H=3, S=70, B=2, matrices=3)
FLOORS = {"float32": 2e-6, "bfloat16": 2.0**-9}
STORAGE = [dtype for dtype in DTYPES if dtype != torch.float64]
dtypes = pytest.mark.parametrize("dtype", STORAGE, ids=dtype_id)
cases = pytest.mark.parametrize(
    ("case", "dtype"),
    [
        pytest.param(case, dtype, id=f"{label(case.name, case.case)} in {dtype_id(dtype)}")
        for case in CASES
        for dtype in STORAGE
        if dtype_id(dtype) in case.dtypes
    ],
)


@pytest.fixture
def device() -> str:
    require_native("cuda")
    return "cuda"


def _build(case: Case, dtype: torch.dtype, device: str) -> Any:
    return case.build(SIZES, Draw(torch.device(device), dtype))


def _results(call: Any) -> list[Tensor]:
    return [t.detach().clone() for t in call.run(ops, call.prepare(ops))]


@pytest.mark.parametrize("name", library.OPERATORS)
@dtypes
@pytest.mark.parametrize("size", [(1, 2), (31, 127), (33, 1601), (1000, 768)], ids=str)
def test_every_operator_is_as_exact_as_its_reference(
    device: str, name: str, dtype: torch.dtype, size: tuple[int, int]
) -> None:
    rows, channels = size
    shape = selfcheck.Shape(rows=rows, channels=channels, vocabulary=257, padded=320)
    (error,) = selfcheck.measure_errors(device, [dtype], names=[name], shape=shape)
    assert error.served <= 2 * error.reference + FLOORS[error.dtype]


@cases
def test_the_same_call_gives_the_same_bits(device: str, case: Case, dtype: torch.dtype) -> None:
    call = _build(case, dtype, device)
    for one, other in zip(_results(call), _results(call), strict=True):
        assert torch.equal(one, other)


@cases
def test_what_the_current_stream_has_not_written_yet_is_not_read(
    device: str, case: Case, dtype: torch.dtype
) -> None:
    expected = _results(_build(case, dtype, device))
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.cuda._sleep(50_000_000)  # some milliseconds, in which the inputs are not there yet
        got = _results(_build(case, dtype, device))
    side.synchronize()
    for one, other in zip(got, expected, strict=True):
        assert torch.equal(one, other)


@cases
def test_a_cuda_graph_replays_it(device: str, case: Case, dtype: torch.dtype) -> None:
    call = _build(case, dtype, device)
    expected = _results(call)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # libraries make their workspaces here, not while the graph is recorded
        for _ in range(3):
            call.run(ops, call.prepare(ops))
    torch.cuda.current_stream().wait_stream(side)
    prepared = call.prepare(ops)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = call.run(ops, prepared)
    for _ in range(2):
        call.prepare(ops)  # what it updates in place starts anew
        graph.replay()
        for one, other in zip(got, expected, strict=True):
            torch.testing.assert_close(one.detach(), other, rtol=1e-5, atol=1e-6)


def test_a_cuda_graph_reads_step_and_learning_rate_anew_at_every_replay(device: str) -> None:
    one, other = ([draw(k, 300, device=device).abs() for k in range(4)] for _ in range(2))
    step, lr = torch.tensor(1, device=device), torch.tensor(0.1, device=device)
    ops.adamw_(*([t.clone()] for t in one), step=step, lr=lr)  # what is made once is not made in the graph
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        ops.adamw_(*([t] for t in one), step=step, lr=lr)
    for count, rate in ((1, 0.1), (2, 0.05), (3, 0.2)):
        step.fill_(count)
        lr.fill_(rate)
        graph.replay()
        ops.adamw_(*([t] for t in other), step=count, lr=float(lr))
    for mine, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-7)


def _loss(module: Any, hidden: Tensor, weight: Tensor) -> Tensor:
    targets = torch.arange(len(hidden), device=hidden.device)
    return module.linear_cross_entropy(hidden, weight, targets)


# (rows of the inputs that come first, their shapes, the call)
DIFFERENTIABLE: dict[str, tuple[int, tuple[tuple[int, ...], ...], Callable[..., Any]]] = {
    "add_layer_norm": (2, ((6, 64), (6, 64), (64,), (64,)), lambda module, *t: module.add_layer_norm(*t)),
    "bias_gelu": (1, ((6, 64), (64,)), lambda module, *t: module.bias_gelu(*t)),
    "bias_relu2": (1, ((6, 64), (64,)), lambda module, *t: module.bias_relu2(*t)),
    "linear": (1, ((6, 64), (32, 64), (32,)), lambda module, *t: module.linear(*t)),
    "linear_cross_entropy": (1, ((6, 64), (32, 64)), _loss),
}


def _misaligned(tensor: Tensor) -> Tensor:
    """The same numbers one element into a buffer, so that no 16-byte access is aligned."""
    buffer = tensor.new_empty(tensor.numel() + 1)
    return buffer[1:].view_as(tensor).copy_(tensor)


def _transposed(tensor: Tensor) -> Tensor:
    """The same numbers with the strides of the transpose."""
    return tensor if tensor.dim() < 2 else tensor.T.contiguous().T


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@dtypes
@pytest.mark.parametrize("layout", [_misaligned, _transposed], ids=["misaligned", "transposed"])
def test_any_layout_gives_what_a_plain_one_gives(
    device: str, name: str, layout: Callable[[Tensor], Tensor], dtype: torch.dtype
) -> None:
    _, shapes, call = DIFFERENTIABLE[name]
    plain = [draw(i, *shape, dtype=dtype, device=device) for i, shape in enumerate(shapes)]

    def run(tensors: list[Tensor], module: Any) -> list[Tensor]:
        leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        outputs = call(module, *leaves)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        gradients = torch.autograd.grad([out.float().square().sum() for out in outputs], leaves)
        return [*(out.detach() for out in outputs), *gradients]

    truth = run([tensor.double() for tensor in plain], reference)
    by_reference = run(plain, reference)
    assert_as_exact_as_reference(run([layout(tensor) for tensor in plain], ops), by_reference, truth, dtype)


@dtypes
@pytest.mark.parametrize("weight_dtype", ["same", "int8"])
@pytest.mark.parametrize("layout", [_misaligned, _transposed], ids=["misaligned", "transposed"])
def test_a_product_takes_any_layout(
    device: str, layout: Callable[[Tensor], Tensor], weight_dtype: str, dtype: torch.dtype
) -> None:
    x, weight, scale = draw(1, 3, 768, dtype=dtype, device=device), draw(2, 96, 768, device=device), None
    weight, scale = ops.quantize_rows(weight) if weight_dtype == "int8" else (weight.to(dtype), None)
    truth = x.double() @ (weight.double() * (1 if scale is None else scale.double()[:, None])).T
    got, expected = ops.gemv(layout(x), layout(weight), scale), reference.gemv(x, weight, scale)
    assert_as_exact_as_reference([got], [expected], [truth], dtype)


@dtypes
@pytest.mark.parametrize("D", [64, 80, 33])
@pytest.mark.parametrize("offset", [0, 1])
def test_attention_reads_a_cache_where_it_is(device: str, offset: int, D: int, dtype: torch.dtype) -> None:
    """Where they begin one element on, rows are not aligned."""
    cache = draw(1, 2, 2, 12, 1024, D + offset, dtype=dtype, device=device)
    query = draw(2, 2, 12, D, dtype=dtype, device=device)
    for S in (1, 64, 777, 1024):
        tensors = query, cache[0, :, :, :S, offset:], cache[1, :, :, :S, :D]
        truth = reference.decode_attention(*(t.double() for t in tensors))
        got, expected = ops.decode_attention(*tensors), reference.decode_attention(*tensors)
        assert_as_exact_as_reference([got], [expected], [truth], dtype)


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
def test_a_model_for_writing_computes_what_it_computes_on_a_cpu(device: str, weights: str) -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=999, block_size=128, n_layer=2, n_head=4, n_embd=256)).eval()
    text = torch.arange(70)

    def read(reader: DecodingModel) -> Tensor:
        cache = reader.new_cache()
        return torch.stack([reader(part, cache).cpu() for part in (text[:60], *text[60:].split(1))])

    expected = read(DecodingModel(model, weights))
    assert suits(model.to(device))
    torch.testing.assert_close(read(DecodingModel(model, weights)), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@dtypes
def test_no_rows_are_no_work(device: str, name: str, dtype: torch.dtype) -> None:
    with_rows, shapes, call = DIFFERENTIABLE[name]
    shapes = tuple((0, *shape[1:]) if i < with_rows else shape for i, shape in enumerate(shapes))
    inputs = [draw(i, *shape, dtype=dtype, device=device) for i, shape in enumerate(shapes)]
    native = run_with_gradients(lambda *t: call(ops, *t), inputs)
    by_reference = run_with_gradients(lambda *t: call(reference, *t), inputs)
    torch.cuda.synchronize()
    for one, other in zip(native, by_reference, strict=True):
        torch.testing.assert_close(one, other, equal_nan=True)


def test_more_elements_than_32_bits_count(device: str) -> None:
    needed = 3 * 2 * (2**31 + 4096)
    if torch.cuda.mem_get_info()[0] < 1.2 * needed:
        pytest.skip(f"needs {needed / 1e9:.0f} GB of free GPU memory")
    x = torch.zeros((2**31 + 4096) // 1024, 1024, dtype=torch.bfloat16, device=device)
    x[-1] = 3.0
    y = ops.bias_gelu(x)
    assert torch.equal(y[-1], reference.bias_gelu(x[-1]))
    assert not y[:-1].any()
    assert ops.global_norm([x]).item() == pytest.approx(3.0 * 32.0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda g, c: ops.add_layer_norm(g, c, g[0], g[0]), "residual: expected device cuda:0"),
        (lambda g, c: ops.bias_gelu(g, c[0]), "bias: expected device cuda:0"),
        (ops.linear, "weight: expected device cuda:0"),
        (ops.gemv, "weight: expected device cuda:0"),
        (lambda g, c: ops.global_norm([g, c]), r"tensors\[1\]: expected device cuda:0"),
        (lambda g, c: ops.adamw_([g], [c], [g], [g], step=1, lr=0.1), r"grads\[0\]: expected device cuda:0"),
    ],
)
def test_tensors_of_two_devices_are_refused_by_name(
    device: str, call: Callable[..., Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        call(torch.ones(8, 8, device=device), torch.ones(8, 8))


def test_a_compiled_model_keeps_the_operators(device: str) -> None:
    x, weight, bias = (draw(i, *shape, device=device) for i, shape in enumerate(((9, 64), (64,), (64,))))

    def block(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        y, total = ops.add_layer_norm(x, x, weight, bias)
        return ops.bias_gelu(y, bias) + total

    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, weight, bias), block(x, weight, bias))

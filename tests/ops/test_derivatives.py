"""Derivatives beyond the first, forward mode and torch.func: the reference's in every mode, never silently zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from ops_support import draw, require_native
from torch import Tensor
from torch.autograd import forward_ad

from gpt2x import ops
from gpt2x.ops import backend, derivatives, reference

# torch compiles decompositions with its own deprecated torch.jit.script; vmap tells that some are slow.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning"),
]

MODES = pytest.mark.parametrize("mode", ["auto", "reference"])
N, C, V = 4, 6, 9
TARGETS = torch.tensor([0, 3, -100, 6])
# Drawn here, as a transform of torch.func forbids to draw.
HEAD, SHIFT, CACHE = draw(2, V, C), draw(3, V), [draw(k, N, 1, 5, C) for k in (2, 3)]
ANGLES = draw(4, N, C), draw(5, N, C)
UPSTREAM = draw(9, 4096)
QUANTIZED = ops.quantize_rows(HEAD)
Function = Callable[[Any, Tensor], Tensor]
"""Of a module (`ops` or its reference) and of x (N, C); what else the operator takes depends on x too."""


def _loss(reduction: str) -> Function:
    def loss(module: Any, x: Tensor) -> Tensor:
        options = {"vocab_size": 7, "label_smoothing": 0.1, "z_loss": 0.01, "reduction": reduction}
        return module.linear_cross_entropy(x, HEAD.to(x) * x.mean(), TARGETS, **options)

    return loss


def _embedding_backward(module: Any, x: Tensor) -> Tensor:
    dweight = torch.zeros(V, C) + x.sum(0) ** 2
    module.embedding_backward_(dweight, x**3, torch.tensor([1, 0, 1, 8]))
    return dweight


def _mean(module: Any, x: Tensor) -> Tensor:
    out = torch.zeros(N, C) + x[0]
    squares = module.mean_([out], [[x], [x**2]])
    return torch.cat([out.flatten(), squares.float()[None]])


def _three(x: Tensor) -> Tensor:
    """(N, C) -> (1, N, 3 C), other numbers for queries, keys and values."""
    return torch.cat([x, x.sin(), x**2], dim=1)[None]


CASES: dict[str, Function] = {
    "add_layer_norm": lambda module, x: torch.cat(module.add_layer_norm(x, x.sin(), x[0], x[1])),
    "add_layer_norm, no residual": lambda module, x: module.add_layer_norm(x, None, x[0])[0],
    "add_layer_norm, sum alone": lambda module, x: module.add_layer_norm(x, x**2, x[0])[1] ** 2,
    "bias_gelu": lambda module, x: module.bias_gelu(x, x[0]),
    "bias_gelu, no bias": lambda module, x: module.bias_gelu(x),
    "bias_relu2": lambda module, x: module.bias_relu2(x, x[0]),
    "bias_relu2, no bias": lambda module, x: module.bias_relu2(x),
    "qk_norm_rotary": lambda module, x: module.qk_norm_rotary(_three(x), 1, ANGLES),
    "qk_norm_rotary, no norm": lambda module, x: module.qk_norm_rotary(_three(x), 1, ANGLES, qk_norm=False),
    "qk_norm_rotary, no rotation": lambda module, x: module.qk_norm_rotary(_three(x), 2),
    "linear": lambda module, x: module.linear(x, HEAD * x.mean(), SHIFT * x.mean()),
    "linear, no bias": lambda module, x: module.linear(x, HEAD * x.mean()),
    "linear_cross_entropy, mean": _loss("mean"),
    "linear_cross_entropy, sum": _loss("sum"),
    "linear_cross_entropy, none": _loss("none"),
    "embedding_backward_": _embedding_backward,
    "global_norm": lambda module, x: module.global_norm([x, x[0] ** 2]),
    "mean_": _mean,
    "gemv": lambda module, x: module.gemv(x, HEAD * x.mean(), None, SHIFT * x.mean()),
    "gemv, int8": lambda module, x: module.gemv(x, *QUANTIZED),
    "decode_attention": lambda module, x: module.decode_attention(
        x[:, None, :], *((x**k)[:, None, None, :] * cache for k, cache in zip((2, 3), CACHE, strict=True))
    ),
}
BY_NAME = pytest.mark.parametrize("name", CASES)


def _upstream(result: Tensor) -> Tensor:
    return UPSTREAM[: result.numel()].view(result.shape)


def _penalty(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The gradient of a loss that holds the norm of a gradient (create_graph)."""
    leaf = x.clone().requires_grad_()
    result = f(leaf)
    (gradient,) = torch.autograd.grad((result * _upstream(result)).sum(), leaf, create_graph=True)
    return torch.autograd.grad(result.sum() + gradient.square().sum(), leaf)[0]


def _dual(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(f(forward_ad.make_dual(x, x.cos()))).tangent
    assert tangent is not None
    return tangent


def _dual_upstream(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Forward mode over the backward pass alone."""
    leaf = x.clone().requires_grad_()
    result = f(leaf)
    with forward_ad.dual_level():
        upstream = forward_ad.make_dual(torch.ones_like(result), _upstream(result))
        tangent = forward_ad.unpack_dual(torch.autograd.grad(result, leaf, upstream)[0]).tangent
    assert tangent is not None
    return tangent


def _squared(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: f(x).square().sum()


DERIVATIVES: dict[str, Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]] = {
    "gradient penalty": _penalty,
    "grad of grad": lambda f, x: torch.func.grad(lambda y: torch.func.grad(_squared(f))(y).square().sum())(x),
    "hessian": lambda f, x: torch.func.hessian(_squared(f))(x),
    "autograd.functional.hessian": lambda f, x: torch.autograd.functional.hessian(_squared(f), x),
    "jvp": lambda f, x: torch.func.jvp(f, (x,), (x.cos(),))[1],
    "dual numbers": _dual,
    "dual upstream": _dual_upstream,
    "jacfwd": lambda f, x: torch.func.jacfwd(f)(x),
    "jacrev": lambda f, x: torch.func.jacrev(f)(x),
    "batched gradients": lambda f, x: torch.autograd.functional.jacobian(f, x, vectorize=True),
    "vmap": lambda f, x: torch.func.vmap(f)(torch.stack([x, x.sin(), -x])),
    "gradients of each sample": lambda f, x: torch.func.vmap(torch.func.grad(_squared(f)))(
        torch.stack([x, x.sin(), -x])
    ),
}


@MODES
@BY_NAME
@pytest.mark.parametrize("derivative", DERIVATIVES)
def test_every_derivative_is_that_of_the_reference(
    mode: str, name: str, derivative: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "_onednn", True)  # so that `linear` is native on every processor
    take, case = DERIVATIVES[derivative], CASES[name]
    with backend.using(mode):
        got = take(lambda x: case(ops, x), draw(1, N, C))
    expected = take(lambda x: case(reference, x), draw(1, N, C))
    assert expected.abs().max() > 1e-3  # a derivative that is lost would show
    torch.testing.assert_close(got, expected, rtol=2e-4, atol=2e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ["add_layer_norm", "bias_gelu", *(n for n in CASES if "cross_entropy" in n)])
def test_second_derivatives_agree_with_finite_differences_in_float64(name: str) -> None:
    require_native("cpu")
    x = draw(1, N, C, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: CASES[name](ops, x), [x])


def test_adamw_carries_forward_derivatives_as_its_reference_does() -> None:
    def step(module: Any, grad: Tensor) -> Tensor:
        p, m, v = draw(2, N, C), torch.zeros(N, C), torch.ones(N, C)
        module.adamw_([p], [grad], [m], [v], step=1, lr=0.1)
        return torch.stack([p, m, v])

    got = _dual(lambda x: step(ops, x), draw(1, N, C))
    torch.testing.assert_close(got, _dual(lambda x: step(reference, x), draw(1, N, C)))
    assert got.abs().max() > 1e-3


@MODES
def test_a_reverse_derivative_of_adamw_is_refused(mode: str) -> None:
    def step(grad: Tensor) -> Tensor:
        p = torch.zeros(N, C)
        ops.adamw_([p], [grad], [torch.zeros(N, C)], [torch.zeros(N, C)], step=1, lr=0.1)
        return p.sum()

    with backend.using(mode), pytest.raises(ValueError, match="adamw_ has no derivative in reverse mode"):
        torch.func.grad(step)(draw(1, N, C))


@pytest.mark.parametrize("transform", ["grad", "jvp", "vmap"])
def test_a_kernel_called_past_the_wrappers_refuses_a_transform(transform: str) -> None:
    require_native("cpu")

    def kernel(x: Tensor) -> Tensor:
        return torch.ops.gpt2x.bias_gelu(x, None)

    call = {
        "grad": torch.func.grad(lambda x: kernel(x).sum()),
        "jvp": lambda x: torch.func.jvp(kernel, (x,), (x,)),
        "vmap": torch.func.vmap(kernel),
    }[transform]
    with pytest.raises(
        RuntimeError, match="bias_gelu has no rule for torch.func; call the function of that name"
    ):
        call(draw(1, N, C))


def test_every_kernel_refuses_a_transform() -> None:
    require_native("cpu")
    for name in torch._C._dispatch_get_all_op_names():
        if name.startswith("gpt2x::") and name != "gpt2x::onednn_multiplies":
            assert torch._C._dispatch_has_kernel_for_dispatch_key(name, "FuncTorchDynamicLayerFrontMode")


@pytest.mark.parametrize("derivative", ["hessian", "jvp", "jacrev", "vmap"])
def test_transforms_inside_a_compiled_function_are_those_of_the_reference(derivative: str) -> None:
    require_native("cpu")
    take, case = DERIVATIVES[derivative], CASES["bias_gelu"]
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: take(lambda y: case(ops, y), x), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(draw(1, N, C)), take(lambda y: case(reference, y), draw(1, N, C)))


def test_the_mark_that_is_set_by_hand_is_the_one_torch_sets() -> None:
    marked = torch.compiler.assume_constant_result(lambda: None)
    assert vars(derivatives._transforms_while_tracing) == vars(marked)


def test_a_compiled_function_notices_dual_numbers() -> None:
    require_native("cpu")
    torch._dynamo.reset()
    compiled = torch.compile(ops.bias_gelu, fullgraph=True, backend="aot_eager")
    plain = compiled(draw(1, N, C))  # the graph of plain numbers must not serve again
    torch.testing.assert_close(plain, ops.bias_gelu(draw(1, N, C)))
    if tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 14):
        with pytest.raises(torch._dynamo.exc.Unsupported, match="dual tensor"):
            _dual(compiled, draw(1, N, C))
        return
    torch.testing.assert_close(_dual(compiled, draw(1, N, C)), _dual(reference.bias_gelu, draw(1, N, C)))


def test_first_derivatives_stay_with_the_kernels() -> None:
    """What the reference is for must not cost what everybody does."""
    require_native("cpu")
    seen: list[str] = []

    class Record(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    x = draw(1, N, C).requires_grad_()
    with Record():
        y = ops.bias_gelu(ops.add_layer_norm(x, x, x[0])[0])
        ops.linear_cross_entropy(y, HEAD, TARGETS).backward()
    kernels = [
        "add_layer_norm",
        "bias_gelu",
        "linear_cross_entropy",
        "bias_gelu_backward",
        "add_layer_norm_backward",
    ]
    assert [name.split(".")[1] for name in seen if name.startswith("gpt2x")] == kernels


def test_an_embeddings_gradient_moves_the_version_of_what_it_is_added_to() -> None:
    dweight = torch.ones(3, 2, requires_grad=True) * 1
    saved = (dweight * dweight).sum()
    with torch.no_grad():
        ops.embedding_backward_(dweight, torch.ones(1, 2), torch.tensor([0]))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        saved.backward()


def test_a_gradient_penalty_through_a_tied_model_is_that_of_plain_torch() -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from gpt2x.model import GPT, GPTConfig

    sizes = {"vocab_size": 11, "block_size": 8, "n_layer": 1, "n_head": 2, "n_embd": 4}
    ids = torch.tensor([[1, 2, 3, 3], [10, 0, 1, 5]])

    def gradients(**fused: bool) -> list[Tensor]:
        torch.manual_seed(1)
        model = GPT(GPTConfig(**sizes, **fused))
        with sdpa_kernel(SDPBackend.MATH):  # torch's other attention has no second derivative
            _, loss = model(ids, ids)
        first = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
        (loss + sum(g.square().sum() for g in first)).backward()
        return [p.grad for p in model.parameters()]

    fused = gradients(fused_loss=True, fused_layers=True, fused_attention=True, fused_gemm=True)
    for one, other in zip(fused, gradients(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)

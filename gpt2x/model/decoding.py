"""GPT-2 for writing: the weights of a `GPT`, held and read in the way that makes one token fastest.

The one idea to hold on to: a new token is one row, so it uses each weight once and has to read all of them for it: its
time is bytes of weights ÷ bandwidth of the memory. Matrices are therefore streamed by `gpt2x.ops.gemv`, which reads 4,
2 or 1 bytes a weight (float32, bfloat16, int8 with one scale a row) and computes in float32 in any case. The rest stays
float32: biases and LayerNorms, which are few, and the two embeddings, of which a token reads one row each.

The forward pass is that of `gpt2x.model.gpt` for one text without gradients, dropout and modules, whose calls cost as
much as the arithmetic between two products. It runs where the native operators do: on a CPU, and on a GPU for which the
CUDA kernels are built, where it has not been measured yet. Letters in shapes as there:
    T  new tokens     C  width of the residual stream     H  heads          V  vocabulary
    S  all tokens, those in the KV cache among them       D  head size, C / H
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt2x import ops
from gpt2x.errors import InputDataError, MissingComponentError, UsageError
from gpt2x.model.gpt import GPT, Block, Rotation, rotation_at
from gpt2x.model.kv_cache import KVCache
from gpt2x.model.thread_choice import ThreadChoice
from gpt2x.ops import backend
from gpt2x.ops.library import OP

WEIGHTS = ("float32", "bfloat16", "int8")
"""How the matrices can be held."""

DEVICES = ("cpu", "cuda")
"""Where there are native operators."""

FEW_ROWS = 4
"""Up to this many rows `gemv` is faster than a matrix product (3072 × 768 on one Zen 5 core: 4 rows take 0.54 against
0.57 ms in float32, 0.33 against 0.57 in int8, where the product needs the matrix in float32 first)."""


class Matrix(NamedTuple):
    """The matrix and the bias of a linear layer, as `gpt2x.ops.gemv` reads them."""

    weight: Tensor  # (O, I)
    scale: Tensor | None  # (O) beside int8
    bias: Tensor | None  # (O)

    def __call__(self, x: Tensor) -> Tensor:
        """(T, I) -> (T, O)."""
        if len(x) <= FEW_ROWS:
            return cast(Tensor, OP.gemv(x, self.weight, self.scale, self.bias))
        return ops.linear(x, self._in_float32(), self.bias)

    def _in_float32(self) -> Tensor:
        """The matrix in float32, itself where it is that: a prompt's many rows share what this costs."""
        matrix = self.weight.float()
        return matrix if self.scale is None else matrix.mul_(self.scale[:, None])


class Norm(NamedTuple):
    """The gain and the shift of a LayerNorm."""

    weight: Tensor  # (C)
    bias: Tensor  # (C)


class Layer(NamedTuple):
    """One block."""

    ln_1: Norm
    qkv: Matrix  # (3 C, C)
    attention_out: Matrix  # (C, C)
    ln_2: Norm
    widen: Matrix  # (4 C, C), without its bias, which the activation adds
    widen_bias: Tensor  # (4 C)
    narrow: Matrix  # (C, 4 C)


class DecodingModel:
    """A GPT that reads a prompt and then writes token by token, one text at a time.

    Float32 weights are the model's own tensors, so that nothing is held twice and later changes in place show. bfloat16
    and int8 are copies made here, after which the model can go: GPT-2 124M then holds 247 or 124 MB of matrices, and
    157 MB of embeddings.

    Args:
        model: whose weights, on a CPU or a GPU that the native operators serve.
        weights: how matrices are held: float32 computes what the model computes; bfloat16 rounds them to 8 bits of
            mantissa; int8 to 255 steps a row (`gpt2x.ops.quantize_rows`).

    Raises:
        UsageError: `weights` is none of these, or the model is on a device of another kind.
        MissingComponentError: the native operators do not serve there; the message says what to do.
        InputDataError: int8 is asked for, and some weights are not finite numbers.

    """

    def __init__(self, model: GPT, weights: str = "float32") -> None:
        check_weights(weights)
        check_place(model)
        self.config, self.weights = model.config, weights
        self.device = model.wte.weight.device
        self.wte = _plain(model.wte.weight)  # (Vp, C)
        self.wpe = None if model.wpe is None else _plain(model.wpe.weight)  # (block_size, C)
        self.rotation: Rotation | None = None  # (block_size, D) twice
        if model.wpe is None:
            self.rotation = rotation_at(
                torch.arange(self.config.block_size, device=self.device), self.config.head_size
            )
        self.activate = OP.bias_relu2 if self.config.activation == "relu2" else OP.bias_gelu
        self.layers = [_layer(cast(Block, block), weights) for block in model.h]
        self.ln_f = Norm(_plain(model.ln_f.weight), _plain(model.ln_f.bias))
        # The rows of the padding are left out: they could only yield -inf.
        self.head = _matrix(model.lm_head.weight[: model.config.vocab_size], None, weights)  # (V, C)
        self._threads = ThreadChoice()

    def __call__(self, ids: Tensor, cache: KVCache) -> Tensor:
        """Read tokens and predict the one after the last.

        Args:
            ids: (T,) of int64, T > 0, ids below V.
            cache: where the keys and values of earlier tokens are, and where those of `ids` are added.

        Returns:
            The logits (V,), float32.

        Raises:
            ValueError: the cache or the context is full before their end.
            IndexError: an id that the model does not have (on a GPU torch's device-side assertion).

        """
        if len(ids) > 1 or self.device.type != "cpu":
            return self._read(ids.to(self.device), cache)
        return self._threads.run(lambda: self._read(ids, cache))

    @torch.inference_mode()
    def read_rows(self, ids: Tensor, cache: KVCache) -> Tensor:
        """Read one token of each of several texts that are equally long, and predict the ones after.

        Args:
            ids: (B,) of int64, ids below V.
            cache: for B texts, as `KVCache.fork` makes it; the keys and values of `ids` are added.

        Returns:
            The logits (B, V), float32: up to rounding those of `__call__` for each text alone.

        Raises:
            ValueError: the cache or the context is full.
            IndexError: an id that the model does not have (on a GPU torch's device-side assertion).

        """
        ids = ids.to(self.device)
        branch = self._positions(cache.length, 1)
        branch = None if branch is None else branch.expand(len(ids), -1)
        x, branch = self._blocks(F.embedding(ids, self.wte), branch, cache, self._attend_rows)
        cache.advance(1)
        y, _ = self._add_norm(x, branch, self.ln_f)
        return self.head(y)

    @torch.inference_mode()
    def _read(self, ids: Tensor, cache: KVCache) -> Tensor:
        T = len(ids)
        branch = self._positions(cache.length, T)
        x, branch = self._blocks(F.embedding(ids, self.wte), branch, cache, self._attend)
        cache.advance(T)
        y, _ = self._add_norm(x[-1:], branch[-1:], self.ln_f)
        return self.head(y)[0]

    def _positions(self, past: int, T: int) -> Tensor | None:
        """(T, C): where the tokens stand, the first branch that is added to the stream; None with rotary positions."""
        if past + T > self.config.block_size:
            raise ValueError(
                f"{past + T} tokens are more than the model's context of block_size = {self.config.block_size}; "
                "give fewer, or let gpt2x.generate.Engine slide over them"
            )
        return None if self.wpe is None else self.wpe[past : past + T]

    def _blocks(
        self,
        x: Tensor,
        branch: Tensor | None,
        cache: KVCache,
        attend: Callable[[int, Tensor, KVCache], Tensor],
    ) -> tuple[Tensor, Tensor]:
        """All layers, (R, C) -> (R, C) twice: the stream, and what is to be added to it."""
        for number, layer in enumerate(self.layers):
            y, x = self._add_norm(x, branch, layer.ln_1)
            branch = layer.attention_out(attend(number, layer.qkv(y), cache))
            y, x = self._add_norm(x, branch, layer.ln_2)
            branch = layer.narrow(self.activate(layer.widen(y), layer.widen_bias))
        assert branch is not None  # there is at least one layer
        return x, branch

    def _add_norm(self, x: Tensor, branch: Tensor | None, norm: Norm) -> tuple[Tensor, Tensor]:
        """The stream with the branch added to it: normalised, and as it is."""
        y, total, _, _ = OP.add_layer_norm(x, branch, *norm, self.config.layer_norm_epsilon)
        return y, x if branch is None else total

    def _attend(self, number: int, qkv: Tensor, cache: KVCache) -> Tensor:
        """(T, 3 C) -> (T, C): every new token looks at itself and at those before it."""
        T = len(qkv)
        queries, keys, values = self._store(number, qkv[None], cache)  # (1, H, T, D), (1, H, S, D) twice
        if T == 1:
            return cast(Tensor, OP.decode_attention(queries[:, :, 0], keys, values)).view(1, -1)
        S = keys.shape[2]
        mask = None if S == T else torch.ones(T, S, dtype=torch.bool, device=self.device).tril(S - T)
        y = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, is_causal=mask is None)
        return y[0].transpose(0, 1).reshape(T, -1)

    def _attend_rows(self, number: int, qkv: Tensor, cache: KVCache) -> Tensor:
        """(B, 3 C) -> (B, C): the new token of each text looks at that text."""
        queries, keys, values = self._store(number, qkv[:, None], cache)  # (B, H, 1, D), (B, H, S, D) twice
        return ops.decode_attention(queries[:, :, 0], keys, values).reshape(len(qkv), -1)

    def _store(self, number: int, qkv: Tensor, cache: KVCache) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, 3 C) -> the queries, and the keys and values of all S tokens, the new ones now in the cache."""
        (B, T, _), H, D = qkv.shape, self.config.n_head, self.config.head_size
        if self.config.qk_norm or self.rotation is not None:
            qkv = self._prepare(qkv, cache.length)
        heads = qkv.view(B, T, 3, H, D).permute(2, 0, 3, 1, 4)  # (3, B, H, T, D)
        return heads[0], *cache.update_both(number, heads[1:])

    def _prepare(self, qkv: Tensor, past: int) -> Tensor:
        """(B, T, 3 C) -> the same with queries and keys normalised and turned, where the model asks for it."""
        T, (cos, sin) = qkv.shape[1], self.rotation or (None, None)
        if cos is not None and sin is not None:
            cos, sin = cos[past : past + T], sin[past : past + T]
        heads, qk_norm = self.config.n_head, self.config.qk_norm
        return cast(Tensor, OP.qk_norm_rotary(qkv, cos, sin, heads, qk_norm))

    def new_cache(self, max_length: int | None = None) -> KVCache:
        """An empty KV cache for one text."""
        return KVCache(self.config, max_length=max_length, device=self.device)

    def evaluating(self) -> contextlib.AbstractContextManager[None]:
        """Nothing to switch off: there is no dropout here."""
        return contextlib.nullcontext()

    @property
    def bytes_per_token(self) -> int:
        """Bytes of weights that one token reads; the KV cache and two rows of embeddings come on top."""
        parts = [*(part for layer in self.layers for part in layer), self.ln_f, self.head]
        return sum(
            tensor.nbytes
            for part in parts
            for tensor in (part if isinstance(part, tuple) else [part])
            if tensor is not None
        )


def check_weights(weights: str) -> None:
    """Refuse a word that is none of `WEIGHTS`.

    Raises:
        UsageError: naming the word and the choices.

    """
    if weights not in WEIGHTS:
        raise UsageError(
            f"weights = {weights!r} is unknown; choose {', '.join(WEIGHTS[:-1])} or {WEIGHTS[-1]}"
        )


def check_place(model: GPT) -> None:
    """Refuse a model that is neither on a CPU nor on a GPU, and a place where the native operators do not serve.

    Raises:
        UsageError: the model is elsewhere.
        MissingComponentError: there are no native operators for its device.

    """
    device = model.wte.weight.device
    if device.type not in DEVICES:
        raise UsageError(
            f"weights can be chosen for a model on a CPU or a GPU, this one is on {device.type}; use device cpu"
        )
    if not backend.serves(device, torch.float32):
        raise MissingComponentError(
            f"decoding with chosen weights needs the native operators on {device.type}; {backend.REMEDY}"
        )


def suits(model: nn.Module) -> bool:
    """True for a model that `DecodingModel` serves here without changing what it computes.

    >>> suits(nn.Linear(2, 2))
    False
    """
    if not isinstance(model, GPT):
        return False
    weight = model.wte.weight
    return (
        weight.device.type in DEVICES
        and weight.dtype == torch.float32
        and backend.serves(weight.device, torch.float32)
    )


def _layer(block: Block, weights: str) -> Layer:
    attention, mlp = block.attn, block.mlp
    return Layer(
        ln_1=Norm(_plain(block.ln_1.weight), _plain(block.ln_1.bias)),
        qkv=_matrix(attention.c_attn.weight, attention.c_attn.bias, weights),
        attention_out=_matrix(attention.c_proj.weight, attention.c_proj.bias, weights),
        ln_2=Norm(_plain(block.ln_2.weight), _plain(block.ln_2.bias)),
        widen=_matrix(mlp.c_fc.weight, None, weights),
        widen_bias=_plain(mlp.c_fc.bias),
        narrow=_matrix(mlp.c_proj.weight, mlp.c_proj.bias, weights),
    )


def _matrix(weight: Tensor, bias: Tensor | None, weights: str) -> Matrix:
    shift = None if bias is None else _plain(bias)
    if weights == "int8":
        if not weight.isfinite().all():
            raise InputDataError("some of the model's weights are not finite numbers; train or load others")
        return Matrix(*ops.quantize_rows(weight), shift)
    dtype = torch.bfloat16 if weights == "bfloat16" else torch.float32
    return Matrix(weight.detach().to(dtype).contiguous(), None, shift)


def _plain(parameter: Tensor) -> Tensor:
    """A parameter as a float32 tensor that records nothing; the same memory where it is float32."""
    return parameter.detach().float().contiguous()

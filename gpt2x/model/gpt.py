"""GPT-2, the whole model: read it from the bottom (`GPT`) or from the top (the parts), it is a few pages.

The one idea to hold on to: a residual stream x of width C runs through all blocks, and each half of a block reads a
normalised copy of it and adds a branch to it. The code keeps the last branch apart from the stream until the next
LayerNorm, which adds it and normalises in one step; that step is one operator where operators are fused.

Letters in shapes:
    B  batch          H  heads                 V   vocabulary
    T  new tokens     D  head size, C / H      Vp  rows of the embedding, V and its padding
    S  all tokens, those in the KV cache and the new ones (S = T without a cache)
    C  width of the residual stream            I   width inside the MLP, 4 C

The architecture is GPT-2's (Radford et al., 2019, "Language Models are Unsupervised Multitask Learners", §2.3):
LayerNorm before each half of a block and once at the end, GELU in its tanh form, learned positions, the output head
tied to the token embedding. Three parts can be exchanged for what came later: rotary positions (`rotate`), QK-norm
and ReLU². The layout in one file follows nanoGPT; parameter names are Hugging Face's.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt2x.model.config import FUSED, ROTARY_BASE, GPTConfig
from gpt2x.model.kv_cache import KVCache

IGNORE = -100  # a target that counts for nothing in the loss

Rotation = tuple[Tensor, Tensor]
"""Cosines and signed sines of the angles by which rotary positions turn a head, (T, D) each: see `rotate`."""

# Up to this many tokens torch's flash attention for CPUs is slower in bfloat16 than in float32, casts included: 64
# tokens, forward and backward, 7.3 against 3.3 ms a layer of GPT-2 124M with B = 4 on one Zen 5 core.
SHORT = 128


class Linear(nn.Linear):
    """x @ weight^T + bias, with `fused_gemm` by the faster of the libraries that torch holds."""

    def __init__(self, config: GPTConfig, num_in: int, num_out: int) -> None:
        super().__init__(num_in, num_out)
        self.fused = config.fused_gemm

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, in) -> (B, T, out)."""
        return self.multiply(x, self.bias)

    def multiply(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """The product with another bias, or without one."""
        if not self.fused:
            return F.linear(x, self.weight, bias)
        from gpt2x import ops

        return ops.linear(x, self.weight, bias)


class AddLayerNorm(nn.Module):
    """Add a branch to the residual stream and normalise the sum."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.n_embd))  # (C)
        self.bias = nn.Parameter(torch.zeros(config.n_embd))  # (C)
        self.epsilon = config.layer_norm_epsilon
        self.fused = config.fused_layers

    def forward(self, x: Tensor, branch: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, T, C) and (B, T, C) or None -> the sum, and the sum normalised."""
        if self.fused:
            from gpt2x import ops  # only where asked for: loading the native operators takes its time

            y, x = ops.add_layer_norm(x, branch, self.weight, self.bias, self.epsilon)
            return x, y
        if branch is not None:
            x = x + branch
        return x, F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)


class Attention(nn.Module):
    """Every token looks at itself and at those before it, in H heads at once."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.c_attn = Linear(
            config, config.n_embd, 3 * config.n_embd
        )  # weight (3 C, C): queries, keys, values
        self.c_proj = Linear(config, config.n_embd, config.n_embd)  # weight (C, C)
        self.layer, self.n_head, self.head_size = layer, config.n_head, config.head_size
        self.dropout, self.attention_dropout = config.dropout, config.attention_pdrop
        self.fused = config.fused_layers
        self.fused_attention = config.fused_attention
        self.naive = config.attention == "naive"
        self.qk_norm = config.qk_norm

    def forward(
        self,
        x: Tensor,
        cache: KVCache | None,
        mask: Tensor | None = None,
        rotation: Rotation | None = None,
    ) -> Tensor:
        """(B, T, C) -> (B, T, C); with a cache, the T new tokens also see those in it.

        Without a mask, (B, 1, T, T) of bool, each token sees itself and all before it. Rotary positions turn
        queries and keys; the cache holds keys that are turned already, each by its own position.
        """
        B, T, C = x.shape
        if cache is None and mask is None and self._reads_in_place(x):
            y = self.c_proj(self._in_place(self.c_attn(x), rotation))
            return F.dropout(y, self.dropout, self.training)
        q, k, v = self._heads(x)  # (B, H, T, D) each
        q, k = (prepare_qk(each, self.qk_norm, rotation) for each in (q, k))
        if cache is not None:
            k, v = cache.update(self.layer, k, v)  # (B, H, S, D)
        y = self._naive(q, k, v, mask) if self.naive else self._flash(q, k, v, mask)  # (B, H, T, D)
        y = self.c_proj(y.transpose(1, 2).reshape(B, T, C))
        return F.dropout(y, self.dropout, self.training)

    def _reads_in_place(self, x: Tensor) -> bool:
        """Whether our operator attends: on a CPU that it is compiled for, where no weight of attention is dropped."""
        if not self.fused_attention or x.device.type != "cpu":
            return False
        from gpt2x.ops import backend

        return not (self.training and self.attention_dropout) and backend.serves(x.device, x.dtype)

    def _in_place(self, qkv: Tensor, rotation: Rotation | None) -> Tensor:
        """(B, T, 3 C) -> (B, T, C), by the operators that read c_attn's rows as they are."""
        from gpt2x import ops

        if self.qk_norm or rotation is not None:
            qkv = ops.qk_norm_rotary(qkv, self.n_head, rotation, qk_norm=self.qk_norm)
        return ops.causal_attention(qkv, self.n_head)

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, C) -> queries, keys and values, (B, H, T, D) each."""
        B, T, _ = x.shape
        q, k, v = self.c_attn(x).view(B, T, 3, self.n_head, self.head_size).permute(2, 0, 3, 1, 4)
        return q, k, v

    def _naive(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        scores = q @ k.transpose(-2, -1) / math.sqrt(self.head_size)  # (B, H, T, S)
        scores = scores.masked_fill(~(_visible(q, k) if mask is None else mask), -math.inf)
        weights = F.dropout(F.softmax(scores, dim=-1), self.attention_dropout, self.training)
        return weights.to(v.dtype) @ v

    def _flash(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        dropout = self.attention_dropout if self.training else 0.0
        if mask is not None:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        T, S = q.shape[2], k.shape[2]
        if self.fused and T == S <= SHORT and q.device.type == "cpu" and q.dtype == torch.bfloat16:
            with torch.autocast("cpu", enabled=False):  # which would round them again
                attended = F.scaled_dot_product_attention(
                    q.float(), k.float(), v.float(), dropout_p=dropout, is_causal=True
                )
            return attended.to(q.dtype)
        if T == S:  # no cache, or the first tokens in one
            return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        # One new token sees everything. Several after a cache need the mask spelled out: is_causal would line its
        # triangle up with the first of the S tokens instead of the last.
        mask = None if T == 1 else _visible(q, k)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)


def rotation_at(positions: Tensor, head_size: int) -> Rotation:
    """Rotary positions: pair i of a head at position t turns by the angle t · ROTARY_BASE^(-2 i / D).

    Args:
        positions: (T,) of int64.
        head_size: D, which is even; number i and number i + D / 2 are a pair.

    Returns:
        The angles' cosines, and their sines with a minus for the first of each pair: (T, D) each, float32.

    """
    pairs = torch.arange(0, head_size, 2, device=positions.device)  # 2 i, (D / 2)
    angles = positions[:, None] * ROTARY_BASE ** (-pairs / head_size)  # (T, D / 2)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """(…, T, D) -> each pair (x_i, x_{i + D/2}) turned by its position's angle.

    The product of a turned query and a turned key depends on how far apart they are, and not on where they stand:
    Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding", section 3.
    """
    cos, signed_sin = (part.to(x.dtype) for part in rotation)  # (T, D)
    partner = x.roll(x.shape[-1] // 2, dims=-1)  # the other number of each pair
    return torch.addcmul(x * cos, partner, signed_sin)


def rms_norm(x: Tensor) -> Tensor:
    """(…, D) -> the same direction with a root mean square of 1; no gain is learned.

    >>> rms_norm(torch.tensor([3.0, 4.0])).square().mean().item()
    1.0
    """
    return F.rms_norm(x, x.shape[-1:])


def prepare_qk(x: Tensor, qk_norm: bool, rotation: Rotation | None) -> Tensor:
    """Queries or keys, (…, T, D), as attention multiplies them: normalised and turned where the model asks for it.

    A turn leaves the norm as it is, so the order of the two does not matter.
    """
    if qk_norm:  # Henry et al. 2020, "Query-Key Normalization for Transformers": no score exceeds √D
        x = rms_norm(x)
    return x if rotation is None else rotate(x, rotation)


def relu_squared(x: Tensor) -> Tensor:
    """max(0, x)²: So et al. 2021, "Primer: Searching for Efficient Transformers for Language Modeling".

    >>> relu_squared(torch.tensor([-1.0, 3.0])).tolist()
    [0.0, 9.0]
    """
    return F.relu(x).square()


def document_numbers(idx: Tensor, eot_token: int) -> Tensor:
    """(B, T) ids -> (B, T): which document of its row each token belongs to; one begins with each `eot_token`.

    >>> document_numbers(torch.tensor([[5, 0, 7, 7, 0, 8]]), eot_token=0).tolist()
    [[0, 1, 1, 1, 2, 2]]
    """
    return (idx == eot_token).cumsum(1)


def _same_document(documents: Tensor) -> Tensor:
    """(B, T) -> (B, 1, T, T) of bool: each token sees those up to itself that are of its document."""
    T = documents.shape[1]
    causal = torch.ones(T, T, dtype=torch.bool, device=documents.device).tril()
    return (causal & (documents[:, :, None] == documents[:, None, :]))[:, None]


def _places_in_documents(documents: Tensor) -> Tensor:
    """(B, T) -> (B, T): the position of each token in its document, or in what the row has of it."""
    places = torch.arange(documents.shape[1], device=documents.device)
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return places - torch.where(begins, places, 0).cummax(1).values


def _visible(q: Tensor, k: Tensor) -> Tensor:
    """(T, S) of bool: which of the S tokens each of the last T tokens may see."""
    T, S = q.shape[2], k.shape[2]
    return torch.ones(T, S, dtype=torch.bool, device=q.device).tril(S - T)


class MLP(nn.Module):
    """Widen, bend, narrow: what a block does with each token on its own."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.c_fc = Linear(config, config.n_embd, config.inner_size)  # weight (I, C)
        self.c_proj = Linear(config, config.inner_size, config.n_embd)  # weight (C, I)
        self.dropout = config.dropout
        self.fused = config.fused_layers
        self.relu2 = config.activation == "relu2"

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        return F.dropout(self.c_proj(self._widen(x)), self.dropout, self.training)

    def _widen(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, I), bent."""
        if not self.fused:
            x = self.c_fc(x)
            return relu_squared(x) if self.relu2 else F.gelu(x, approximate="tanh")
        from gpt2x import ops

        bend = ops.bias_relu2 if self.relu2 else ops.bias_gelu
        return bend(self.c_fc.multiply(x, None), self.c_fc.bias)


class Block(nn.Module):
    """One layer: attention, then the MLP."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.ln_1 = AddLayerNorm(config)
        self.attn = Attention(config, layer)
        self.ln_2 = AddLayerNorm(config)
        self.mlp = MLP(config)

    def forward(
        self,
        x: Tensor,
        branch: Tensor | None,
        cache: KVCache | None,
        mask: Tensor | None = None,
        rotation: Rotation | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The stream and the branch not yet added to it -> the same two, one block later."""
        x, y = self.ln_1(x, branch)
        x, y = self.ln_2(x, self.attn(y, cache, mask, rotation))
        return x, self.mlp(y)


class TiedEmbedding(torch.autograd.Function):
    """Embed tokens, and hand the same matrix on to the output layer: its gradient comes back here.

    Written as two uses of one parameter, the embedding's gradient is a matrix of zeros with a few rows filled in, and
    autograd adds it to the output layer's: three passes over V × C numbers. Here those rows are added to the output
    layer's gradient in place. A registered formula cannot do that, since the result is a view of an input.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, idx: Tensor) -> tuple[Tensor, Tensor]:
        """(Vp, C) and (B, T) -> (B, T, C), and the matrix itself."""
        ctx.save_for_backward(idx)
        return F.embedding(idx, weight), weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, dx: Tensor, dhead: Tensor) -> tuple[Tensor, None]:
        """Both gradients in one: `dhead` is the output layer's own tensor, which nobody else holds."""
        from gpt2x import ops
        from gpt2x.ops import derivatives

        (idx,) = ctx.saved_tensors
        if derivatives.transformed() or derivatives.stands_for_many(dx):
            V = dhead.shape[-2]
            return dhead + torch.ops.aten.embedding_dense_backward(dx, idx, V, -1, False), None
        ops.embedding_backward_(dhead, dx, idx)
        return dhead, None


class GPT(nn.Module):
    """GPT-2 with its language-model head.

    >>> model = GPT(GPTConfig(vocab_size=10, block_size=8, n_layer=1, n_head=2, n_embd=4))
    >>> logits, loss = model(torch.tensor([[1, 2, 3]]))
    >>> logits.shape, loss
    (torch.Size([1, 3, 10]), None)
    """

    padding_bias: Tensor | None  # (Vp)

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        if any(getattr(config, name) for name in FUSED):
            import gpt2x.ops  # noqa: F401  (now, and not in the middle of a torch.compile)
        self.config = config
        self.wte = nn.Embedding(config.num_rows, config.n_embd)  # weight (Vp, C)
        self.wpe: nn.Embedding | None = None  # weight (block_size, C)
        if config.positions == "learned":
            self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.h = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        self.ln_f = AddLayerNorm(config)
        self.lm_head = nn.Linear(config.n_embd, config.num_rows, bias=False)  # weight (Vp, C)
        self.finish()
        if config.init == "gpt2":
            self._init_as_gpt2()

    def finish(self) -> None:
        """Make what follows from the configuration and is in no checkpoint: the tie and the padding's bias."""
        if self.config.tie_weights:
            # This way round, so that with torch's own init the shared matrix starts as a head does: N(0, 1), the
            # init of an embedding, would start at a loss of several hundred.
            self.wte.weight = self.lm_head.weight
        bias = None
        if self.config.num_rows > self.config.vocab_size:
            # Padding gets probability exactly 0: its logits are -inf, added by the matrix product itself.
            weight = self.lm_head.weight
            bias = torch.zeros(len(weight), dtype=weight.dtype, device=weight.device)  # (Vp)
            bias[self.config.vocab_size :] = -math.inf
        self.register_buffer("padding_bias", bias, persistent=False)

    def _init_as_gpt2(self) -> None:
        """N(0, 0.02) for all matrices; those that write into the stream are scaled down by its 2 n_layer writers.

        The paper, §2.3: "we scale the weights of residual layers at initialization by a factor of 1/√N where N is
        the number of residual layers"; each block has two.
        """
        for name, parameter in self.named_parameters():
            if parameter.dim() >= 2:
                std = 0.02 / math.sqrt(2 * self.config.n_layer) if name.endswith("c_proj.weight") else 0.02
                nn.init.normal_(parameter, mean=0.0, std=std)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(
        self,
        idx: Tensor,
        targets: Tensor | None = None,
        *,
        cache: KVCache | None = None,
        last_only: bool = False,
        documents: Tensor | None = None,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Predict the token after each token.

        Args:
            idx: (B, T) of int64, token ids below V.
            targets: (B, T) of int64, the ids to predict; -100 counts for nothing.
            cache: where the keys and values of earlier tokens are, and where those of `idx` are added.
            last_only: compute the logits of the last token only, all that generation needs.
            documents: (B, T) of int64 that rise along a row: which document each token belongs to. Tokens see those of
                their own alone, and its first one has position 0 (rotary positions count on along the row: only
                distances within a document are seen). None: a row is one document. Only without a cache.

        Returns:
            logits: (B, T, V), or (B, 1, V) with `last_only`; the padding of the vocabulary is cut off. None with
                `targets` and `fused_loss`, which never holds all logits.
            loss: the mean cross-entropy in nats, over V classes (padding has probability 0), or None.

        Raises:
            ValueError: more tokens than `block_size`, those in the cache counted; or documents and a cache.

        """
        x, head = self._hidden_states(idx, cache, documents)
        if targets is not None and self.config.fused_loss:
            from gpt2x import ops

            return None, ops.linear_cross_entropy(x, head, targets, IGNORE, self.config.vocab_size)
        bias = self.padding_bias.to(x.dtype) if self.padding_bias is not None else None
        logits = F.linear(x[:, -1:] if last_only else x, head, bias)  # (B, T, Vp)
        if targets is None:
            return logits[..., : self.config.vocab_size], None
        # float32: a sum over 50,257 classes and a mean over all tokens lose too much in 8 bits of mantissa.
        scores = logits.to(torch.promote_types(logits.dtype, torch.float32))
        loss = F.cross_entropy(scores.flatten(0, 1), targets.flatten(), ignore_index=IGNORE)
        return logits[..., : self.config.vocab_size], loss

    def hidden_states(
        self, idx: Tensor, *, cache: KVCache | None = None, num_blocks: int | None = None
    ) -> Tensor:
        """(B, T) -> (B, T, C): the last block's output after the final LayerNorm, as Hugging Face's GPT2Model.

        With `num_blocks` the residual stream after so many blocks, as it is; the others are not computed.

        Raises:
            ValueError: more tokens than `block_size`, those in the cache counted; or a cache and `num_blocks`.

        """
        if num_blocks is not None and cache is not None:
            raise ValueError("a cache holds keys and values of all blocks; give no num_blocks with it")
        return self._hidden_states(idx, cache, num_blocks=num_blocks)[0]

    def _hidden_states(
        self,
        idx: Tensor,
        cache: KVCache | None,
        documents: Tensor | None = None,
        num_blocks: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The hidden states, and the matrix (Vp, C) of the output layer."""
        if documents is not None and cache is not None:
            raise ValueError("documents in one row have no cache; give one of the two")
        past = cache.length if cache is not None else 0
        total, block_size = past + idx.shape[1], self.config.block_size
        if total > block_size:
            raise ValueError(
                f"{total} tokens are more than the model's context of block_size = {block_size}; "
                "give fewer, or let gpt2x.generate.Engine slide over them"
            )
        positions = torch.arange(past, total, device=idx.device)
        mask = None if documents is None else _same_document(documents)
        x, head = self._embed(idx)  # (B, T, C)
        rotation = None
        if self.wpe is None:
            rotation = rotation_at(positions, self.config.head_size)
        else:
            x = x + self.wpe(positions if documents is None else _places_in_documents(documents))
        x = F.dropout(x, self.config.dropout, self.training)
        branch = None
        for block in self.h if num_blocks is None else self.h[:num_blocks]:
            x, branch = block(x, branch, cache, mask, rotation)
        if num_blocks is not None:
            return x if branch is None else x + branch, head
        if cache is not None:
            cache.advance(idx.shape[1])
        return self.ln_f(x, branch)[1], head

    def _embed(self, idx: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) -> (B, T, C), and the matrix of the output layer."""
        if self.config.fused_loss and self.config.tie_weights and torch.is_grad_enabled():
            from gpt2x.ops import derivatives

            if not derivatives.transformed():
                return TiedEmbedding.apply(self.wte.weight, idx)
        return self.wte(idx), self.lm_head.weight

    def new_cache(self, batch_size: int = 1, max_length: int | None = None) -> KVCache:
        """An empty KV cache of this model's shape, on its device, in its dtype."""
        weight = self.wte.weight
        return KVCache(
            self.config, batch_size, max_length=max_length, device=weight.device, dtype=weight.dtype
        )

    def num_parameters(self, *, embeddings: bool = True) -> int:
        """How many numbers are learned, shared ones counted once; without `embeddings`, those of the blocks."""
        total = sum(parameter.numel() for parameter in self.parameters())
        if not embeddings:
            tables = {self.wte.weight, self.lm_head.weight} | ({self.wpe.weight} if self.wpe else set())
            total -= sum(table.numel() for table in tables)
        return total

    def optimizer_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Two groups for the optimizer: matrices and embeddings decay, biases and LayerNorms do not.

        A tensor decays when it has two or more dimensions: decay keeps the weights of a sum small, and a bias or a
        gain is no such weight.
        """
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return [
            {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
            {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
        ]

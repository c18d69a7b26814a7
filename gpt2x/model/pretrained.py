"""Hugging Face's GPT-2, key by key: what its configuration and its tensors are called here, and back.

The one idea to hold on to: names are the same, but Hugging Face keeps GPT-2's four projections as `Conv1D`, whose
weight is (in, out), while a linear layer's is (out, in); so exactly those four are transposed, in both directions.
Everything here is a pure function on dictionaries; `folder.py` reads and writes the files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from gpt2x.errors import InputDataError, UsageError
from gpt2x.model.config import FUSED, ROTARY_BASE, GPTConfig, with_known_names

MODEL_TYPE, HF_MODEL_TYPE = "gpt2x", "gpt2"
"""What config.json calls a model with parts that GPT-2 does not have, and a GPT-2: transformers knows the latter alone,
and refuses the former instead of computing something else."""
PREFIX = "transformer."  # files of GPT2LMHeadModel have it, files of GPT2Model (the original ones) do not
TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
HEAD = "lm_head.weight"
_MASKS = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)$")  # in old files: the causal mask, not learned
_OURS = re.compile(r"(wte|wpe|h|ln_f|lm_head)\.")  # other names are heads of other tasks
MOST_PADDING = 1024
"""Rows that an embedding may have beyond twice its vocabulary."""
OURS = ("padded_vocab_size", "init", "attention", *FUSED)  # fields that Hugging Face does not know
_TANH_GELUS = ("gelu_new", "gelu_pytorch_tanh")  # two spellings of one formula
_ROTARY = {"position_embedding_type": "rotary", "rope_theta": ROTARY_BASE}
_ABSOLUTE = {"position_embedding_type": "absolute"}  # Hugging Face's word for learned positions


def config_from_hf(values: Mapping[str, Any], source: str = "config.json") -> GPTConfig:
    """Build our configuration from the values of a Hugging Face ``config.json``.

    Raises:
        InputDataError: another kind of model, or a variant of GPT-2 that computes something else.

    """
    model_type = values.get("model_type", HF_MODEL_TYPE)
    if model_type not in (HF_MODEL_TYPE, MODEL_TYPE):
        raise InputDataError(f"{source} describes a {model_type!r} model; gpt2x reads GPT-2 models only")
    parts = _parts_of_ours(values, source) if model_type == MODEL_TYPE else {}
    activation = values.get("activation_function", "gelu_new")
    if activation not in _TANH_GELUS + (("relu2",) if model_type == MODEL_TYPE else ()):
        raise InputDataError(
            f"{source} asks for the activation {activation!r}; gpt2x has GPT-2's gelu_new only"
        )
    for name, normal in (
        ("scale_attn_weights", True),
        ("scale_attn_by_inverse_layer_idx", False),
        ("add_cross_attention", False),
    ):
        if values.get(name, normal) != normal:
            raise InputDataError(
                f"{source} has {name} = {values[name]!r}, a variant that gpt2x does not compute"
            )
    extra = values.get("gpt2x", {})
    if not isinstance(extra, Mapping):
        raise InputDataError(f"{source} has a damaged 'gpt2x' entry; it should be a table of settings")
    extra = with_known_names(extra)
    try:
        return GPTConfig(
            vocab_size=values.get("vocab_size", 50257),
            block_size=values.get("n_positions", values.get("n_ctx", 1024)),
            n_layer=values.get("n_layer", 12),
            n_head=values.get("n_head", 12),
            n_embd=values.get("n_embd", 768),
            n_inner=values.get("n_inner"),
            dropout=(dropout := values.get("resid_pdrop", 0.1)),
            attention_dropout=None if (share := values.get("attn_pdrop", dropout)) == dropout else share,
            layer_norm_epsilon=values.get("layer_norm_epsilon", 1e-5),
            tie_weights=values.get("tie_word_embeddings", True),
            **parts,
            **{name: extra[name] for name in OURS if name in extra},
        )
    except UsageError as error:
        raise InputDataError(f"{source} cannot be used: {error}") from error


def _parts_of_ours(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The parts of a model of type `MODEL_TYPE`, as fields of a `GPTConfig`."""
    positions = values.get("position_embedding_type", "absolute")
    if positions not in ("absolute", "rotary"):
        raise InputDataError(f"{source} asks for {positions!r} positions; gpt2x has absolute and rotary")
    if positions == "rotary" and values.get("rope_theta", ROTARY_BASE) != ROTARY_BASE:
        raise InputDataError(
            f"{source} has rope_theta = {values['rope_theta']!r}; gpt2x computes with {ROTARY_BASE:g} only"
        )
    return {
        "positions": "rotary" if positions == "rotary" else "learned",
        "qk_norm": values.get("qk_norm", False),
        "activation": "relu2" if values.get("activation_function") == "relu2" else "gelu",
    }


def config_to_hf(
    config: GPTConfig, *, dtype: str = "float32", eot_token: int | None = None
) -> dict[str, Any]:
    """The values of a Hugging Face ``config.json``; what only gpt2x knows stands under the key ``gpt2x``.

    A model with parts that GPT-2 does not have is of type `MODEL_TYPE`, and its parts stand among the other values.
    """
    is_gpt2 = not config.beyond_gpt2
    parts = (
        {}
        if is_gpt2
        else {**(_ROTARY if config.positions == "rotary" else _ABSOLUTE), "qk_norm": config.qk_norm}
    )
    return {
        "architectures": ["GPT2LMHeadModel" if is_gpt2 else "GPT2xLMHeadModel"],
        "model_type": HF_MODEL_TYPE if is_gpt2 else MODEL_TYPE,
        "vocab_size": config.vocab_size,
        "n_positions": config.block_size,
        "n_ctx": config.block_size,
        "n_embd": config.n_embd,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_inner": config.n_inner,
        "activation_function": "relu2" if config.activation == "relu2" else "gelu_new",
        **parts,
        "layer_norm_epsilon": config.layer_norm_epsilon,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.attention_pdrop,
        "initializer_range": 0.02,
        "scale_attn_weights": True,
        "use_cache": True,
        "tie_word_embeddings": config.tie_weights,
        "bos_token_id": eot_token,
        "eos_token_id": eot_token,
        "dtype": dtype,
        "torch_dtype": dtype,  # what transformers before 4.56 reads
        "gpt2x": {name: getattr(config, name) for name in OURS},
    }


def expected_shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """Each tensor of a Hugging Face file, without the prefix, and its shape there."""
    V, C, inner = config.vocab_size, config.n_embd, config.inner_size
    block = {
        "ln_1.weight": (C,),
        "ln_1.bias": (C,),
        "attn.c_attn.weight": (C, 3 * C),
        "attn.c_attn.bias": (3 * C,),
        "attn.c_proj.weight": (C, C),
        "attn.c_proj.bias": (C,),
        "ln_2.weight": (C,),
        "ln_2.bias": (C,),
        "mlp.c_fc.weight": (C, inner),
        "mlp.c_fc.bias": (inner,),
        "mlp.c_proj.weight": (inner, C),
        "mlp.c_proj.bias": (C,),
    }
    shapes: dict[str, tuple[int, ...]] = {"wte.weight": (V, C)}
    if config.positions == "learned":
        shapes["wpe.weight"] = (config.block_size, C)
    for layer in range(config.n_layer):
        shapes.update({f"h.{layer}.{name}": shape for name, shape in block.items()})
    shapes.update({"ln_f.weight": (C,), "ln_f.bias": (C,)})
    if not config.tie_weights:
        shapes[HEAD] = (V, C)
    return shapes


def plain_names(names: Iterable[str], *, tied: bool) -> dict[str, str]:
    """Map our name of each tensor that matters to its name in the file; masks and heads of other tasks are left out.

    >>> plain_names(["transformer.wte.weight", "transformer.h.0.attn.bias", "score.weight"], tied=True)
    {'wte.weight': 'transformer.wte.weight'}
    """
    found = {}
    for name in names:
        plain = name.removeprefix(PREFIX)
        if _OURS.match(plain) and not _MASKS.match(plain) and not (tied and plain == HEAD):
            found[plain] = name
    return found


def check_shapes(
    shapes: Mapping[str, tuple[int, ...]], config: GPTConfig, source: str, *, expected: str = "config.json"
) -> None:
    """Compare the shapes in a file with those that the configuration asks for.

    Raises:
        InputDataError: a tensor is missing, has another shape, or belongs to no part of the model.

    """
    in_file = {int(name.split(".")[1]) for name in shapes if re.match(r"h\.\d{1,9}\.", name)}
    if len(in_file) != config.n_layer:  # before a list of a billion layers is made from a damaged number
        raise InputDataError(
            f"{source} holds {len(in_file)} layers and {expected} says n_layer = {config.n_layer}"
        )
    if (
        config.num_rows > 2 * config.vocab_size + MOST_PADDING
    ):  # a number may ask for more memory than there is
        raise InputDataError(
            f"{expected} says padded_vocab_size = {config.num_rows} for {config.vocab_size} tokens; "
            f"at most twice as many and {MOST_PADDING} more make sense"
        )
    wanted = expected_shapes(config)
    for name, shape in wanted.items():
        if name not in shapes:
            raise InputDataError(f"{source} lacks the tensor {name!r}; is it a whole GPT-2 checkpoint?")
        if tuple(shapes[name]) != shape:
            raise InputDataError(
                f"{source} has {name!r} of shape {tuple(shapes[name])} where {expected} asks for {shape}; "
                "the two files do not belong together"
            )
    unknown = next((name for name in shapes if name not in wanted), None)
    if unknown is not None:
        raise InputDataError(f"{source} holds {unknown!r}, which is no part of a GPT-2")


def tensor_from_hf(name: str, tensor: Tensor, config: GPTConfig) -> Tensor:
    """One tensor of the file as the model wants it: projections transposed, rows of padding (zeros) added."""
    if name.endswith(TRANSPOSED):
        return tensor.t().contiguous()
    if name in ("wte.weight", HEAD) and config.num_rows > config.vocab_size:
        padded = tensor.new_zeros(config.num_rows, config.n_embd)
        padded[: config.vocab_size] = tensor
        return padded
    return tensor.contiguous()


def tensors_to_hf(state: Mapping[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
    """A model's state as Hugging Face names and lays it out: padding cut off, a tied head not repeated."""
    tensors = {}
    for name, tensor in state.items():
        if name == HEAD and config.tie_weights:
            continue
        value = tensor.detach().cpu()
        if name in ("wte.weight", HEAD):
            value = value[: config.vocab_size]
        if name.endswith(TRANSPOSED):
            value = value.t()
        tensors[name if name == HEAD else PREFIX + name] = value.contiguous()
    return tensors

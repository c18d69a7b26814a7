"""A run as one GGUF file, which llama.cpp and what is built on it can open.

GGUF holds hyperparameters, the tokenizer and the tensors in one file. Names are those that llama.cpp reads for its
architecture "gpt2"; weights lie as (out, in), as here. Only matrices become 16-bit: biases, LayerNorms and the
positions stay float32, as llama.cpp's own converter leaves them. A tied head is not written twice, llama.cpp takes
the embedding where the head is missing.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gpt2x.errors import InputDataError, MissingComponentError, OutputError, quoted
from gpt2x.export.refusal import check_finite, check_is_gpt2
from gpt2x.model.folder import load_folder, read_config
from gpt2x.model.gpt import GPT
from gpt2x.paths import atomic_path
from gpt2x.tokenizer.patterns import NATIVE

if TYPE_CHECKING:
    from gpt2x.tokenizer import Tokenizer

DTYPES = ("f32", "f16", "q8_0")
"""q8_0 holds a matrix in blocks of 32 int8 with one float16 scale each, 8.5 bits a weight."""
_BLOCK = 32
_PATTERNS = {
    "gpt2": "gpt-2",
    "llama3": "llama-bpe",
    "qwen2": "qwen2",
    "o200k": "gpt-4o",
    "deepseek": "deepseek-v3",
}
"""What llama.cpp calls the patterns that it splits text by; it knows no other."""
_NAMES = {
    "wte": "token_embd",
    "wpe": "position_embd",
    "ln_f": "output_norm",
    "lm_head": "output",
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}


def export_gguf(run: Path, out: Path, *, dtype: str = "f32") -> None:
    """Write the model of a run, or of a Hugging Face folder, as a GGUF file.

    Args:
        run: a run folder of ours or a Hugging Face GPT-2 folder, with a tokenizer.
        out: the file; it appears whole or not at all.
        dtype: one of `DTYPES`.

    Raises:
        MissingComponentError: the package gguf is not installed.
        InputDataError: `run` holds no usable model, one that is no GPT-2, no tokenizer, or one whose pattern llama.cpp
            does not know.
        OutputError: `out` cannot be written.

    """
    gguf = _gguf()
    if out.is_dir():
        raise OutputError(f"{out} is a folder; give the name of a file")
    check_is_gpt2(read_config(run)[0], run, "llama.cpp")
    model, tokenizer = load_folder(run)
    if tokenizer is None:
        raise InputDataError(
            f"{run} has no tokenizer, and a GGUF file needs one; put its tokenizer.json beside it"
        )
    pattern = _pattern_name(tokenizer, run)
    with atomic_path(out) as staged:
        writer = gguf.GGUFWriter(staged, "gpt2")
        try:
            _add_hyperparameters(writer, gguf, model, name=run.resolve().name, dtype=dtype)
            _add_tokenizer(writer, gguf, tokenizer, model.config.vocab_size)
            writer.add_tokenizer_pre(pattern)
            for tensor_name, tensor in named_tensors(model, dtype=dtype):
                _add_tensor(writer, gguf, tensor_name, tensor, dtype)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()


def named_tensors(model: GPT, *, dtype: str = "f32") -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Each tensor under llama.cpp's name, padding of the vocabulary cut off, in file order.

    Those that q8_0 packs into blocks are float32 here, those whose rows are no whole blocks float16.
    """
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_weights:
            continue
        value = tensor.detach().float().cpu()
        if name in ("wte.weight", "lm_head.weight"):
            value = value[: model.config.vocab_size]
        is_matrix = value.dim() == 2 and name != "wpe.weight"
        is_16_bit = is_matrix and (dtype == "f16" or (dtype == "q8_0" and value.shape[1] % _BLOCK != 0))
        with np.errstate(over="ignore"):  # what is too large for it is refused below
            array = np.ascontiguousarray(value.numpy(), dtype=np.float16 if is_16_bit else np.float32)
        check_finite(name, bool(np.isfinite(array).all()), "f16" if is_16_bit else "f32")
        yield gguf_name(name), array


def _add_tensor(writer: Any, gguf: Any, name: str, tensor: npt.NDArray[Any], dtype: str) -> None:
    is_packed = dtype == "q8_0" and tensor.ndim == 2 and tensor.dtype == np.float32
    if not is_packed or name == "position_embd.weight":
        writer.add_tensor(name, tensor)
        return
    kind = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)


def _pattern_name(tokenizer: Tokenizer, run: Path) -> str:
    """llama.cpp's name of the pattern by which this tokenizer splits text.

    Raises:
        InputDataError: it has none; the file would be read, and text be split otherwise.

    """
    name = NATIVE.get(tokenizer.pat_str, "")
    if name not in _PATTERNS:
        shown = name or quoted(tokenizer.pat_str)
        raise InputDataError(
            f"{run} splits text by the pattern {shown}, which llama.cpp does not know and would split otherwise; "
            f"learn the vocabulary with --pattern {' or '.join(_PATTERNS)}"
        )
    return _PATTERNS[name]


def gguf_name(name: str) -> str:
    """llama.cpp's name of a tensor.

    >>> gguf_name("h.3.mlp.c_fc.bias"), gguf_name("wte.weight")
    ('blk.3.ffn_up.bias', 'token_embd.weight')
    """
    owner, _, kind = name.rpartition(".")
    if not owner.startswith("h."):
        return f"{_NAMES[owner]}.{kind}"
    _, layer, part = owner.split(".", 2)
    return f"blk.{layer}.{_NAMES[part]}.{kind}"


def _gguf() -> Any:
    try:
        import gguf
    except ImportError as error:
        raise MissingComponentError(
            "writing GGUF needs the package gguf, which is not installed; pip install gpt2x[export]"
        ) from error
    return gguf


def _add_hyperparameters(writer: Any, gguf: Any, model: GPT, *, name: str, dtype: str) -> None:
    config = model.config
    writer.add_name(name)
    writer.add_block_count(config.n_layer)
    writer.add_context_length(config.block_size)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(config.inner_size)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)
    writer.add_vocab_size(config.vocab_size)
    kinds = gguf.LlamaFileType
    writer.add_file_type({"f32": kinds.ALL_F32, "f16": kinds.MOSTLY_F16, "q8_0": kinds.MOSTLY_Q8_0}[dtype])


def _add_tokenizer(writer: Any, gguf: Any, tokenizer: Tokenizer, vocab_size: int) -> None:
    """Tokens in GPT-2's byte characters, their kinds, merges and the end of text, as tokenizer.json has them."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(folder)
        saved = json.loads((Path(folder) / "tokenizer.json").read_text(encoding="utf-8"))
    special = {entry["id"]: entry["content"] for entry in saved.get("added_tokens", ())}
    by_id = {number: token for token, number in saved["model"]["vocab"].items()} | special
    # The list must be as long as the embedding: ids that the tokenizer does not have get a name and the kind "unused".
    tokens = [by_id.get(i, f"<|unused_{i}|>") for i in range(vocab_size)]
    kinds = [
        gguf.TokenType.CONTROL
        if i in special
        else gguf.TokenType.NORMAL
        if i in by_id
        else gguf.TokenType.UNUSED
        for i in range(vocab_size)
    ]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in saved["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    if merges:  # GGUF has no empty arrays
        writer.add_token_merges(merges)
    end = next((i for i, text in special.items() if text == "<|endoftext|>"), None)
    if end is not None:
        writer.add_bos_token_id(end)
        writer.add_eos_token_id(end)
        writer.add_unk_token_id(end)
    writer.add_add_bos_token(False)

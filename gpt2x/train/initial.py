"""A run that starts from given weights (fine-tuning) instead of random ones.

What is kept is all that means the same in both models: every matrix, the embedding of each token that both
vocabularies have (the same bytes, whatever its id), and the positions that both contexts have. Depth, heads, width and
parts (rotary positions, QK-norm, ReLU²) are those of the given model: weights that were trained with one part mean
nothing with another.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gpt2x.errors import InputDataError, MissingComponentError, UsageError, quoted
from gpt2x.model import GPT, GPTConfig, load_folder
from gpt2x.model.folder import read_config, weight_files
from gpt2x.model.runs import find_run
from gpt2x.train.checkpoint import digest
from gpt2x.train.config import TrainConfig
from gpt2x.train.plan import model_shape, parts_asked

if TYPE_CHECKING:
    from gpt2x.tokenizer import Tokenizer

_FILES = (
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
)
_EMBEDDINGS = ("wte.weight", "lm_head.weight")


def find_initial(name: str) -> Path:
    """The folder with the weights that a name means: a folder, a run (its best weights), or a model of the hub.

    Args:
        name: a path, the name of a run, or OWNER/MODEL as on huggingface.co, which is downloaded once.

    Raises:
        InputDataError: there is no such folder or run.
        MissingComponentError: the model cannot be downloaded.

    """
    try:
        return find_run(name)
    except InputDataError:
        if name.count("/") != 1 or name.startswith((".", "/", "~")):
            raise
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingComponentError(
            f"{quoted(name)} is no folder here, and downloading it needs huggingface_hub; pip install 'gpt2x[data]', "
            "or give a folder"
        ) from error
    try:
        return Path(snapshot_download(name, allow_patterns=list(_FILES)))
    except Exception as error:  # whatever of network, name and rights went wrong
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MissingComponentError(
            f"{quoted(name)} is no folder here and cannot be downloaded: {reason}; give a folder with the model"
        ) from error


def weights_digest(folder: Path) -> str:
    """sha256 of the weights in a folder, the content of its files one after the other.

    Raises:
        InputDataError: there are none.

    """
    return digest(*weight_files(folder))


def initial_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer beside given weights.

    Raises:
        InputDataError: there is none.

    """
    from gpt2x.tokenizer import Tokenizer

    try:
        return Tokenizer.load(folder)
    except InputDataError as error:
        raise InputDataError(f"{error}; or give --tokenizer train, gpt2 or a file") from error


def shape_from(config: TrainConfig, folder: Path) -> GPTConfig:
    """The shape of a model that starts from the weights in a folder: theirs, with the context that is asked for.

    Raises:
        UsageError: another depth, number of heads, width or another part is asked for.
        InputDataError: there is no GPT-2 in the folder.

    """
    theirs, _ = read_config(folder)
    for name in ("n_layer", "n_head", "n_embd"):
        asked, given = getattr(config, name), getattr(theirs, name)
        if asked not in (None, given):
            raise UsageError(
                f"{name} = {asked} does not fit the weights of init_from, which have {given}; leave {name} out"
            )
    for name, asked in parts_asked(config).items():
        if asked != getattr(theirs, name):
            raise UsageError(
                f"{name} = {_word(asked)} does not fit the weights of init_from, which were trained with "
                f"{_word(getattr(theirs, name))}; leave out {'modern or ' if config.modern else ''}{name}, or init_from"
            )
    switches = model_shape(config)
    return dataclasses.replace(
        theirs,
        block_size=config.block_size or theirs.block_size,
        dropout=config.dropout,
        attention_dropout=config.attention_dropout,
        fused_loss=switches.fused_loss,
        fused_layers=switches.fused_layers,
        fused_attention=switches.fused_attention,
        fused_gemm=switches.fused_gemm,
    )


def _word(value: object) -> str:
    """A setting's value as one writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@torch.no_grad()
def start_from(model: GPT, tokenizer: Tokenizer, folder: Path) -> None:
    """Fill a model with the weights in a folder, as far as they mean the same.

    A token that the old vocabulary does not have starts as the mean of the old tokens that spell it (Gee et al. 2022,
    "Fast Vocabulary Transfer for Language Model Compression", section 3), a special one as the mean of all old tokens
    (Hewitt 2021, "Initializing New Word Embeddings"). Positions beyond the old context keep the model's random start.

    Args:
        model: changed in place; of a shape that `shape_from` gave.
        tokenizer: what the model's ids mean.
        folder: the given weights.

    Raises:
        InputDataError: the weights cannot be read, or no tokenizer beside them says what their rows mean.

    """
    given, old = load_folder(folder)
    saved = given.state_dict()
    if old is None and tokenizer.n_vocab != given.config.vocab_size:
        raise InputDataError(
            f"{folder} has no tokenizer that says what its embeddings mean; put it beside them"
        )
    for name, own in model.state_dict().items():
        if name in _EMBEDDINGS:
            rows = saved[name][: given.config.vocab_size]
            new = rows if old is None or old == tokenizer else _rows_by_bytes(rows, old, tokenizer)
            own[: len(new)].copy_(new)
        elif name == "wpe.weight":
            T = min(len(own), len(saved[name]))
            own[:T].copy_(saved[name][:T])
        else:
            own.copy_(saved[name])


def _rows_by_bytes(rows: Tensor, old: Tokenizer, new: Tokenizer) -> Tensor:
    """An embedding (V_old, C) for another vocabulary, (V_new, C)."""
    result = rows.mean(0).repeat(new.n_vocab, 1)
    for token, place in new.mergeable_ranks.items():
        known = old.mergeable_ranks.get(token)
        result[place] = rows[known] if known is not None else rows[old.encode_bytes(token)].mean(0)
    for text, place in {**new.added_tokens, **new.special_tokens}.items():
        known = {**old.added_tokens, **old.special_tokens}.get(text)
        if known is not None:
            result[place] = rows[known]
    return result

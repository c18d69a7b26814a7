"""The tokenizers that are compared, as records: how to find each, give it our vocabulary, and call it.

A peer is optional: it takes part where its distribution is installed. All get the same ranks, from files in the format
that each reads (`Vocabulary`), and no special tokens, so that every byte of a text is plain text to all of them.

To add one: a function that builds it and returns its `Calls`, and a line in `PEERS`. For each kind of output, name the
fastest call that gives exactly these token ids.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt2x._version import __version__
from gpt2x.errors import UsageError, quoted
from gpt2x.tokenizer import saving

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from gpt2x.tokenizer import Tokenizer

    Array = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True)
class Calls:
    """What a tokenizer that is built can do; None for what it has no call for.

    ``…_array`` calls give (or take) a NumPy array or a buffer of integers instead of Python lists; a batch as an array
    is the ids of all its texts, one after the other.
    """

    encode: Callable[[str], list[int]]
    encode_array: Callable[[str], Array] | None = None
    batch: Callable[[list[str]], list[list[int]]] | None = None
    batch_array: Callable[[list[str]], Array] | None = None
    decode: Callable[[list[int]], bytes] | None = None
    decode_array: Callable[[Array], bytes] | None = None

    @property
    def names(self) -> list[str]:
        """The calls that it has."""
        return [field.name for field in fields(self) if getattr(self, field.name) is not None]


PATTERN_FILE = "pattern.txt"


@dataclass(frozen=True)
class Vocabulary:
    """A folder with one vocabulary in every format that some peer reads."""

    folder: Path

    @property
    def rank_file(self) -> Path:
        """In tiktoken's format."""
        return self.folder / saving.RANK_FILE

    @property
    def tokenizer_json(self) -> Path:
        """In Hugging Face's format."""
        return self.folder / saving.TOKENIZER_JSON

    @property
    def pat_str(self) -> str:
        """The pattern that splits text, which a rank file does not hold."""
        return (self.folder / PATTERN_FILE).read_text(encoding="utf-8")

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """Ours, loaded from the rank file."""
        from gpt2x.tokenizer import Tokenizer

        return Tokenizer.load(self.rank_file)

    @classmethod
    def write(cls, tokenizer: Tokenizer, folder: Path) -> Vocabulary:
        """Write the ranks and the pattern of a tokenizer into a folder, without its special tokens."""
        from gpt2x.tokenizer.vocabulary import Vocabulary as Ranks

        whole = tokenizer.vocabulary
        saving.write_folder(Ranks(whole.name, whole.pat_str, whole.mergeable_ranks, {}), folder)
        (folder / PATTERN_FILE).write_text(whole.pat_str, encoding="utf-8")
        return cls(folder)


Build = Callable[[Vocabulary, int], Calls]
"""Build the tokenizer from the files of a vocabulary; its batch calls are to use that many threads."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One tokenizer that can be compared."""

    name: str
    distribution: str
    """What `pip install` calls it."""
    build: Build
    """A function of a module, since workers are other processes: they find it by its name."""
    uses: str = ""
    """The calls that are measured, for people."""

    @property
    def address(self) -> str:
        """Where a worker finds `build`: module:function."""
        return address_of(self.build)

    @property
    def version(self) -> str | None:
        """The version that is installed here; None when it is not."""
        return installed_version(self.distribution)


def installed_version(distribution: str) -> str | None:
    """The version of a distribution, without importing it; None when it is not installed. Ours need not be."""
    if distribution == OURS:
        return __version__
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def address_of(function: Callable[..., Any]) -> str:
    """How another process finds a function of a module: module:function."""
    return f"{function.__module__}:{function.__qualname__}"


def find_function(address: str) -> Any:
    """The inverse of `address_of`."""
    module, _, name = address.partition(":")
    return operator.attrgetter(name)(importlib.import_module(module))


# ----------------------------------------------------------------------------------------------------------------
# How each is built and called


def gpt2x(vocabulary: Vocabulary, threads: int) -> Calls:
    """Ours. The array that it encodes into is the caller's, as in a loop over the files of a corpus."""
    import numpy as np

    tokenizer = vocabulary.tokenizer
    dtype = np.uint16 if tokenizer.max_token_value < 2**16 else np.uint32
    plain: dict[str, Any] = {"dtype": dtype, "disallowed_special": ()}
    encode_array: Callable[[str], Array] = functools.partial(tokenizer.encode_to_numpy, **plain)
    encode_array = functools.partial(_encode_into, Buffer(dtype), encode_array)
    return Calls(
        encode=tokenizer.encode_ordinary,
        encode_array=encode_array,
        batch=lambda texts: tokenizer.encode_ordinary_batch(texts, num_threads=threads),
        batch_array=lambda texts: np.concatenate(
            tokenizer.encode_ordinary_batch_to_numpy(texts, dtype=dtype, num_threads=threads)
        ),
        decode=tokenizer.decode_bytes,
        decode_array=tokenizer.decode_bytes,
    )


class Buffer:
    """A buffer for the ids of a text, kept from call to call."""

    def __init__(self, dtype: Any) -> None:
        import numpy as np

        self.ids = np.empty(0, dtype)

    def at_least(self, num_ids: int) -> Array:
        """A buffer for that many ids; a longer text gets a new one, whose pages nobody has touched yet."""
        import numpy as np

        if self.ids.size < num_ids:
            self.ids = np.empty(num_ids, self.ids.dtype)
        return self.ids


def _encode_into(buffer: Buffer, encode: Callable[..., Array], text: str) -> Array:
    most = len(text) if text.isascii() else 4 * len(text)  # a token has at least one byte
    return encode(text, out=buffer.at_least(most))


def tiktoken(vocabulary: Vocabulary, threads: int) -> Calls:
    """OpenAI's; its `encode_ordinary` is what all others are compared with."""
    from tiktoken import Encoding
    from tiktoken.load import load_tiktoken_bpe

    ranks = load_tiktoken_bpe(str(vocabulary.rank_file))
    encoding = Encoding("gpt2", pat_str=vocabulary.pat_str, mergeable_ranks=ranks, special_tokens={})
    return Calls(
        encode=encoding.encode_ordinary,
        encode_array=functools.partial(encoding.encode_to_numpy, disallowed_special=()),
        batch=lambda texts: encoding.encode_ordinary_batch(texts, num_threads=threads),
        decode=encoding.decode_bytes,
    )


def tokenizers(vocabulary: Vocabulary, threads: int) -> Calls:
    """Hugging Face's. Its `encode_batch_fast` leaves offsets out, also for a single text; it decodes to text only."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(vocabulary.tokenizer_json))

    def batch(texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    return Calls(encode=lambda text: batch([text])[0], batch=batch)


def gigatoken(vocabulary: Vocabulary, threads: int) -> Calls:
    """Batches come as an Awkward array where `awkward` is installed, which gigatoken asks for."""
    from gigatoken import Tokenizer

    scheme = "gpt2"  # its name for GPT-2's pattern
    tokenizer = Tokenizer.from_tiktoken(vocabulary.rank_file, scheme, {})
    parallel = threads > 1

    def batch_array(texts: list[str]) -> Array:
        import awkward

        array: Array = awkward.to_numpy(awkward.flatten(tokenizer.encode_batch(texts, parallel=parallel)))
        return array

    return Calls(
        encode=lambda text: tokenizer.encode_batch_list([text], parallel=False)[0],
        encode_array=tokenizer.encode,
        batch=lambda texts: tokenizer.encode_batch_list(texts, parallel=parallel),
        batch_array=batch_array if installed_version("awkward") else None,
        decode=tokenizer.decode,
        decode_array=tokenizer.decode,
    )


def fastokens(vocabulary: Vocabulary, threads: int) -> Calls:
    """From a `tokenizer.json`, which serves it better than a rank file; it decodes to text only."""
    from fastokens import Tokenizer

    tokenizer = Tokenizer.from_file(str(vocabulary.tokenizer_json))
    return Calls(
        encode=lambda text: tokenizer.encode_ordinary(text).ids,
        encode_array=lambda text: _uint32(tokenizer.encode_batch_flat([text])[0]),
        batch=lambda texts: [encoding.ids for encoding in tokenizer.encode_batch(texts)],
        batch_array=lambda texts: _uint32(tokenizer.encode_batch_flat(texts)[0]),
    )


def snaptokens(vocabulary: Vocabulary, threads: int) -> Calls:
    """It decodes to text only."""
    from snaptokens import Tokenizer

    tokenizer = Tokenizer.from_file(str(vocabulary.tokenizer_json))
    return Calls(
        encode=lambda text: tokenizer.encode(text).ids,
        encode_array=lambda text: _uint32(tokenizer.encode_batch_flat([text])[0]),
        batch=lambda texts: [encoding.ids for encoding in tokenizer.encode_batch(texts)],
        batch_array=lambda texts: _uint32(tokenizer.encode_batch_flat(texts)[0]),
    )


def tokie(vocabulary: Vocabulary, threads: int) -> Calls:
    """Its `encode_bytes` is another algorithm (it does not split the text), so the ids come from `encode`."""
    from tokie import Tokenizer

    tokenizer = Tokenizer.from_json(str(vocabulary.tokenizer_json))

    def batch(texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]

    return Calls(
        encode=lambda text: list(tokenizer.encode(text, add_special_tokens=False).ids),
        batch=batch,
        decode=tokenizer.decode_bytes,
    )


def splintr(vocabulary: Vocabulary, threads: int) -> Calls:
    """Built twice: from a `tokenizer.json` it encodes faster but does not decode to bytes."""
    import splintr as library

    tokenizer = library.from_json(str(vocabulary.tokenizer_json))
    ranks = library.Tokenizer(str(vocabulary.rank_file), library.GPT2_PATTERN)
    return Calls(
        encode=tokenizer.encode_ordinary,
        encode_array=lambda text: _uint32(tokenizer.encode_flat(text)),
        batch=tokenizer.encode_batch,
        batch_array=lambda texts: _uint32(tokenizer.encode_batch_flat(texts)[0]),
        decode=ranks.decode_bytes,
    )


def tuetoken(vocabulary: Vocabulary, threads: int) -> Calls:
    """It decodes to text only."""
    from tuetoken import Tokenizer

    tokenizer = Tokenizer(str(vocabulary.tokenizer_json))
    return Calls(
        encode=tokenizer.encode_ordinary,
        encode_array=lambda text: _uint32(tokenizer.encode_to_bytes(text)),
        batch=lambda texts: tokenizer.encode_ordinary_batch(texts, num_threads=threads),
        batch_array=lambda texts: tokenizer.encode_ordinary_to_buffer(texts, num_threads=threads)["data"],
    )


def _uint32(buffer: bytes) -> Array:
    import numpy as np

    return np.frombuffer(buffer, np.uint32)


# ----------------------------------------------------------------------------------------------------------------

ORACLE = "tiktoken"
OURS = "gpt2x"

PEERS = (
    Peer(
        name=ORACLE,
        distribution="tiktoken",
        build=tiktoken,
        uses="encode_ordinary, encode_to_numpy; encode_ordinary_batch; decode_bytes",
    ),
    Peer(
        name=OURS,
        distribution="gpt2x",
        build=gpt2x,
        uses="encode_ordinary, encode_to_numpy; encode_ordinary_batch; decode_bytes",
    ),
    Peer(
        name="tokenizers",
        distribution="tokenizers",
        build=tokenizers,
        uses="encode_batch_fast; encode_batch_fast",
    ),
    Peer(
        name="gigatoken",
        distribution="gigatoken",
        build=gigatoken,
        uses="encode_batch_list, encode; encode_batch_list, encode_batch; decode",
    ),
    Peer(
        name="fastokens",
        distribution="fastokens",
        build=fastokens,
        uses="encode_ordinary, encode_batch_flat; encode_batch, encode_batch_flat",
    ),
    Peer(
        name="snaptokens",
        distribution="snaptokens",
        build=snaptokens,
        uses="encode, encode_batch_flat; encode_batch, encode_batch_flat",
    ),
    Peer(
        name="tokie",
        distribution="tokie",
        build=tokie,
        uses="encode; encode_batch; decode_bytes",
    ),
    Peer(
        name="splintr",
        distribution="splintr-rs",
        build=splintr,
        uses="encode_ordinary, encode_flat; encode_batch, encode_batch_flat; decode_bytes",
    ),
    Peer(
        name="tuetoken",
        distribution="tuetoken",
        build=tuetoken,
        uses="encode_ordinary, encode_to_bytes; encode_ordinary_batch, encode_ordinary_to_buffer",
    ),
)


def select(names: str, peers: Sequence[Peer] = PEERS) -> list[Peer]:
    """The peers with these names, separated by commas, or ``all``; tiktoken and gpt2x always take part.

    Raises:
        UsageError: an unknown name.

    """
    known = [peer.name for peer in peers]
    chosen = known if names == "all" else [name.strip() for name in names.split(",")]
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise UsageError(f"--peers {quoted(unknown[0])} is unknown; known: all, {', '.join(known)}")
    return [peer for peer in peers if peer.name in {*chosen, ORACLE, OURS}]


def environment(threads: int) -> dict[str, str]:
    """Environment variables of a peer's process.

    They keep its own thread pool to that size; and with an empty name tiktoken reads a rank file from where it is,
    instead of a copy of it in a cache.
    """
    return {
        "RAYON_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "true" if threads > 1 else "false",
        "OMP_NUM_THREADS": str(threads),
        "TIKTOKEN_CACHE_DIR": "",
    }

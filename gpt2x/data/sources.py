"""The data sets that gpt2x knows by name, and how to get each: packaged, from a local file, or downloaded.

A data set is a record. `locate` finds its file on this machine (the package, the variable ``GPT2X_DATA_<NAME>``,
the cache) and `get` downloads it into the cache if it is nowhere. Kaggle and Hugging Face downloads go through
their own clients, which are the optional extra ``data``.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gpt2x.data.lyrics import packaged_songs
from gpt2x.errors import Gpt2xError, InputDataError, MissingComponentError, UsageError
from gpt2x.paths import atomic_write, cache_dir

DOWNLOAD_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class DataSet:
    """One known data set.

    Attributes:
        name: what the command line calls it.
        kind: how it is read: ``songs`` (`read_songs`), ``news`` (`read_news`) or ``text`` (plain UTF-8).
        what: content and size, for people.
        licence: as far as it is known.
        file: the name of its file, in the cache and at its source.
        source: ``package``, an ``https://`` address, ``kaggle:OWNER/NAME`` or ``hf:OWNER/NAME``.
        digest: ``algorithm:hex`` of the file where it is known and the source should never change.

    """

    name: str
    kind: str
    what: str
    licence: str
    file: str
    source: str
    digest: str = ""

    @property
    def variable(self) -> str:
        """The environment variable that may name a local copy."""
        return "GPT2X_DATA_" + self.name.upper().replace("-", "_")


DATA_SETS = (
    DataSet(
        name="songs",
        kind="songs",
        what="songs written for gpt2x; ship with the package",
        licence="as gpt2x",
        file="songs.csv",
        source="package",
    ),
    DataSet(
        name="spotify",
        kind="songs",
        what="Spotify Million Song Dataset: 57,650 songs of 643 artists",
        licence="song texts are under copyright; for research of your own",
        file="spotify_millsongdata.csv",
        source="kaggle:notshrirang/spotify-million-song-dataset",
    ),
    DataSet(
        name="huffpost",
        kind="news",
        what="HuffPost News Category Dataset: 209,527 headlines in 42 categories",
        licence="CC BY 4.0 according to its page; texts by HuffPost",
        file="News_Category_Dataset_v3.json",
        source="kaggle:rmisra/news-category-dataset",
    ),
    DataSet(
        name="ag-news",
        kind="news",
        what="AG News, training split: 120,000 articles in 4 classes",
        licence="research and other non-commercial use",
        file="train.csv",
        source="https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv/train.csv",
        digest="md5:b1a00f826fdfbd249f79597b59e1dc12",
    ),
    DataSet(
        name="ag-news-test",
        kind="news",
        what="AG News, test split: 7,600 articles in 4 classes",
        licence="research and other non-commercial use",
        file="test.csv",
        source="https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv/test.csv",
        digest="md5:d52ea96a97a2d943681189a97654912d",
    ),
    DataSet(
        name="tiny-shakespeare",
        kind="text",
        what="tiny Shakespeare: 1.1 MB, 338,025 GPT-2 tokens; the training ladder's text",
        licence="public domain",
        file="input.txt",
        source="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        digest="sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ),
)


def find_data_set(name: str) -> DataSet:
    """The record of a name.

    Raises:
        UsageError: there is none; the nearest name is suggested.

    """
    names = [known.name for known in DATA_SETS]
    if name in names:
        return DATA_SETS[names.index(name)]
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"
    raise UsageError(f"unknown data set {name!r}; {hint}")


def locate(data_set: DataSet) -> Path | None:
    """Its file on this machine, or None if it would have to be downloaded.

    Raises:
        InputDataError: its variable names a file that is not there.

    """
    named = os.environ.get(data_set.variable)
    if named:
        if not Path(named).is_file():
            raise InputDataError(f"{data_set.variable} names {named}, which is not a file")
        return Path(named)
    path = packaged_songs() if data_set.source == "package" else _cached(data_set)
    return path if path.is_file() else None


def get(data_set: DataSet) -> Path:
    """Its file on this machine, downloaded into the cache if need be.

    Raises:
        MissingComponentError: it would have to be downloaded and there is no network or no client for it.
        InputDataError: what was downloaded is not the file that it should be.

    """
    found = locate(data_set)
    if found is not None:
        return found
    scheme, _, handle = data_set.source.partition(":")
    with _one_sentence(data_set):
        if scheme == "https":
            _download(data_set, _cached(data_set))
        elif scheme == "kaggle":
            _copy(_from_kaggle(handle, data_set.file), _cached(data_set))
        elif scheme == "hf":
            _copy(_from_hugging_face(handle, data_set.file), _cached(data_set))
        else:
            raise MissingComponentError(
                f"{data_set.name} should ship with gpt2x and is missing; install gpt2x again"
            )
    return _cached(data_set)


def find_file(name_or_path: str) -> Path:
    """The file that an option like ``--data`` means: a path, or the name of a known data set.

    A path wins where both exist; anything with a slash or a suffix is a path.

    Raises:
        InputDataError: neither a file nor a known name.

    """
    path = Path(name_or_path)
    if path.exists() or len(path.parts) != 1 or path.suffix:
        if not path.exists():
            raise InputDataError(f"there is no file {name_or_path}")
        return path
    try:
        return get(find_data_set(name_or_path))
    except UsageError as error:
        raise InputDataError(f"there is no file {name_or_path}, and {error}") from error


def copy_to(data_set: DataSet, out: Path) -> Path:
    """Get a data set and copy its file to `out` (a folder keeps the file's own name).

    Raises:
        OutputError: `out` cannot be written.

    """
    source = get(data_set)
    target = out / source.name if out.is_dir() else out
    _copy(source, target)
    return target


def _cached(data_set: DataSet) -> Path:
    return cache_dir() / "data" / data_set.name / data_set.file


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as input_file, atomic_write(target) as output_file:
        shutil.copyfileobj(input_file, output_file, 1 << 20)


def _download(data_set: DataSet, target: Path) -> None:
    """Fetch an https address into `target`; a file with another digest than ours is refused, not kept."""
    from urllib.request import urlopen

    with urlopen(data_set.source, timeout=DOWNLOAD_TIMEOUT_S) as response:
        content = response.read()
    algorithm, _, expected = data_set.digest.partition(":")
    if expected:
        digest = hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()
        if digest != expected:
            raise InputDataError(
                f"{data_set.source} has changed: its {algorithm} is {digest}, not {expected}; "
                f"get the file elsewhere and name it in {data_set.variable}"
            )
    with atomic_write(target) as file:
        file.write(content)


def _from_kaggle(handle: str, file: str) -> Path:
    import kagglehub

    return Path(kagglehub.dataset_download(handle, path=file))


def _from_hugging_face(handle: str, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(handle, file, repo_type="dataset"))


@contextmanager
def _one_sentence(data_set: DataSet) -> Iterator[None]:
    """Turn what download clients raise (they agree on no base class) into one sentence with two ways out."""
    local = f"or name a local copy in {data_set.variable}"
    try:
        yield
    except Gpt2xError:
        raise
    except ImportError as error:
        raise MissingComponentError(
            f"downloading {data_set.name} needs {error.name}: pip install gpt2x[data], {local}"
        ) from error
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MissingComponentError(
            f"cannot download {data_set.name} from {data_set.source} ({reason[:120]}); check the network, {local}"
        ) from error

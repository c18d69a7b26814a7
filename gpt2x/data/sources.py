"""The data sets that gpt2x knows by name, and how to get each: packaged, from a local file, or downloaded.

A data set is a record. `locate` finds its file on this machine (the package, the variable ``GPT2X_DATA_<NAME>``,
the cache) and `get` downloads it into the cache if it is nowhere and ``GPT2X_OFFLINE`` does not forbid it. Kaggle and
Hugging Face downloads go through their own clients, which are the optional extra ``data``.

What is known of a file is compared before it is kept. Of a file with a plain address that is its sha256, or the id that
git gives its content. Kaggle serves the newest version of a set, and no checksum of its files is published: of those
the columns and the number of rows are compared, which finds a cut or exchanged file and not one that was tampered with.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from gpt2x.console import say
from gpt2x.data.lyrics import packaged_songs
from gpt2x.download import check_online, download
from gpt2x.errors import Gpt2xError, InputDataError, MissingComponentError, UsageError, quoted
from gpt2x.paths import atomic_path, atomic_write, cache_dir, check_can_write


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
        limit: how many bytes are accepted at most.
        size: how many bytes the file has, where that is known.
        sha256: its checksum, where that is known.
        columns: names that each row has, where there is no checksum.
        rows: how many rows it has, where there is no checksum, or where it is made from an archive.
        git_blob: the id that git gives its content (a SHA-1 over its length and bytes), where that is known.
        archive: the name of the archive that it is made from, which then is what `source`, `limit`, `size` and `sha256`
            are about.
        part: the folder in that archive whose documents are its rows.

    """

    name: str
    kind: str
    what: str
    licence: str
    file: str
    source: str
    limit: int = 0
    size: int | None = None
    sha256: str = ""
    columns: tuple[str, ...] = ()
    rows: int | None = None
    git_blob: str = ""
    archive: str = ""
    part: str = ""

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
        limit=200_000_000,
        columns=("artist", "song", "link", "text"),
        rows=57_650,
    ),
    DataSet(
        name="huffpost",
        kind="news",
        what="HuffPost News Category Dataset: 209,527 headlines in 42 categories",
        licence="CC BY 4.0 according to its page; texts by HuffPost",
        file="News_Category_Dataset_v3.json",
        source="kaggle:rmisra/news-category-dataset",
        limit=200_000_000,
        columns=("headline", "short_description", "category"),
        rows=209_527,
    ),
    DataSet(
        name="ag-news",
        kind="news",
        what="AG News, training split: 120,000 articles in 4 classes",
        licence="research and other non-commercial use",
        file="train.csv",
        source="https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv/train.csv",
        # As others have published it beside the md5 that torchtext pins (b1a00f82…) and the checksum of the test split.
        limit=29_470_338,
        size=29_470_338,
        sha256="76a0a2d2f92b286371fe4d4044640910a04a803fdd2538e0f3f29a5c6f6b672e",
    ),
    DataSet(
        name="ag-news-test",
        kind="news",
        what="AG News, test split: 7,600 articles in 4 classes",
        licence="research and other non-commercial use",
        file="test.csv",
        source="https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv/test.csv",
        # Computed from a copy whose md5 is the one that torchtext pins (d52ea96a…).
        limit=1_857_427,
        size=1_857_427,
        sha256="521465c2428ed7f02f8d6db6ffdd4b5447c1c701962353eb2c40d548c3c85699",
    ),
    *(
        DataSet(
            name=name,
            kind="news",
            what=f"20 Newsgroups by date, {split} split without headers: {rows:,} messages in 20 groups",
            licence="none is given; messages by their writers",
            file=f"20news-bydate-{part}.jsonl",
            source="https://ndownloader.figshare.com/files/5975967",
            # As scikit-learn pins it.
            limit=30_000_000,
            sha256="8f1b2514ca22a5ade8fbb9cfa5727df95fa587f4c87b786e15c759fa66d95610",
            columns=("category", "text"),
            rows=rows,
            archive="20news-bydate.tar.gz",
            part=f"20news-bydate-{part}",
        )
        for name, split, part, rows in (
            ("20newsgroups", "training", "train", 11_314),
            ("20newsgroups-test", "test", "test", 7_532),
        )
    ),
    DataSet(
        name="bbc",
        kind="news",
        what="BBC News 2004-2005: 2,225 articles in 5 classes, lower-cased and without marks",
        licence="research and other non-commercial use; texts by the BBC",
        file="bbc-text.csv",
        source="https://raw.githubusercontent.com/susanli2016/PyCon-Canada-2019-NLP-Tutorial/"
        "40cba39300c7c19e910961d882899691c624c249/bbc-text.csv",
        limit=20_000_000,
        columns=("category", "text"),
        rows=2_225,
        git_blob="b91753711617669f13c9d9c994496ec63aba8130",  # as that commit lists it
    ),
    DataSet(
        name="tiny-shakespeare",
        kind="text",
        what="tiny Shakespeare: 1.1 MB, 338,025 GPT-2 tokens; the training ladder's text",
        licence="public domain",
        file="input.txt",
        source="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        limit=1_115_394,
        size=1_115_394,
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
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
    raise UsageError(f"unknown data set {quoted(name)}; {hint}")


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


def get(data_set: DataSet, *, offline: bool = False) -> Path:
    """Its file on this machine, downloaded into the cache if need be and not `offline`.

    Raises:
        MissingComponentError: it would have to be downloaded, and that is forbidden (also by ``GPT2X_OFFLINE``), or
            there is no network or no client for it.
        InputDataError: what was downloaded is not the file that it should be.
        OutputError: the cache cannot be written to.

    """
    found = locate(data_set)
    if found is not None:
        return found
    scheme, _, handle = data_set.source.partition(":")
    if scheme == "package":
        raise MissingComponentError(
            f"{data_set.name} should ship with gpt2x and is missing; install gpt2x again"
        )
    if offline:
        raise MissingComponentError(
            f"{data_set.name} is not on this machine, and --offline forbids to download it; leave that out, or name a "
            f"local copy in {data_set.variable}"
        )
    check_online(data_set.name, f"name a local copy in {data_set.variable}")
    check_can_write(_cached(data_set).parent, "GPT2X_CACHE")
    say(f"fetching {data_set.name} from {data_set.source} …")
    with _one_sentence(data_set):
        if data_set.archive:
            _make_from_archive(data_set)
        elif scheme == "https":
            _download(data_set, _cached(data_set), lambda file: check_content(data_set, file))
        else:
            from_client = _from_kaggle if scheme == "kaggle" else _from_hugging_face
            file = from_client(handle, data_set.file)
            check_content(data_set, file)
            _copy(file, _cached(data_set))
    return _cached(data_set)


def _download(data_set: DataSet, target: Path, check: Callable[[Path], None] | None = None) -> None:
    download(
        data_set.source,
        target,
        limit=data_set.limit,
        size=data_set.size,
        sha256=data_set.sha256,
        check=check,
    )


def _make_from_archive(data_set: DataSet) -> None:
    """Fetch the archive, which stays for the other sets that are made from it, and make the rows of this one."""
    from gpt2x.data.archives import write_rows

    archive = cache_dir() / "data" / "archives" / data_set.archive
    if not archive.is_file():
        _download(data_set, archive)
    with atomic_path(_cached(data_set)) as made:
        write_rows(archive, data_set.part, made)
        check_content(data_set, made)


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


def copy_to(data_set: DataSet, out: Path, *, offline: bool = False) -> Path:
    """Get a data set and copy its file to `out` (a folder keeps the file's own name).

    Raises:
        OutputError: `out` cannot be written.

    """
    source = get(data_set, offline=offline)
    target = out / source.name if out.is_dir() else out
    _copy(source, target)
    return target


def _cached(data_set: DataSet) -> Path:
    return cache_dir() / "data" / data_set.name / data_set.file


def _open(source: Path) -> IO[bytes]:
    try:
        return source.open("rb")
    except OSError as error:
        raise InputDataError(f"cannot read {source}: {error.strerror or error}; check the file") from error


def _copy(source: Path, target: Path) -> None:
    with _open(source) as input_file, atomic_write(target) as output_file:
        shutil.copyfileobj(input_file, output_file, 1 << 20)


def check_content(data_set: DataSet, file: Path) -> None:
    """Compare a downloaded file with what is known of a data set: its length, its checksum, its columns and rows.

    Raises:
        InputDataError: it is something else.

    """
    size = file.stat().st_size
    if size > data_set.limit:
        raise InputDataError(
            f"{data_set.source} has changed: it has {size:,} bytes, more than the {data_set.limit:,} that were expected"
        )
    if data_set.git_blob and _git_blob(file) != data_set.git_blob:
        raise InputDataError(
            f"{data_set.source} has changed: git calls its content {_git_blob(file)}, not {data_set.git_blob}"
        )
    if data_set.rows is None:
        return
    columns, rows = _csv_shape(file) if data_set.file.endswith(".csv") else _json_lines_shape(file)
    missing = [name for name in data_set.columns if name not in columns]
    if missing:
        raise InputDataError(f"{data_set.source} has changed: its rows have no {missing[0]}")
    if rows != data_set.rows:
        raise InputDataError(f"{data_set.source} has changed: it has {rows:,} rows, not {data_set.rows:,}")


def _git_blob(file: Path) -> str:
    """The id of a file's content in any git repository."""
    digest = hashlib.sha1(f"blob {file.stat().st_size}\0".encode(), usedforsecurity=False)
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _csv_shape(file: Path) -> tuple[list[str], int]:
    """The columns and the number of rows of a csv file with a header."""
    with file.open(encoding="utf-8-sig", newline="") as opened:
        reader = csv.reader(opened)
        try:
            return next(reader, []), sum(1 for cells in reader if cells)
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputDataError(f"{file} is no csv file: {error}") from error


def _json_lines_shape(file: Path) -> tuple[list[str], int]:
    """The names in the first of a file's JSON lines, and the number of lines."""
    with file.open("rb") as opened:
        first = opened.readline()
        rows = bool(first.strip()) + sum(1 for line in opened if line.strip())
    try:
        return list(dict(json.loads(first))), rows
    except (ValueError, TypeError, RecursionError) as error:
        raise InputDataError(f"{file} holds no JSON lines: {str(error)[:80]}") from error


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
    except InputDataError as error:
        raise InputDataError(f"{error}; get the file elsewhere and name it in {data_set.variable}") from error
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

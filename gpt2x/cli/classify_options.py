"""What the commands of `gpt2x classify` share: options, and the file of texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from gpt2x.errors import UsageError

if TYPE_CHECKING:
    from gpt2x.data.news import NewsData

Data = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="FILE|NAME",
        help="JSON lines, a JSON array, csv, tsv or Parquet of labels and texts (.gz, .xz, .zip too), or a data set's "
        "name: huffpost, ag-news, ….",
        show_default=False,
    ),
]
TextColumns = Annotated[
    list[str] | None,
    typer.Option(
        "--text-column",
        metavar="NAME",
        help="The column of the text; give it again for more. By default those with usual names, such as headline "
        "and description.",
        show_default=False,
    ),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(
        "--label-column",
        metavar="NAME",
        help="The column of the label; by default category, label or class.",
        show_default=False,
    ),
]
SkipBad = Annotated[
    bool,
    typer.Option("--skip-bad", help="Leave out rows that cannot be read, and count them, instead of ending."),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", metavar="N", min=2, help="Take N rows, evenly spaced over the file; all by default."
    ),
]


Form = Annotated[
    str,
    typer.Option(
        "--input",
        metavar="FORM",
        help="How a row becomes a text: 'playground' (columns joined, the headline in lower case) or 'full' (each "
        "column a field of its own, in its own case).",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How rows become texts: the options that say so."""

    form: str = "playground"
    text_columns: tuple[str, ...] = ()
    label_column: str | None = None
    skip_bad: bool = False


def read(data: str, limit: int | None, reading: Reading, *, keep_textless: bool = False) -> NewsData:
    """The labelled texts of a file, or of a known data set.

    Raises:
        UsageError: no file is named.
        InputDataError: as `find_file` and `read_news`.

    """
    from gpt2x.data.news import read_news
    from gpt2x.data.sources import find_file

    if not data:
        raise UsageError(
            "--data is missing; name a file of labelled texts, or a data set such as huffpost (gpt2x data list)"
        )
    return read_news(find_file(data), limit, keep_textless=keep_textless, **vars(reading))

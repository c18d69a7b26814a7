"""`gpt2x classify predict`: the labels of texts by a classifier that was kept, and what decided.

Scripts call it for one text again and again, so it reads its words itself: typer, which the other commands of
`gpt2x classify` use, takes longer to load than the answer takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt2x.cli.arguments import HELP, Argument, Completion, Option, Parser
from gpt2x.cli.classify_lines import LIKE_A_TEXT, lines_as_they_come, texts_given
from gpt2x.console import emit, say, set_quiet
from gpt2x.errors import UsageError, quoted

if TYPE_CHECKING:
    from gpt2x.classify.saved import RowForm
    from gpt2x.data.news_rows import Columns

ABOUT = """\
Name the label of each text, one line a text: the label, a tab, its probability.

Lines of standard input end with \\n or \\r\\n and nothing else, so that each gives one line, at once. With --data \
each row of a file comes back with the columns predicted_label and probability.

JSON, one object a line: {text, labels: [{label, probability}], has_known_word}, labels by falling probability; with \
--explain also words: [{word, weight}]."""

EXAMPLES = (
    'gpt2x classify predict news-classifier "senate passes climate bill" "-5 degrees at noon"',
    'gpt2x classify predict news-classifier --explain --abstain 0.8 "ten easy pasta recipes"',
    "gpt2x classify predict news-classifier --top-k 3 - < headlines.txt",
    "tail -f headlines.txt | gpt2x classify predict news-classifier --json | jq -r .labels[0].label",
    "gpt2x classify predict news-classifier --data reviews.csv --text-column review --out labelled.csv",
)

ARGUMENTS = (
    Argument("folder", "A classifier that classify train kept.", "FOLDER", many=False, required=True),
    Argument("texts", "Texts; '-' or nothing reads one a line from standard input.", "[TEXT]..."),
)

OPTIONS = {
    "top_k": Option(("--top-k", "-k"), "How many labels to name for each text.", int, 1, "K", least=1),
    "abstain": Option(
        ("--abstain",), "Name no label of a lower probability: '?' stands for it.", float, 0.0, "P",
        least=0.0, most=1.0,
    ),
    "explain": Option(
        ("--explain",), "Also name the words that decided, most first (nb, hashed-nb, linear, tfidf).", bool, False
    ),
    "fields": Option(
        ("--fields",), "A tab in a text separates its fields, for a classifier trained with --input full.", bool, False
    ),
    "data": Option(
        ("--data",),
        "Label the rows of a file (csv, tsv, JSON lines, JSON array, Parquet; packed, too) and print them with their "
        "columns and the answer.",
        Path, metavar="FILE",
    ),
    "text_columns": Option(
        ("--text-column",),
        "The column of the text; give it again for more. By default those that were named for training, or those with "
        "usual names, such as headline and description.",
        metavar="NAME", repeated=True,
    ),
    "form": Option(
        ("--input",),
        "How a row becomes a text: 'playground' (columns joined, the headline in lower case) or 'full' (each column a "
        "field of its own, in its own case). By default as for training.",
        metavar="FORM",
    ),
    "skip_bad": Option(
        ("--skip-bad",), "Leave out rows that cannot be read, and count them, instead of ending.", bool, False
    ),
    "out": Option(("--out", "-o"), "Where to write the result.", Path, metavar="PATH"),
    "as_json": Option(("--json",), "Print one JSON object a line for each text.", bool, False),
    "quiet": Option(("--quiet", "-q"), "No talk and no progress on stderr.", bool, False),
}  # fmt: skip


def run(words: Sequence[str]) -> None:
    """Do what the words after `gpt2x classify predict` ask for.

    Raises:
        Gpt2xError: as `predict`.
        SystemExit: help was shown.

    """
    values = parser().parse(words)
    if values.pop("quiet"):
        set_quiet(True)
    predict(Path(values.pop("folder")), values.pop("texts"), **values)


def complete(words: Sequence[str], incomplete: str) -> list[Completion]:
    """What a line may go on with, after `gpt2x classify predict` and these words."""
    return parser().complete(words, incomplete)


def parser() -> Parser:
    """The parser of this command."""
    made = Parser(
        "gpt2x classify predict", "[OPTIONS] FOLDER [TEXT]...", ABOUT, EXAMPLES, is_text=LIKE_A_TEXT.match
    )
    for argument in ARGUMENTS:
        made.add_words(argument)
    for key, option in OPTIONS.items():
        made.add_option(key, option, option.default)
    made.add_option("help", HELP, None)
    return made


def predict(
    folder: Path,
    texts: list[str],
    *,
    top_k: int,
    abstain: float,
    explain: bool,
    fields: bool,
    data: Path | None,
    text_columns: list[str] | None,
    form: str | None,
    skip_bad: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Print the label of each text, or of each row of a file.

    Raises:
        UsageError: options that do not go together.
        InputDataError: the folder or the file is missing or damaged.

    """
    given = texts_given(texts)
    if data is not None and given is not None:
        raise UsageError("give texts or --data, not both")
    if data is None and (out is not None or text_columns or form is not None or skip_bad):
        raise UsageError(
            "--out, --text-column, --input and --skip-bad are for the rows of a file; name it with --data"
        )
    if data is not None and (as_json or explain or fields):
        raise UsageError(
            "--json, --explain and --fields are for texts; with --data rows keep the file's format"
        )
    from gpt2x.classify.predictor import open_predictor
    from gpt2x.cli.classify_asking import Asking

    predictor = open_predictor(folder)
    _say_what(folder, predictor)
    asking = Asking(predictor, top_k, abstain, explain)
    if data is not None:
        asking.label_file(data, _columns(folder, predictor.row_form, text_columns, form), skip_bad, out)
        return
    for batch in lines_as_they_come() if given is None else [given]:
        emit("\n".join(asking.json_lines(batch, fields) if as_json else asking.lines(batch, fields)))
    asking.say_unknown()


def _columns(
    folder: Path, trained: RowForm | None, text_columns: list[str] | None, form: str | None
) -> Columns:
    """Which columns make a text, and how: as the command line has it, else as for training, which is then said."""
    from gpt2x.data.news_rows import Columns, check_form

    if form is not None:
        check_form(form)
    if trained is None:
        return Columns.of(None, text_columns or (), form or "playground")
    if form not in (None, trained.form):
        say(
            f"{folder} was trained with --input {trained.form}; with --input {form} it reads them another way"
        )
    columns = text_columns or trained.text_columns
    if columns and not text_columns:
        say(
            f"{folder} was trained on the text of {', '.join(map(quoted, columns))}; --text-column names other columns"
        )
    return Columns.of(None, columns, form or trained.form)


def _say_what(folder: Path, predictor: Any) -> None:
    from gpt2x.classify.kinds import KINDS

    say(f"{folder}: {KINDS[predictor.kind].title}, {len(predictor.classes)} classes")

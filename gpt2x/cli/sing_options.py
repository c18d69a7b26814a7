"""The options of `gpt2x sing` that say how a song is written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Mood = Annotated[
    str, typer.Option("--mood", metavar="WORD", help="Such as happy, funny, tender, sad, angry, hopeful.")
]
Form = Annotated[
    str,
    typer.Option("--form", metavar="FORM", help="verse-chorus, ballad or free; the model's choice."),
]
RunName = Annotated[
    str | None,
    typer.Option("--run", metavar="RUN", help="A model folder, or the name of a run; the newest by default."),
]
Lines = Annotated[
    int | None,
    typer.Option(
        "--lines", min=1, metavar="N", help="End with the stanza that reaches so many; 32 by default."
    ),
]
MinLines = Annotated[
    int | None,
    typer.Option(
        "--min-lines", min=0, metavar="N", help="Do not end before so many; 8, or --lines, by default."
    ),
]
MaxTokens = Annotated[int, typer.Option("--max-tokens", min=1, help="The longest song, in tokens.")]
Temperature = Annotated[
    float, typer.Option("--temperature", help="Higher is wilder; 0 always takes the likeliest token.")
]
TopK = Annotated[
    int | None, typer.Option("--top-k", metavar="K", help="Choose among the K likeliest tokens only.")
]
TopP = Annotated[
    float, typer.Option("--top-p", help="Choose among the likeliest tokens that hold this much probability.")
]
MinP = Annotated[
    float, typer.Option("--min-p", help="Only tokens with this share of the likeliest one's probability.")
]
TypicalP = Annotated[
    float, typer.Option("--typical-p", help="Only the most typical tokens that hold this much probability.")
]
RepetitionPenalty = Annotated[
    float, typer.Option("--repetition-penalty", help="Above 1, tokens that were used become less likely.")
]
FrequencyPenalty = Annotated[
    float, typer.Option("--frequency-penalty", help="Taken from a logit for each time its token came.")
]
PresencePenalty = Annotated[
    float, typer.Option("--presence-penalty", help="Taken from the logit of a token that came.")
]
NoRepeatNgram = Annotated[
    int, typer.Option("--no-repeat-ngram", metavar="N", help="No N tokens in a row twice; 0: any may.")
]
Drafts = Annotated[
    int,
    typer.Option("--drafts", min=1, metavar="N", help="How often a line is tried until it rhymes; 1: never."),
]
BestOf = Annotated[
    int,
    typer.Option(
        "--best-of",
        min=1,
        metavar="N",
        help="Keep the best of N drafts of a line, where the model plans its lines; 1: the first.",
    ),
]
OnlyWords = Annotated[
    bool,
    typer.Option("--only-words/--any-words", help="Whether the model may write words that are none."),
]
Chorus = Annotated[
    bool, typer.Option("--chorus/--no-chorus", help="Whether a chorus comes back word for word.")
]
Stop = Annotated[
    list[str] | None,
    typer.Option("--stop", metavar="TEXT", help="End before this text; may be repeated."),
]
SongSeed = Annotated[
    int | None,
    typer.Option(
        "--seed", metavar="N", min=0, help="The same seed gives the same song; a new one by default."
    ),
]
Count = Annotated[int, typer.Option("--count", min=1, metavar="N", help="How many songs to write.")]
Originality = Annotated[
    bool,
    typer.Option(
        "--originality", help="Tell the longest spans of words copied from the songs of the training."
    ),
]
MaxCopied = Annotated[
    int | None,
    typer.Option(
        "--max-copied", metavar="N", min=2, help="Draw a song anew that copies more than N words in a row."
    ),
]
Score = Annotated[
    bool, typer.Option("--score", help="Tell rhymes, repeats, copies, settings and the line that repeats it.")
]
Songs = Annotated[
    Path | None,
    typer.Option("--data", metavar="FILE", help="Songs to compare with instead of those of the training."),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="DTYPE",
        help="float32, exact and the default; bfloat16, faster on a CPU; int8, fastest there and smallest.",
    ),
]
Typewriter = Annotated[
    bool, typer.Option("--typewriter", help="In a terminal, write at the pace of a typist.")
]
Web = Annotated[
    bool, typer.Option("--web", help="Sing on a local page, for a browser on this machine; Ctrl-C ends it.")
]
Port = Annotated[
    int | None,
    typer.Option(
        "--port", metavar="N", min=0, max=65535, help="Where the page is; 8420 by default, 0: any free port."
    ),
]
Open = Annotated[bool, typer.Option("--open", help="Open the page in a browser.")]

"""`gpt2x sing`: lyrics about a topic, streamed as they are written.

It takes the newest run there is, else the model that ships with the package; it never trains.
"""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpt2x.cli.options import Device, Json, Out, Quiet, WeightsFrom, examples
from gpt2x.console import emit, emit_json, emit_piece, is_terminal, say
from gpt2x.errors import InputDataError, UsageError, quoted

if TYPE_CHECKING:
    from gpt2x.generate.engine import Engine, TextStream
    from gpt2x.generate.originality import OverlapIndex

app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

EPILOG = examples(
    'gpt2x sing "ex-girlfriend"',
    "gpt2x sing rain --mood funny --form ballad",
    "gpt2x sing rain --count 3 --temperature 1.1",
    "gpt2x sing rain --run runs/lyrics --seed 7 --check",
    "gpt2x sing rain --out rain.txt",
)


@app.command(epilog=EPILOG)
def sing(
    topic: Annotated[str | None, typer.Argument(help="What to sing about; asked for when left out.")] = None,
    *,
    mood: Annotated[
        str, typer.Option("--mood", metavar="WORD", help="Such as happy, funny, tender, sad, angry, hopeful.")
    ] = "",
    form: Annotated[
        str, typer.Option("--form", metavar="FORM", help="verse-chorus, ballad or free; the model's choice.")
    ] = "",
    run: Annotated[
        str | None,
        typer.Option(
            "--run", metavar="RUN", help="A model folder, or the name of a run; the newest by default."
        ),
    ] = None,
    lines: Annotated[
        int | None,
        typer.Option("--lines", min=1, metavar="N", help="End with the stanza that reaches so many."),
    ] = None,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=1, help="The longest song, in tokens.")
    ] = 600,
    temperature: Annotated[
        float, typer.Option("--temperature", help="Higher is wilder; 0 always takes the likeliest token.")
    ] = 0.8,
    top_k: Annotated[
        int | None, typer.Option("--top-k", metavar="K", help="Choose among the K likeliest tokens only.")
    ] = None,
    top_p: Annotated[
        float,
        typer.Option("--top-p", help="Choose among the likeliest tokens that hold this much probability."),
    ] = 0.95,
    min_p: Annotated[
        float, typer.Option("--min-p", help="Only tokens with this share of the likeliest one's probability.")
    ] = 0.0,
    typical_p: Annotated[
        float,
        typer.Option("--typical-p", help="Only the most typical tokens that hold this much probability."),
    ] = 1.0,
    repetition_penalty: Annotated[
        float, typer.Option("--repetition-penalty", help="Above 1, tokens that were used become less likely.")
    ] = 1.0,
    frequency_penalty: Annotated[
        float, typer.Option("--frequency-penalty", help="Taken from a logit for each time its token came.")
    ] = 0.0,
    presence_penalty: Annotated[
        float, typer.Option("--presence-penalty", help="Taken from the logit of a token that came.")
    ] = 0.0,
    no_repeat_ngram: Annotated[
        int, typer.Option("--no-repeat-ngram", metavar="N", help="No N tokens in a row twice; 0: any may.")
    ] = 0,
    drafts: Annotated[
        int,
        typer.Option(
            "--drafts", min=1, metavar="N", help="How often a line is tried until it rhymes; 1: never."
        ),
    ] = 12,
    chorus: Annotated[
        bool, typer.Option("--chorus/--no-chorus", help="Whether a chorus comes back word for word.")
    ] = True,
    stop: Annotated[
        list[str] | None,
        typer.Option("--stop", metavar="TEXT", help="End before this text; may be repeated."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", metavar="N", min=0, help="The same seed gives the same song; a new one by default."
        ),
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, metavar="N", help="How many songs to write.")] = 1,
    check: Annotated[
        bool, typer.Option("--check", help="Tell the longest run of words that is copied from a song.")
    ] = False,
    score: Annotated[
        bool, typer.Option("--score", help="Count rhymes, repeats and unknown words of each song.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="FILE", help="The songs for --check; by default those of the training."
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="DTYPE",
            help="On a CPU: float32, exact and the default; bfloat16, faster; int8, fastest and smallest.",
        ),
    ] = None,
    weights_from: WeightsFrom = "best",
    device: Device = "auto",
    out: Out = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write lyrics about a topic, streamed as they come.

    The newest run in ./runs sings; with none there, the model that ships with gpt2x. JSON: {topic, title, text, seed,
    tokens, run, tokens_per_second}, with --check also {copied: {words, share, text, title}}, with --score also
    {score: {lines, words, rhymed, scheme, unknown, repeated, distinct_2, has_topic}}; with --count above 1 a list.
    """
    from gpt2x.generate.form import MAX_LINES, MIN_LINES
    from gpt2x.generate.lyrics import SongRequest, title_of
    from gpt2x.generate.lyrics import sing as write_song
    from gpt2x.generate.sampling import SamplingConfig
    from gpt2x.model.runs import find_run, newest_run, weights_of

    seed = secrets.randbelow(10**6) if seed is None else seed
    _check_seed(seed, count)
    request = SongRequest(
        topic=_ask_for_topic() if topic is None else topic,
        mood=_one_word("--mood", mood),
        form=_one_word("--form", form),
        min_lines=MIN_LINES if lines is None else min(MIN_LINES, lines),
        max_lines=MAX_LINES if lines is None else lines,
        returning_chorus=chorus,
        candidates=drafts,
    )
    title = title_of(request.topic)
    sampling = SamplingConfig(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        typical_p=typical_p,
        repetition_penalty=repetition_penalty,
        frequency_penalty=frequency_penalty,
        presence_penalty=presence_penalty,
        no_repeat_ngram=no_repeat_ngram,
    )
    if weights is not None:
        _check_weights(weights)
    folder = newest_run() if run is None else find_run(run)
    engine = _load(weights_of(folder, weights_from), device, weights)
    index = _songs_to_check(folder, data) if check or data is not None else None
    songs: list[dict[str, Any]] = []
    for number in range(count):
        say(f"{folder}, seed {seed + number}")
        stream = write_song(
            engine,
            request,
            max_tokens=max_tokens,
            sampling=sampling,
            seed=seed + number,
            stop_strings=stop or (),
        )
        text = _collect(stream, printing=not as_json)
        song: dict[str, Any] = {
            "topic": request.topic,
            "title": title,
            "text": text.removeprefix(title).strip(),
            "seed": seed + number,
            "tokens": stream.num_tokens,
            "run": str(folder),
            "tokens_per_second": round(stream.num_tokens / max(stream.seconds, 1e-9), 1),
        }
        if score:
            song["score"] = _report_score(song["text"], request.topic)
        if index is not None:
            song["copied"] = _report_copied(index, song["text"])
        if not as_json and number + 1 < count:
            emit("")
        songs.append(song)
    if as_json:
        emit_json(songs if count > 1 else songs[0])
    if out is not None:
        _write_songs(out, songs)


def _ask_for_topic() -> str:
    """The topic, asked for on a terminal.

    Raises:
        UsageError: there is nobody to ask.

    """
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise UsageError("there is no topic; say what to sing about, as in: gpt2x sing rain")
    sys.stderr.write("What shall I sing about? ")
    sys.stderr.flush()
    return sys.stdin.readline()


def _check_seed(seed: int, count: int) -> None:
    if seed + count > 2**63:
        raise UsageError(
            f"--seed {seed} is too large for {count} song{'s' * (count > 1)}; give one below 2^63"
        )


def _one_word(option: str, value: str) -> str:
    """A value that fits into one line of a song's head."""
    word = " ".join(value.split())
    if not word.isprintable() or len(word) > 40:
        raise UsageError(f"{option} {quoted(value)} is no mood or form; give one word")
    return word.lower()


def _write_songs(out: Path, songs: list[dict[str, Any]]) -> None:
    from gpt2x.paths import atomic_write

    with atomic_write(out, text=True) as file:
        file.write("\n\n\n".join(f"{song['title']}\n\n{song['text']}" for song in songs) + "\n")
    say(f"written to {out}")


def _check_weights(weights: str) -> None:
    from gpt2x.model.decoding import check_weights

    check_weights(weights)  # before a model is loaded for nothing


def _load(folder: Path, device: str, weights: str | None) -> Engine:
    from gpt2x.generate.engine import Engine
    from gpt2x.model.device import pick_device
    from gpt2x.model.folder import load_folder

    model, tokenizer = load_folder(folder, device=pick_device(device))
    if tokenizer is None:
        raise InputDataError(f"{folder} holds a model without a tokenizer; put its tokenizer.json beside it")
    return Engine(model, tokenizer, weights=weights)


def _collect(stream: TextStream, *, printing: bool) -> str:
    """Take the pieces as they come, print them at once, and give the whole."""
    pieces = []
    try:
        for piece in stream:
            pieces.append(piece)
            if printing:
                emit_piece(piece)
    except KeyboardInterrupt:
        if printing:
            emit("")
        raise
    if printing:
        emit("")
    return "".join(pieces)


def _songs_to_check(folder: Path, data: Path | None) -> OverlapIndex:
    from gpt2x.data.lyrics import read_songs
    from gpt2x.generate.originality import OverlapIndex

    songs = read_songs(data if data is not None else _training_data(folder))
    return OverlapIndex((song.song, song.text) for song in songs)


def _training_data(folder: Path) -> Path | None:
    """The csv file that the run was trained on, where the run says so and it is still there; else None."""
    from gpt2x.model.runs import SETTINGS, TRAINER
    from gpt2x.paths import CONFIG_BYTES, read_text

    try:
        settings = folder / TRAINER / SETTINGS
        name = json.loads(read_text(settings, limit=CONFIG_BYTES, regular=True))["data"]
        return Path(name) if Path(name).is_file() else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _report_score(text: str, topic: str) -> dict[str, Any]:
    from gpt2x.generate.report import report
    from gpt2x.generate.rhyme import packaged_rhymes

    found = report(text, packaged_rhymes(), topic)
    say(str(found))
    return found.to_dict()


def _report_copied(index: OverlapIndex, text: str) -> dict[str, Any]:
    found = index.longest_shared_run(text)
    say(str(found))
    return {"words": found.words, "share": round(found.share, 4), "text": found.text, "title": found.title}

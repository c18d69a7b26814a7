"""`gpt2x sing`: lyrics about a topic, streamed as they are written.

It takes the newest run there is, else the model that ships with the package; it never trains. Without a topic a person
at a terminal is asked for one, and for what to sing next (`sing_interactive`); ``--web`` sings on a page (`sing_web`).
"""

from __future__ import annotations

import secrets
import sys
from typing import Annotated

import typer

from gpt2x.cli import sing_options as option
from gpt2x.cli.options import Device, Json, Out, Quiet, WeightsFrom, examples
from gpt2x.cli.sing_song import Singer, Song, announce, find_songs, load_engine, write_songs
from gpt2x.console import emit, emit_json, is_quiet, is_terminal
from gpt2x.errors import UsageError

app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

EPILOG = examples(
    'gpt2x sing "ex-girlfriend"',
    "gpt2x sing",
    "gpt2x sing --web",
    "gpt2x sing rain --mood funny --form ballad",
    "gpt2x sing rain --count 3 --temperature 1.1",
    "gpt2x sing rain --run runs/lyrics --seed 7 --originality",
    "gpt2x sing rain --max-copied 7 --score",
    "gpt2x sing rain --out rain.txt",
)

_LATER = "rain"  # stands for a topic that is asked for once the options are checked and the model is loaded


@app.command(epilog=EPILOG)
def sing(
    topic: Annotated[str | None, typer.Argument(help="What to sing about; asked for when left out.")] = None,
    *,
    mood: option.Mood = "",
    form: option.Form = "",
    run: option.RunName = None,
    lines: option.Lines = None,
    min_lines: option.MinLines = None,
    max_tokens: option.MaxTokens = 900,
    temperature: option.Temperature = 0.6,
    top_k: option.TopK = None,
    top_p: option.TopP = 0.95,
    min_p: option.MinP = 0.05,
    typical_p: option.TypicalP = 1.0,
    repetition_penalty: option.RepetitionPenalty = 1.0,
    frequency_penalty: option.FrequencyPenalty = 0.0,
    presence_penalty: option.PresencePenalty = 0.0,
    no_repeat_ngram: option.NoRepeatNgram = 0,
    drafts: option.Drafts = 12,
    best_of: option.BestOf = 6,
    only_words: option.OnlyWords = True,
    chorus: option.Chorus = True,
    stop: option.Stop = None,
    seed: option.SongSeed = None,
    count: option.Count = 1,
    originality: option.Originality = False,
    max_copied: option.MaxCopied = None,
    score: option.Score = False,
    data: option.Songs = None,
    weights: option.Weights = None,
    weights_from: WeightsFrom = "best",
    device: Device = "auto",
    typewriter: option.Typewriter = False,
    web: option.Web = False,
    port: option.Port = None,
    open_browser: option.Open = False,
    out: Out = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write lyrics about a topic, streamed as they come.

    The newest run in ./runs sings; with none there, the model that ships with gpt2x. Without a topic, in a terminal, it
    asks for one and then for what to sing next. JSON: {topic, title, text, seed, tokens, run, tokens_per_second}, with
    --originality also {copied: {words, share, text, title, spans}}, with --score that and {score: {lines, words,
    rhymed, scheme, unknown, repeated, distinct_2, has_topic}, settings, command}; with --count above 1 a list.
    """
    from gpt2x.generate.sampling_config import SamplingConfig
    from gpt2x.generate.song_request import MAX_LINES, MIN_LINES, SongRequest
    from gpt2x.generate.song_settings import SongSettings, next_seed, one_word, plain_topic
    from gpt2x.model.runs import find_run, newest_run, weights_of

    if web:
        with_a_page = {"--json": as_json, "--out": out, "--count": count > 1, "--typewriter": typewriter}
        _refuse(
            "--web",
            {**{name: bool(given) for name, given in with_a_page.items()}, "--max-copied": bool(max_copied)},
        )
    elif port is not None or open_browser:
        raise UsageError(
            f"{'--port' if port is not None else '--open'} is for --web; add it, or leave both out"
        )
    if min_lines is not None and lines is not None and min_lines > lines:
        raise UsageError(f"--min-lines {min_lines} are more than --lines {lines}; give no more")
    if "" in (stop or ()):
        raise UsageError("--stop is empty; give the text before which a song is to end")
    first_seed = secrets.randbelow(10**6) if seed is None else seed
    _check_seed(first_seed, count)
    interactive = topic is None and not (web or as_json or out is not None or count > 1) and _can_talk()
    if topic is None and not (web or interactive):
        topic = _ask_for_topic()
    settings = SongSettings(
        request=SongRequest(
            topic=_LATER if topic is None else plain_topic(topic),
            mood=one_word("--mood", mood),
            form=one_word("--form", form),
            min_lines=min(MIN_LINES, lines or MIN_LINES) if min_lines is None else min_lines,
            max_lines=max(MAX_LINES, min_lines or 0) if lines is None else lines,
            returning_chorus=chorus,
            candidates=drafts,
            best_of=best_of,
            only_words=only_words,
        ),
        sampling=SamplingConfig(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            typical_p=typical_p,
            repetition_penalty=repetition_penalty,
            frequency_penalty=frequency_penalty,
            presence_penalty=presence_penalty,
            no_repeat_ngram=no_repeat_ngram,
        ),
        max_tokens=max_tokens,
        stop=tuple(stop or ()),
    )
    if weights is not None:
        _check_weights(weights)
    folder = newest_run() if run is None else find_run(run)
    must_compare = originality or data is not None or max_copied is not None
    songs, why_not = find_songs(folder, data, must=must_compare) if must_compare or score else (None, "")
    waits = not (web or interactive or as_json or typewriter or max_copied is not None)
    announced = (
        waits and weights is None and device in ("auto", "cpu") and announce(folder, settings, first_seed)
    )
    singer = Singer(
        engine=load_engine(weights_of(folder, weights_from), device, weights),
        folder=folder,
        options=_options_of_the_model(run, weights, weights_from),
        index=songs,
        not_compared=why_not,
        max_copied=max_copied,
        score=score,
        printing=not as_json,
        typewriter=typewriter,
    )
    if web:
        from gpt2x.cli.sing_web import serve_page

        serve_page(singer, settings, topic=settings.request.topic if topic else "", seed=seed, port=port,
                   open_browser=open_browser)  # fmt: skip
        return
    if interactive:
        from gpt2x.cli.sing_interactive import converse

        converse(singer, settings, first_seed)
        return
    sung: list[Song] = []
    while len(sung) < count:
        seed = next_seed(sung[-1]["seed"]) if sung else first_seed
        sung.append(singer.sing(settings, seed, announced=announced and not sung))
        if not as_json and len(sung) < count:
            emit("")
    if as_json:
        emit_json(sung if count > 1 else sung[0])
    if out is not None:
        write_songs(out, sung)


def _refuse(name: str, others: dict[str, bool]) -> None:
    """Refuse the options that cannot be given together with one."""
    other = next((other for other, given in others.items() if given), None)
    if other is not None:
        raise UsageError(f"{name} and {other} do not go together; leave one out")


def _can_talk() -> bool:
    """Whether there is a person at a terminal who sees the songs and our questions, and can answer them."""
    return not is_quiet() and all(map(is_terminal, (sys.stdin, sys.stdout, sys.stderr)))


def _ask_for_topic() -> str:
    """The topic, asked for on a terminal, where the song goes elsewhere.

    Raises:
        UsageError: there is nobody to ask, or no answer.

    """
    from gpt2x.cli.sing_interactive import ask

    answer = None
    if is_terminal(sys.stdin) and is_terminal(sys.stderr):
        answer = ask("What shall I sing about? ")
    if answer is None:
        raise UsageError("there is no topic; say what to sing about, as in: gpt2x sing rain")
    return answer


def _check_seed(seed: int, count: int) -> None:
    if seed + count > 2**63:
        raise UsageError(
            f"--seed {seed} is too large for {count} song{'s' * (count > 1)}; give one below 2^63"
        )


def _check_weights(weights: str) -> None:
    from gpt2x.model.decoding import check_weights

    check_weights(weights)  # before a model is loaded for nothing


def _options_of_the_model(run: str | None, weights: str | None, weights_from: str) -> list[str]:
    """The options that choose the model and its weights, as far as they are not the default."""
    given = {
        "--run": run,
        "--weights": weights,
        "--weights-from": weights_from if weights_from != "best" else None,
    }
    return [word for name, value in given.items() if value is not None for word in (name, value)]

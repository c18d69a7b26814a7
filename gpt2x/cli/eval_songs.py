"""`gpt2x eval --songs`: a model sings the same topics with several seeds, and what can be counted is counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt2x.console import emit_json, progress, say
from gpt2x.errors import InputDataError, MissingComponentError, UsageError
from gpt2x.tables import emit_table

if TYPE_CHECKING:
    from gpt2x.model import GPT
    from gpt2x.tokenizer import Tokenizer

BITS = "bits_per_byte"


def measure_songs(
    folder: Path,
    model: GPT,
    tokenizer: Tokenizer,
    held_out_bits: Callable[[], float],
    *,
    topics: int,
    seeds: int,
    as_json: bool,
) -> None:
    """Sing, measure and print.

    Args:
        folder: where the model came from.
        model: what sings.
        tokenizer: its tokenizer.
        held_out_bits: measures bits per byte on the songs that the run was not trained on.
        topics: how many of the topics there are.
        seeds: how many songs of each; seeds 1, 2, …

    Raises:
        UsageError: there are not so many topics.

    """
    from gpt2x.generate import Engine
    from gpt2x.generate.fluency import fluency
    from gpt2x.generate.song_measures import MEASURES, TOPICS, measured, sing_all
    from gpt2x.generate.training_songs import index_of_run

    if topics > len(TOPICS):
        raise UsageError(f"--topics {topics}: there are {len(TOPICS)}; give no more")
    index = _or_say_why("not compared", lambda: index_of_run(folder))
    bits = _or_say_why("no held-out songs", held_out_bits)
    judge = None if _or_say_why("not judged", lambda: fluency("rain")) is None else fluency
    songs = []
    with progress("singing", total=topics * seeds, unit="songs") as advance:
        engine = Engine(model, tokenizer)
        for song in sing_all(engine, TOPICS[:topics], range(1, seeds + 1), index=index, judge=judge):
            songs.append(song)
            advance()
    figures = measured(songs)
    if as_json:
        emit_json(
            {
                "run": str(folder),
                "topics": list(TOPICS[:topics]),
                "seeds": list(range(1, seeds + 1)),
                **figures,
                BITS: bits,
                "songs": [song.to_dict() for song in songs],
            }
        )
        return
    rows = [(measure.label, measure.show(figures[measure.name])) for measure in MEASURES]
    rows.append(("bits per byte of held-out songs", "unknown" if bits is None else f"{bits:.2f}"))
    emit_table([f"measure (medians of {len(songs)} songs)", "this model"], rows, right=[False, True])


def _or_say_why(what: str, find: Callable[[], Any]) -> Any:
    """What is found, or None, and a sentence why."""
    try:
        return find()
    except (InputDataError, MissingComponentError) as error:
        say(f"{what}: {error}")
        return None

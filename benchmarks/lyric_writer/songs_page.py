"""Twenty songs as they come, and what can be counted of them, as Markdown for docs/benchmarks/songs.md.

    python benchmarks/lyric_writer/songs_page.py [--run RUN] [--seed N] [--temperature X] [--min-p X] [--table]

Every song is the one that `gpt2x sing TOPIC --seed N` writes with the same settings. `gpt2x eval --songs` takes the
same measures of more songs, without goals.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from gpt2x.generate import Engine
from gpt2x.generate.fluency import fluency
from gpt2x.generate.lyrics import SONG_SAMPLING, title_of
from gpt2x.generate.sampling import SamplingConfig
from gpt2x.generate.song_measures import MEASURES, TOPICS, SungSong, measured, sing_all
from gpt2x.generate.training_songs import index_of_run
from gpt2x.model.folder import load_folder
from gpt2x.model.runs import packaged_model

GOALS = {
    "rhymed": "≥ 0.50",
    "unknown": "≤ 1 %",
    "repeated": "5–30 %",
    "distinct_2": "0.70–0.92",
    "has_topic": "≥ 90 %",
    "lines": "≥ 8",
    "fluency": "≥ −8.4",
}


def main() -> None:
    """Sing and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, default=packaged_model())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=SONG_SAMPLING.temperature)
    parser.add_argument("--top-p", type=float, default=SONG_SAMPLING.top_p)
    parser.add_argument("--min-p", type=float, default=SONG_SAMPLING.min_p)
    parser.add_argument("--table", action="store_true", help="the figures alone")
    arguments = parser.parse_args()
    model, tokenizer = load_folder(arguments.run)
    sampling = SamplingConfig(temperature=arguments.temperature, top_p=arguments.top_p, min_p=arguments.min_p)
    index = index_of_run(arguments.run)
    songs = list(
        sing_all(
            Engine(model, tokenizer), TOPICS, [arguments.seed], index=index, sampling=sampling, judge=fluency
        )
    )
    print(table(songs))
    if not arguments.table:
        for song in songs:
            print(f"\n### {title_of(song.topic)}\n\n```text\n{song.text}\n```\n\n{song.report}")


def table(songs: Sequence[SungSong]) -> str:
    """The medians, with the goals."""
    figures = measured(songs)
    rows = [(m.label, GOALS.get(m.name, ""), m.show(figures[m.name])) for m in MEASURES]
    head = f"| measure (title left out; medians of {len(songs)} songs) | goal | this model |\n|---|---|---|"
    return "\n".join([head, *("| " + " | ".join(row) + " |" for row in rows)])


if __name__ == "__main__":
    main()

#!/bin/sh
# The lyric writer that ships, from the beginning: make.sh VERSE STORIES
# VERSE is a folder with csv files of public-domain songs and poems, STORIES one with public-domain stories, plain text as
# Project Gutenberg has it. Each step goes on where it was when it is interrupted and started again.
set -e
here=$(dirname "$0")
PYTHONPATH="$here/../..${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONPATH
test -f verse.csv || python "$here/verse_songs.py" --out verse.csv "$1"/*
test -f stories.csv || python "$here/story_songs.py" --out stories.csv "$2"/*.txt
test -f pretraining.csv || { cat verse.csv; tail -n +2 stories.csv; } > pretraining.csv
test -d vocabulary || python "$here/vocabulary.py" --out vocabulary pretraining.csv
python -m gpt2x.train rhymed-lyrics --config "$here/stages.toml"
python "$here/pack.py" runs/lyric-writer "$here/../../gpt2x/data/assets/lyric-writer"

#!/bin/sh
# The lyric writer that ships, from the beginning: make.sh VERSE.csv.xz ...
# Each step goes on where it was when it is interrupted and started again.
set -e
here=$(dirname "$0")
PYTHONPATH="$here/../..${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONPATH
test -f pretraining.csv || python "$here/pretraining_songs.py" --out pretraining.csv "$@"
test -d vocabulary || python "$here/vocabulary.py" --out vocabulary pretraining.csv
python -m gpt2x.train rhymed-lyrics --config "$here/stages.toml"
python "$here/pack.py" runs/lyric-writer "$here/../../gpt2x/data/assets/lyric-writer"

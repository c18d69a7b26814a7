#!/usr/bin/env bash
# Copies what the crate needs from outside of its folder into vendor/, so that a package of it is complete:
#
#     bash tokenizer_rs_bindings/vendor.sh && cargo package --manifest-path tokenizer_rs_bindings/Cargo.toml
set -euo pipefail
cd "$(dirname "$0")"

rm -rf vendor
mkdir -p vendor/bpe vendor/golden
cp -r ../csrc/bpe/src ../csrc/bpe/include vendor/bpe/
cp ../tests/golden/songs.tiktoken ../tests/golden/encode_vectors.tsv vendor/golden/
cp ../LICENSE vendor/

#!/usr/bin/env bash
# Builds, tests and measures everything that wants a GPU, and leaves all of it in one folder with a summary.md.
#
#   benchmarks/gpu_suite.sh [FOLDER] [--budget SECONDS] [--only NAMES] [--skip NAMES] [--device cuda|cpu] [--dry-run]
#
# FOLDER is $OUT, else bench-results/gpu-suite. PYTHON chooses the interpreter (python3). What the parts are, and what
# happens when one fails or hangs, stands in gpu_suite.py.
set -u
cd "$(dirname "$0")/.." || exit 1
exec "${PYTHON:-python3}" benchmarks/gpu_suite.py "$@"

#!/bin/sh
# Compiles every CUDA kernel for sm_80 and sm_90 and shows registers and spills per kernel. Needs nvcc, no GPU and no
# torch; keeps nothing. Fails when a file does not compile or a kernel spills registers.
#
#   csrc/ops/cuda/check_compile.sh [NVCC]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
nvcc=${1:-${NVCC:-nvcc}}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

compile() {
    name=$(basename "$1" .cu)
    if "$nvcc" -O3 -std=c++17 -Xptxas=-v -gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_90,code=sm_90 \
        -c "$1" -o "$out/$name.o" >"$out/$name.log" 2>&1; then
        touch "$out/$name.ok"
    fi
}

# As many at a time as there are cores: nvcc is one thread a file.
cores=$(getconf _NPROCESSORS_ONLN)
running=0
for file in "$here"/*.cu; do
    compile "$file" &
    running=$((running + 1))
    if [ "$running" -ge "$cores" ]; then wait; running=0; fi
done
wait

status=0
for file in "$here"/*.cu; do
    name=$(basename "$file" .cu)
    if [ ! -e "$out/$name.ok" ]; then
        echo "$name.cu does not compile:"
        cat "$out/$name.log"
        status=1
        continue
    fi
    awk -v name="$name" '
        /Compiling entry function/ { kernels++ }
        /spill stores/ { for (i = 1; i <= NF; i++) if ($i == "spill") spilled += $(i - 2) }
        /Used [0-9]+ registers/ { for (i = 1; i <= NF; i++) if ($i == "Used" && $(i + 1) + 0 > most) most = $(i + 1) + 0 }
        END {
            printf "%-24s %2d kernels, at most %3d registers, %d bytes spilled\n", name ".cu", kernels, most, spilled
            exit spilled > 0
        }' "$out/$name.log" || status=1
    grep -i "warning" "$out/$name.log" || true
done
exit $status

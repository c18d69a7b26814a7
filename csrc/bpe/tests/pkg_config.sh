#!/bin/sh
# Builds the example of docs/reference/c-api.md with the installed library, shared and static, as the page says:
#
#     pkg_config.sh REPOSITORY INSTALLED_PC_FILE WORK_FOLDER C_COMPILER
#
# Exits with 77, which ctest takes for skipped, where there is no pkg-config.
set -eu
repository=$1 pc_file=$2 work=$3 cc=$4
PKG_CONFIG_PATH=$(dirname "$pc_file")
export PKG_CONFIG_PATH
if ! command -v pkg-config > /dev/null; then
  echo "skipped: there is no pkg-config"
  exit 77
fi

# The example prints the ids of "Hello world": He, ll, o, " wor" and ld in the golden vocabulary.
run() {
  printed=$("$@")
  if [ "$printed" != "$expected" ]; then
    echo "$* printed '$printed', not '$expected'" >&2
    exit 1
  fi
}

rm -rf "$work"
mkdir -p "$work"
cd "$work"
sed -n '/^```c$/,/^```$/p' "$repository/docs/reference/c-api.md" | sed '/^```/d' > count.c
cp "$repository/tests/golden/songs.tiktoken" r50k_base.tiktoken
expected="342 276 78 472 318 "

# What pkg-config prints is several arguments.
# shellcheck disable=SC2046
"$cc" -std=c99 count.c $(pkg-config --cflags --libs gpt2x_bpe) -o count
run env LD_LIBRARY_PATH="$(pkg-config --variable=libdir gpt2x_bpe)" ./count
# shellcheck disable=SC2046
"$cc" -std=c99 count.c $(pkg-config --cflags --libs gpt2x_bpe) \
  -Wl,-rpath,"$(pkg-config --variable=libdir gpt2x_bpe)" -o count_rpath
run ./count_rpath

echo 'int main(void) { return 0; }' > empty.c
if "$cc" -static empty.c -lstdc++ -o empty 2> /dev/null; then
  # shellcheck disable=SC2046
  "$cc" -static -std=c99 count.c $(pkg-config --static --cflags --libs gpt2x_bpe) -o count_static
  run ./count_static
else
  echo "the static example is skipped: $cc has no static C and C++ runtime"
fi

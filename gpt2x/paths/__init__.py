"""Where things are on disk, how files are written so that none is ever half there, and how much is read of one.

`places` knows the folders; `files` and `folders` write under a temporary name and rename, and `failures` says in one
sentence what stood in the way; `locks` tells who is at a file; `reading` has the limits.
"""

from gpt2x.paths.failures import output_errors
from gpt2x.paths.files import atomic_path, atomic_write, is_standard_output, sync
from gpt2x.paths.folders import anything, atomic_folder, check_can_write, check_folder, remove_ours
from gpt2x.paths.locks import lock, try_lock
from gpt2x.paths.places import assets_dir, cache_dir, data_home, runs_dir
from gpt2x.paths.reading import (
    CONFIG_BYTES,
    VOCABULARY_BYTES,
    open_input,
    read_blocks,
    read_bytes,
    read_stream,
    read_text,
)

__all__ = [
    "CONFIG_BYTES",
    "VOCABULARY_BYTES",
    "anything",
    "assets_dir",
    "atomic_folder",
    "atomic_path",
    "atomic_write",
    "cache_dir",
    "check_can_write",
    "check_folder",
    "data_home",
    "is_standard_output",
    "lock",
    "open_input",
    "output_errors",
    "read_blocks",
    "read_bytes",
    "read_stream",
    "read_text",
    "remove_ours",
    "runs_dir",
    "sync",
    "try_lock",
]

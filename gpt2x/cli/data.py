"""`gpt2x data`: list the data sets that are known by name, and fetch one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpt2x.cli.options import Json, Out, Quiet, examples
from gpt2x.console import emit, emit_json, say
from gpt2x.paths import is_standard_output
from gpt2x.tables import emit_table

app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="List the data sets that are known by name, and fetch one.",
)


@app.command(
    "list",
    short_help="List the known data sets.",
    epilog=examples("gpt2x data list", "gpt2x data list --json | jq -r '.[].name'"),
)
def list_data_sets(as_json: Json = False) -> None:
    """Show each data set: what it is, under which licence, and where it is on this machine.

    JSON: a list of {name, kind, what, licence, source, variable, path}; path is null where it is not here yet.
    """
    from gpt2x.data.sources import DATA_SETS, locate

    found = [(data_set, locate(data_set)) for data_set in DATA_SETS]
    if as_json:
        names = ("name", "kind", "what", "licence", "source", "variable")
        emit_json(
            [
                {name: getattr(d, name) for name in names} | {"path": str(path) if path else None}
                for d, path in found
            ]
        )
        return
    rows = [(d.name, d.kind, "yes" if path else "no", d.what, d.licence) for d, path in found]
    emit_table(["name", "kind", "here", "what", "licence"], rows)
    say("\nfetch one with: gpt2x data get NAME --out PATH")


@app.command(
    "get",
    short_help="Fetch a data set and print its path.",
    epilog=examples("gpt2x data get songs --out songs.csv", "gpt2x data get tiny-shakespeare"),
)
def get_data_set(
    name: Annotated[str, typer.Argument(help="A name that `gpt2x data list` shows.", metavar="NAME")],
    out: Out = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Only if it is on this machine; never download.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fetch a data set and print the path of its file.

    Without --out the file stays in the cache (or in the package). GPT2X_OFFLINE=1 and --offline forbid to download it.
    JSON: {name, path, bytes}.
    """
    from gpt2x.data.sources import copy_to, find_data_set, get

    data_set = find_data_set(name)
    source = get(data_set, offline=offline)
    path: Path = copy_to(data_set, out, offline=offline) if out is not None else source
    if out is not None and is_standard_output(path):
        return  # nothing may come after the file itself
    if as_json:
        emit_json({"name": name, "path": str(path), "bytes": source.stat().st_size})
    else:
        emit(str(path))

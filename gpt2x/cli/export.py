"""`gpt2x export`: a run for other programs, as a Hugging Face folder or a GGUF file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from gpt2x.cli.options import Json, Out, Quiet, WeightsFrom, examples
from gpt2x.console import emit, emit_json, say
from gpt2x.errors import UsageError, quoted
from gpt2x.paths import is_standard_output

app = typer.Typer(
    help="Write a run as a Hugging Face folder or a GGUF file.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "gpt2x export hf runs/lyrics --out lyrics-hf",
        "gpt2x export gguf runs/lyrics --out lyrics.gguf --type q8_0",
    ),
)

Run = Annotated[str, typer.Argument(help="A model folder, or the name of a run.", metavar="RUN")]
Dtype = Annotated[str, typer.Option("--dtype", help="f32, or f16 for half the size.", metavar="f32|f16")]
GgufDtype = Annotated[
    str,
    typer.Option(
        "--dtype", "--type", help="f32; f16, half the size; q8_0, a quarter.", metavar="f32|f16|q8_0"
    ),
]


@app.command(
    short_help="Write a Hugging Face folder.", epilog=examples("gpt2x export hf runs/lyrics --out lyrics-hf")
)
def hf(  # noqa: PLR0917  (every one but the first is an option with a name)
    run: Run,
    out: Out = None,
    dtype: Dtype = "f32",
    weights_from: WeightsFrom = "best",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a clean Hugging Face folder: model and tokenizer without the trainer's state.

    By default it is called RUN-hf. An earlier export is replaced; a folder with anything else in it is refused. JSON:
    {run, out, dtype, bytes}.
    """
    from gpt2x.export.hf import export_hf
    from gpt2x.model.runs import find_run, weights_of

    _check_dtype(dtype, ("f32", "f16"))
    source = find_run(run)
    target = out or Path(f"{source.resolve().name}-hf")
    export_hf(weights_of(source, weights_from), target, dtype=dtype)
    _report(source, target, dtype, as_json)


@app.command(
    short_help="Write a GGUF file, for llama.cpp.",
    epilog=examples("gpt2x export gguf runs/lyrics --out lyrics.gguf --type q8_0"),
)
def gguf(  # noqa: PLR0917  (every one but the first is an option with a name)
    run: Run,
    out: Out = None,
    dtype: GgufDtype = "f32",
    weights_from: WeightsFrom = "best",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write one GGUF file, for llama.cpp and what is built on it.

    By default it is called RUN.gguf. JSON: {run, out, dtype, bytes}.
    """
    from gpt2x.export.gguf import DTYPES, export_gguf
    from gpt2x.model.runs import find_run, weights_of

    _check_dtype(dtype, DTYPES)
    source = find_run(run)
    target = out or Path(f"{source.resolve().name}.gguf")
    export_gguf(weights_of(source, weights_from), target, dtype=dtype)
    _report(source, target, dtype, as_json)


def _check_dtype(dtype: str, known: Sequence[str]) -> None:
    if dtype not in known:
        raise UsageError(f"dtype {quoted(dtype)} is unknown; give {' or '.join(known)}")


def _report(run: Path, out: Path, dtype: str, as_json: bool) -> None:
    files = [file for file in out.iterdir() if file.is_file()] if out.is_dir() else [out]
    size = sum(file.stat().st_size for file in files)
    if is_standard_output(out):
        return  # nothing may come after the file itself
    if as_json:
        emit_json({"run": str(run), "out": str(out), "dtype": dtype, "bytes": size})
        return
    say(f"{run} -> {out}, {size / 1e6:.1f} MB, {dtype}")
    emit(str(out))

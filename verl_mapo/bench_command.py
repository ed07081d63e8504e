# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""``verl-mapo bench``: list and prepare benchmarks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from verl_mapo import names
from verl_mapo.command_group import ConfigErrorGroup
from verl_mapo.data_command import given_options, summary_table
from verl_mapo.overrides import check_data_path, in_shell, path_override

if TYPE_CHECKING:
    from verl_mapo.benchmarks import Benchmark

bench = typer.Typer(
    cls=ConfigErrorGroup, help="Prepare benchmarks and compare what was answered.", no_args_is_help=True
)
console = Console()


@bench.command("list")
def list_benchmarks() -> None:
    """List the built-in benchmarks."""
    from verl_mapo.benchmarks import BENCHMARKS

    table = Table("name", "questions", "on the Hugging Face hub", "content")
    for name in BENCHMARKS.names:
        found = BENCHMARKS.find(name)
        table.add_row(name, str(found.questions), found.hub_id, (found.__doc__ or "").partition("\n")[0])
    console.print(table)


@bench.command("prepare")
def prepare(
    name: Annotated[str, typer.Argument(help="A name from 'verl-mapo bench list', or the dotted path of a Benchmark.")],
    source: Annotated[str, typer.Option(help="Folder with the official files, or OWNER/NAME on the Hugging Face hub.")],
    out: Annotated[
        Path, typer.Option(help="Folder for the rows, for images that are bytes, and for downloaded files.")
    ],
    limit: Annotated[
        int | None, typer.Option(help="Number of questions, for a trial.", show_default="all", min=1)
    ] = None,
    max_left_out: Annotated[
        float, typer.Option(help="Largest share of questions that may be left out as faulty.", min=0, max=1)
    ] = 0.0,
    max_pixels: Annotated[
        int | None,
        typer.Option(help="Limit of pixels to write into every image.", show_default="the limit of the run", min=1),
    ] = None,
    option: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, such as seed=1; repeatable.")] = None,
) -> None:
    """Write the questions of a benchmark as rows in verl's schema, for data.val_files.

    The official number of questions and their columns are checked; another number stops the command. Where the official
    files have the right option first, the options are shuffled by the option seed; the share of each letter is printed.
    """
    from verl_mapo.data import convert

    benchmark = find(name)(given_options(option or ()))
    check_data_path("--out", out.resolve())
    done = convert(benchmark, source, out.resolve(), limit, max_left_out=max_left_out, max_pixels=max_pixels)
    console.print(summary_table(done))
    letters = letter_shares(done.file)
    if letters:
        shares = ", ".join(f"{letter} {share:.1%}" for letter, share in letters.items())
        console.print(f"Right letters: {shares}", highlight=False)
    if benchmark.note:
        console.print(benchmark.note, style="dim", highlight=False)
    typer.echo(in_shell(path_override(names.VAL_FILES, done.file)))


def find(name: str) -> type[Benchmark]:
    """The benchmark with a name or at a dotted path.

    Raises:
        typer.BadParameter: there is none.
    """
    from verl_mapo.benchmarks import BENCHMARKS

    try:
        return BENCHMARKS.find(name)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="NAME") from None


def letter_shares(file: Path) -> dict[str, float]:
    """The share of each right letter among the questions with options, in alphabetical order; empty if there are none.

    Args:
        file: a parquet file of neutral rows.
    """
    import pyarrow.parquet as pq

    targets = pq.read_table(file, columns=["reward_model"]).column("reward_model").to_pylist()
    counts = Counter(target["ground_truth"] for target in targets if target["style"] == "multiple_choice")
    return {letter: counts[letter] / counts.total() for letter in sorted(counts)}

# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""``verl-mapo bench``: list and prepare benchmarks, judge what a run answered, compare runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Column, Table

from verl_mapo import names
from verl_mapo.bench_causes_command import causes
from verl_mapo.bench_export_command import export
from verl_mapo.command_group import ConfigErrorGroup
from verl_mapo.data_command import given_options, summary_table
from verl_mapo.evaluation.cli import run, suite
from verl_mapo.overrides import check_data_path, in_shell, make_folder, path_override
from verl_mapo.run_folder import answers_file
from verl_mapo.settings import ConfigError

if TYPE_CHECKING:
    from verl_mapo.benchmarks import Benchmark

bench = typer.Typer(
    cls=ConfigErrorGroup, help="Prepare benchmarks and compare what was answered.", no_args_is_help=True
)
bench.command("run", context_settings={"ignore_unknown_options": True})(run)
bench.command("suite")(suite)
bench.command("causes")(causes)
bench.command("export")(export)
console = Console()


@bench.command("list")
def list_benchmarks() -> None:
    """List the built-in benchmarks."""
    from verl_mapo.benchmarks import BENCHMARKS

    table = Table("name", "questions", Column("on the Hugging Face hub", overflow="fold"), "content")
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


Data = Annotated[list[Path], typer.Option("--data", help="A file of 'bench prepare'; repeatable.", exists=True)]


@bench.command("score")
def score_run(
    run: Annotated[Path, typer.Argument(help="Folder of an evaluated run.", exists=True, file_okay=False)],
    data: Data,
    out: Annotated[
        Path | None, typer.Option(help="File to write to.", show_default="answers.jsonl in the folder of the run")
    ] = None,
) -> None:
    """Judge the last validation of a run by our rules and by the official ones, question by question.

    Evaluate first, with all rollouts recorded: verl-mapo eval ... data.val_files=FILE records.share=1; several answers
    for each question: actor_rollout_ref.rollout.val_kwargs.n=8.
    """
    from verl_mapo.evaluation.command import frame_table, judged
    from verl_mapo.evaluation.prepared import benchmarks_in, check_prepared
    from verl_mapo.evaluation.summary import details

    check_prepared("--data", data)
    file = out or answers_file(run)
    if file.is_dir():
        raise ConfigError(f"--out {file} is a folder: give a file, for example {file / 'answers.jsonl'}.")
    make_folder(f"--out {file}: the folder", file.parent)
    for line in judged(run, data, benchmarks_in(data), out=file):
        console.print(frame_table(details([line]), f"{line.benchmark}, {line.questions} questions"))
    typer.echo(f"Wrote {file}")


@bench.command("compare")
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two or more answers.jsonl, or the folders that hold them.")],
    out: Annotated[Path, typer.Option(help="Folder for comparison.md, .csv, .tex and .png.")] = Path("comparison"),
    rule: Annotated[Literal["ours", "official"], typer.Option(help="Which verdicts count.")] = "ours",
) -> None:
    """Compare runs with the first one, question by question: differences with intervals, McNemar and permutation p."""
    from verl_mapo.benchmarks.comparison import compare_runs, markdown, names_of_runs, table, write_tables
    from verl_mapo.benchmarks.verdicts import read_verdicts

    files = [answers_file(run) for run in runs]
    names = names_of_runs(files)
    if len(set(names)) < max(len(names), 2):
        raise ConfigError(f"RUNS are {', '.join(names)}: give two or more different runs.")
    lines = compare_runs({name: read_verdicts(file, rule) for name, file in zip(names, files, strict=True)})
    make_folder("--out", out)
    typer.echo(markdown(table(lines)))
    write_tables(lines, out)
    typer.echo(f"Wrote {out}")

# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The commands ``verl-mapo bench run`` and ``verl-mapo bench suite``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from verl_mapo.command_options import Timeout, Verbose
from verl_mapo.server_options import Concurrency, Key, Retries, Server, ServerModel, TimeoutS

Names = Annotated[
    list[str] | None,
    typer.Argument(
        help="Folders of 'bench prepare', or names of prepared benchmarks; SETTING=VALUE is an override of the run."
    ),
]
Out = Annotated[Path, typer.Option(help="Folder of the passes and of summary.md; the same command goes on in it.")]
Model = Annotated[
    str | None,
    typer.Option(help="Folder or hub name of the model; with --server, of the tokenizer and processor that count."),
]
Run = Annotated[
    Path | None, typer.Option(help="Folder of a run, whose last checkpoint is loaded, or one of its global_step_N.")
]
Protocol = Annotated[
    Literal["direct", "tools", "both"] | None,
    typer.Option(help="Without tools, with them, or both.", show_default="both, or the suite's"),
]
K = Annotated[int | None, typer.Option("--k", help="Samples of each question.", show_default="1, or the suite's")]
Temperature = Annotated[
    float | None, typer.Option(help="Of the samples.", show_default="0 for one sample, 1 for several, or the suite's")
]
TopP = Annotated[float, typer.Option(help="Share of the probability that is sampled from.")]
Seed = Annotated[int, typer.Option(help="Of the samples; a run that goes on draws the same ones.")]
Batch = Annotated[int, typer.Option(help="Questions that are recorded together; an interruption costs one batch.")]
Greedy = Annotated[bool, typer.Option("--greedy", help="Add a greedy pass to the sampled ones.")]
SuiteName = Annotated[str | None, typer.Option("--suite", help="Sets and protocol of a paper, see 'bench suite'.")]
Folder = Annotated[Path, typer.Option(help="Where benchmarks are prepared, each in a folder with its name.")]
Source = Annotated[str | None, typer.Option(help="Official files of the one benchmark that is not prepared yet.")]
Config = Annotated[str | None, typer.Option(help="A primary configuration in verl_mapo.config.", show_default="bench")]
Recipe = Annotated[Path | None, typer.Option(help="The primary configuration: the recipe of the model's training.")]


def run(
    ctx: typer.Context,
    out: Out,
    given: Names = None,
    model: Model = None,
    run: Run = None,
    protocol: Protocol = None,
    k: K = None,
    temperature: Temperature = None,
    top_p: TopP = 1.0,
    seed: Seed = 0,
    batch: Batch = 64,
    greedy: Greedy = False,
    suite: SuiteName = None,
    folder: Folder = Path("benchmarks"),
    source: Source = None,
    server: Server = None,
    server_model: ServerModel = None,
    api_key_env: Key = None,
    concurrency: Concurrency = 16,
    timeout_s: TimeoutS = 300.0,
    retries: Retries = 2,
    config: Config = None,
    recipe: Recipe = None,
    timeout_h: Timeout = None,
    verbose: Verbose = False,
) -> None:
    """Answer benchmarks with a model, and judge the replies by our rules and by the official ones.

    verl's validation runs the loop of training: verl-mapo bench run vstar --model MODEL --out bench/base

    With --server, a model on a server answers in the chat form of the same loop.

    The same command goes on with what is missing. Replies that are lost are counted by the reason and tried again.
    """
    from verl_mapo.evaluation.command import run_command

    raise typer.Exit(run_command(out, given or [], ctx.params))


def suite(
    name: Annotated[str | None, typer.Argument(help="A suite.", show_default="list them")] = None,
) -> None:
    """Show which sets a paper reports, under which protocol, the published rows, and the command that runs them."""
    from verl_mapo.evaluation import suites
    from verl_mapo.evaluation.command import frame_table

    console = Console(highlight=False)
    for each in [name] if name else suites.suite_names():
        found = suites.suite(each)
        console.print(f"[bold]{each}[/]: {', '.join(found.benchmarks)}")
        if name is None:
            continue
        console.print(found.about)
        if found.not_built_in:
            console.print(f"Not among the sets of this package: {', '.join(found.not_built_in)}")
        console.print(f"{found.k} samples at temperature {found.temperature:g}; {' and '.join(found.protocols)}")
        console.print(*found.overrides, sep="\n", markup=False)
        if found.reference:
            console.print(frame_table(found.table(), "Published, in percent"))
    chosen = name or "NAME"
    console.print(f"verl-mapo bench run --suite {chosen} --model MODEL --out bench/{chosen}", markup=False)

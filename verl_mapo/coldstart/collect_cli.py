# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The command ``verl-mapo collect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from verl_mapo.command_options import Config, Overrides, Recipe, Timeout, Verbose
from verl_mapo.run_command import primary
from verl_mapo.server_options import Concurrency, Key, Retries, Server, ServerModel, TimeoutS

Out = Annotated[Path, typer.Option(help="Folder for train.parquet, collection.json and left_out.jsonl.")]
Run = Annotated[Path | None, typer.Option(help="Folder for new rollouts; one that holds all of them is only read.")]
Earlier = Annotated[
    list[Path] | None, typer.Option("--from", help="Folder of an earlier run to read, too; repeatable.")
]
Count = Annotated[int, typer.Option("--n", help="New rollouts of each question.", min=1)]
Temperature = Annotated[float, typer.Option(help="Of new rollouts; 0 is greedy.", min=0)]
MinOutcome = Annotated[float, typer.Option(help="Smallest outcome of a rollout.")]
MinCalls = Annotated[int, typer.Option(help="Smallest number of tool calls.", min=0)]
MaxCalls = Annotated[int | None, typer.Option(help="Largest number of tool calls.", show_default="any")]
Unfinished = Annotated[bool, typer.Option("--unfinished", help="Keep rollouts that did not end with an answer.")]
FaultyCalls = Annotated[bool, typer.Option("--faulty-calls", help="Keep refused and oddly spelled calls.")]
Unlabelled = Annotated[bool, typer.Option("--unlabelled", help="Keep calls without label or description.")]
MinAlignment = Annotated[float | None, typer.Option(help="Smallest alignment of every call.", show_default="any")]
MinIou = Annotated[float | None, typer.Option(help="Smallest IoU of a call with a true box, where there are any.")]
MaxTokens = Annotated[int | None, typer.Option(help="Longest response in tokens.", show_default="any")]
PerQuestion = Annotated[int, typer.Option(help="Most rollouts of a question; 0 for any number.", min=0)]
ToolShare = Annotated[float | None, typer.Option(help="Share of the rows that call a tool.", show_default="as it is")]
Seed = Annotated[int, typer.Option(help="Decides which rollouts of a question, and of a kind, are taken.")]


def collect(
    ctx: typer.Context,
    out: Out,
    overrides: Overrides = None,
    run: Run = None,
    earlier: Earlier = None,
    n: Count = 4,
    temperature: Temperature = 1.0,
    server: Server = None,
    model: ServerModel = None,
    api_key_env: Key = None,
    concurrency: Concurrency = 16,
    timeout_s: TimeoutS = 300.0,
    retries: Retries = 2,
    min_outcome: MinOutcome = 1.0,
    min_calls: MinCalls = 0,
    max_calls: MaxCalls = None,
    unfinished: Unfinished = False,
    faulty_calls: FaultyCalls = False,
    unlabelled: Unlabelled = False,
    min_alignment: MinAlignment = None,
    min_iou: MinIou = None,
    max_tokens: MaxTokens = None,
    per_question: PerQuestion = 1,
    tool_share: ToolShare = None,
    seed: Seed = 0,
    config: Config = None,
    recipe: Recipe = None,
    timeout_h: Timeout = None,
    verbose: Verbose = False,
) -> None:
    """Make rows for verl-mapo sft: roll out data.train_files with a model, and keep what is worth imitating.

    The model is that of the run, on its own vLLM; with --server it is one on a server. --from adds recorded rollouts.

    The rows are those of the data with a column turns. What each filter removed is printed and written down.

    After an interruption, the same command makes the rollouts that are missing.
    """
    from verl_mapo.coldstart.collect_command import run_collect

    runs = earlier or []
    raise typer.Exit(
        run_collect(out, run, runs, ctx.params, primary(config, recipe), overrides or [], timeout_h, verbose)
    )

# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The command ``verl-mapo lens``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from verl_mapo.command_options import Config, Overrides, Recipe, Timeout, Verbose
from verl_mapo.run_command import primary

if TYPE_CHECKING:
    from verl_mapo.lens.command import Measured
    from verl_mapo.lens.comparison import Comparison, Figure
    from verl_mapo.lens.estimators import Estimator
    from verl_mapo.lens.steps import Steps

console = Console()


def lens(
    run: Annotated[Path, typer.Option(help="Folder of the run; one that holds gradients is only measured again.")],
    overrides: Overrides = None,
    questions: Annotated[int, typer.Option(help="Questions to roll out.", min=4)] = 96,
    rollouts: Annotated[int, typer.Option(help="Rollouts of each question.", min=2)] = 32,
    batch: Annotated[
        int,
        typer.Option(
            help="Questions of a batch that is measured; with method=axpo, of a step that is collected.", min=1
        ),
    ] = 8,
    group: Annotated[int, typer.Option(help="Rollouts of each question of such a batch.", min=2)] = 8,
    draws: Annotated[int, typer.Option(help="Draws of the bootstrap over questions.", min=1)] = 200,
    seed: Annotated[int, typer.Option(help="Seed of batches, bootstrap and placebos.", min=0, max=2**32)] = 0,
    config: Config = None,
    recipe: Recipe = None,
    timeout_h: Timeout = None,
    verbose: Verbose = False,
) -> None:
    """Measure, before any training, how well the update of each estimator points (docs/lens.md).

    The command takes the overrides of the planned training, rolls out questions with the policy as it is, takes the
    gradient of each rollout once, and compares GRPO, its relatives, MAPO and placebos on the same gradients: cosine
    with the gradient of accuracy, signal-to-noise ratio, and how many rollouts of GRPO one rollout is worth.
    """
    from verl_mapo.lens.command import collect, is_collected, measure
    from verl_mapo.lens.comparison import Plan
    from verl_mapo.report.lens_page import write_page

    plan = Plan(questions=batch, rollouts=group, draws=draws, seed=seed)
    if is_collected(run):
        typer.echo(f"{run} already holds gradients. They are measured and nothing is launched.")
    else:
        plan.check(questions, rollouts)
        arguments = run, primary(config, recipe), overrides or [], questions, rollouts, batch, timeout_h, verbose
        if code := collect(*arguments):
            raise typer.Exit(code)
    measured = measure(run, plan, estimators(), overrides or [])
    console.print(lens_table(measured))
    if measured.steps is not None:
        console.print(step_table(measured.steps))
    for note in measured.notes:
        typer.echo(note)
    typer.echo(f"Wrote {write_page(measured, run)}")


def estimators() -> list[Estimator]:
    """The rows of the table: GRPO and its relatives, MAPO, and the methods that bring rows of their own."""
    from verl_mapo.lens.estimators import table
    from verl_mapo.training.methods import METHODS, relatives

    return [*table((0.2, 0.4, 1.0)), *(row for method in (*METHODS, *relatives()) for row in method.lens_rows())]


def lens_table(measured: Measured) -> Table:
    """The table of the console: what a batch's gradient is worth under each estimator."""
    plan = measured.plan
    return _table(f"Batches of {plan.questions} questions with {plan.rollouts} rollouts each", measured.table, {})


def step_table(steps: Steps) -> Table:
    """The table of the console on whole steps."""
    title = f"{steps.number} whole steps of {steps.questions} questions with {steps.rollouts} rollouts each"
    more = {
        "worth of a step": lambda row: with_interval(row.step_worth, 2),
        "rollouts of a step": lambda row: f"{row.rollouts:.1f}",
    }
    return _table(f"{title}, and {steps.continuations} continuations", steps.table, more)


def _table(title: str, rows: Sequence[Comparison], more: dict[str, Callable[[Any], str]]) -> Table:
    """Rows of estimators; ``more`` are further columns, by name what they show of a row."""
    shown = Table("", title=title, title_justify="left")
    for name in ("cosine", "gain over the first row", "SNR", "worth, rollouts of the first row", *more):
        shown.add_column(name, justify="right")
    for row in rows:
        shown.add_row(
            row.name,
            with_interval(row.cosine),
            with_interval(row.gain, sign=True),
            figure_or_dash(row.snr.value, ".2f"),
            with_interval(row.worth, 2),
            *(show(row) for show in more.values()),
        )
    return shown


def with_interval(figure: Figure, digits: int = 3, sign: bool = False) -> str:
    """A figure and its interval."""
    form = f"{'+' if sign else ''}.{digits}f"
    value, low, high = (figure_or_dash(each, form) for each in figure)
    return f"{value} ({low} to {high})"


def figure_or_dash(value: float, form: str) -> str:
    """A figure in a format, or a dash where there are too few rollouts to tell it."""
    return "–" if math.isnan(value) else f"{value:{form}}"

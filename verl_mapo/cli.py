# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The ``verl-mapo`` command: doctor, toy, data, bench, collect, sft, lens, probe, rehearse, train, eval, report."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from verl_mapo import names
from verl_mapo.bench_command import bench
from verl_mapo.coldstart.cli import sft
from verl_mapo.coldstart.collect_cli import collect
from verl_mapo.command_group import ConfigErrorGroup
from verl_mapo.command_options import Config, Overrides, Recipe, Timeout, Verbose
from verl_mapo.data_command import data
from verl_mapo.lens_command import lens
from verl_mapo.overrides import check_data_path, in_shell, path_override
from verl_mapo.run_command import launch_run, primary
from verl_mapo.run_folder import RunFolder
from verl_mapo.settings import parse_options

if TYPE_CHECKING:
    from verl_mapo.planning.run import Line
    from verl_mapo.report.recovery import Rate, Recovery

app = typer.Typer(
    cls=ConfigErrorGroup,
    help="Train vision-language models that use visual tools, with MAPO, AXPO and VGPO on stock verl.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(bench, name="bench")
app.add_typer(data, name="data")
app.command(context_settings={"ignore_unknown_options": True})(collect)
app.command(context_settings={"ignore_unknown_options": True})(sft)
app.command(context_settings={"ignore_unknown_options": True})(lens)
console = Console()

Run = Annotated[Path, typer.Option(help="Folder of the run: metrics, rollouts, checkpoints, log.")]


@app.command(context_settings={"ignore_unknown_options": True})
def doctor(
    overrides: Overrides = None,
    ray: Annotated[bool, typer.Option(help="Also check in a new ray actor, or on every node of a cluster.")] = True,
    path: Annotated[
        list[str] | None,
        typer.Option(help="A file or folder that every node must read: the model, the data, a folder of images."),
    ] = None,
    recipe: Recipe = None,
    data: Annotated[Path | None, typer.Option(help="Training data of the recipe's plan, a file.")] = None,
    settings: Annotated[
        bool, typer.Option("--settings", help="Only list the settings that would have no effect in a run.")
    ] = False,
    gpu_memory: Annotated[
        float | None, typer.Option(help="GB of a GPU, to plan for another machine, for example 80.", min=1)
    ] = None,
    host_memory: Annotated[
        float | None, typer.Option(help="GB of host memory of a node, to plan for another machine.", min=1)
    ] = None,
) -> None:
    """Check that verl finds this package, in this process and inside a ray actor, and what this machine can run.

    In a Ray cluster, every node is checked, compared with this one, and asked for each --path.

    The exit code is 1 if a run would fail.

    With --recipe, it prints instead what the run needs of GPUs, hosts and disk, what there is, what would not fit, and
    which settings and rows verl-mapo train would refuse on this machine.
    """
    from verl_mapo import doctor_tables as tables

    if settings:
        console.print(tables.dead_settings_table())
        raise typer.Exit()
    if recipe is not None:
        if path:
            raise typer.BadParameter("--path belongs to the checks of nodes, which --recipe replaces by a plan.")
        primary(None, recipe)
        lines = _plan(recipe, overrides or [], data, gpu_memory, host_memory)
        console.print(tables.plan_table(lines), *tables.plan_words(lines), sep="\n")
        raise typer.Exit(any(line.level == "fails" for line in lines))
    if overrides or data or gpu_memory or host_memory:
        raise typer.BadParameter("overrides, --data, --gpu-memory and --host-memory belong to a plan: add --recipe.")
    from verl_mapo.doctor import examine, quiet, versions
    from verl_mapo.machine import Machine, facts
    from verl_mapo.nodes import cluster_address, examine_nodes
    from verl_mapo.nodes import faults as faults_of_nodes

    cluster = cluster_address() if ray else None
    with quiet() as printed:
        findings, about = examine(ray and cluster is None), facts(Machine.found())
        nodes = examine_nodes(cluster, path or ())
    console.print(tables.versions_table(versions()))
    console.print(tables.machine_table(about))
    console.print(tables.checks_table(findings))
    if nodes:
        console.print(tables.nodes_table(nodes))
    fails = [f"{fact.what}: {fact.words}" for fact in about if fact.level == "fails"]
    fails += faults_of_nodes(nodes, [fact.words for fact in about])
    faults = [f"{finding.where}, {finding.what}: {finding.fault}" for finding in findings if finding.fault]
    if faults:
        console.print("What other packages printed during the checks:", *printed, sep="\n", style="dim", markup=False)
    else:
        console.print("[green]verl finds everything that this package adds.")
    for fault in (*faults, *fails):
        console.print(fault, style="red", markup=False)
    if faults or fails:
        raise typer.Exit(1)


@app.command()
def toy(
    out: Annotated[Path, typer.Option(help="Folder for images, parquet files and models; complete parts are kept.")],
    family: Annotated[Literal["qwen2_5_vl", "qwen3_vl"], typer.Option(help="Model family.")] = "qwen2_5_vl",
    size: Annotated[
        Literal["smoke", "full"], typer.Option(help="smoke: made in under a minute; full: a model worth training.")
    ] = "full",
    letters: Annotated[int, typer.Option(help="Number of different letters; with 2, guesses are often correct.")] = 10,
    shared_letters: Annotated[bool, typer.Option(help="Let several objects have the same letter.")] = False,
    no_zoom_share: Annotated[float, typer.Option(help="Share of questions that need no zoom.")] = 0.0,
    background: Annotated[Literal["gradient", "photos"], typer.Option(help="Background of the scenes.")] = "gradient",
    tool_rate: Annotated[
        float | None,
        typer.Option(
            help="Share of demonstrations that call the tool. The model's rollouts call about as often.",
            min=0,
            max=1,
            show_default="1 for questions that need a zoom, 0.5 for the others",
        ),
    ] = None,
    tool_accuracy: Annotated[
        float,
        typer.Option(
            help="Share of demonstrated zooms that show the target. The model's own show it less often.", min=0, max=1
        ),
    ] = 0.7,
    seed: Annotated[int, typer.Option(help="Seed of the data and of all weights.")] = 0,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train the models, for about eight minutes, even if they are shipped.")
    ] = False,
) -> None:
    """Make the toy: a synthetic visual search task, a tiny warm-started model, and a tiny CLIP.

    The models of the default settings ship with the package. Other settings train other models, in minutes.

    The command prints the overrides with which a run uses the toy:
    verl-mapo train --run RUN task=toy $(verl-mapo toy --out TOY)

    They are quoted for a shell where the folder's name needs it; then paste them instead.

    For AXPO, use --tool-rate 0.3 --tool-accuracy 0.5: its paper reports that 0.3 of the rollouts call the tool.

    verl-mapo probe then estimates whether AXPO can recover anything. If the rates change, only the model is made again.
    """
    from verl_mapo.toy.dialogue import DemonstrationRates
    from verl_mapo.toy.prepare import prepare
    from verl_mapo.toy.visual_search import VisualSearch

    settings = {"letters": letters, "shared_letters": shared_letters, "no_zoom_share": no_zoom_share}
    task = parse_options(VisualSearch, settings | {"background": background})
    check_data_path("--out", out.resolve())
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    rates = {} if tool_rate is None else {"p_call": tool_rate, "p_call_optional": tool_rate}
    demonstrations = DemonstrationRates(p_right=tool_accuracy, **rates)
    made = prepare(
        out.resolve(),
        family=family,
        size=size,
        task=task,
        seed=seed,
        demonstrations=demonstrations,
        retrain=retrain,
    )
    paths = {names.TRAIN_FILES: made.train, names.VAL_FILES: made.test, names.MODEL_PATH: made.model}
    for setting, path in (paths | {"reward.description_alignment.scorer.model": made.clip}).items():
        typer.echo(in_shell(path_override(setting, path)))


@app.command(context_settings={"ignore_unknown_options": True})
def probe(
    run: Run,
    overrides: Overrides = None,
    steps: Annotated[
        int, typer.Option(help="Steps of rollouts, each with data.train_batch_size questions.", min=1)
    ] = 4,
    config: Config = None,
    recipe: Recipe = None,
    timeout_h: Timeout = None,
    verbose: Verbose = False,
) -> None:
    """Estimate, before any training, whether AXPO will have anything to recover.

    The command takes the overrides of the planned training and makes rollouts with AXPO, with a learning rate of 0.

    If the folder already holds rollouts, they are only read.
    """
    from verl_mapo.report.load import RunData
    from verl_mapo.report.recovery import REFERENCE, recovery_of

    if RunFolder(run).rollouts("train"):
        typer.echo(
            f"{run} already holds rollouts. They are read and nothing is launched; use a new folder for a new probe."
        )
    else:
        fixed = ["method=axpo", "actor_rollout_ref.actor.optim.lr=0", f"trainer.total_training_steps={steps}"]
        fixed += ["trainer.val_before_train=false", "trainer.test_freq=-1", "trainer.save_freq=-1", "records.share=1"]
        if code := launch_run(run, primary(config, recipe), [*(overrides or []), *fixed], timeout_h, verbose):
            raise typer.Exit(code)
    found = recovery_of(RunData.open(run))
    console.print(_recovery_table(found))
    console.print(f"[bold]Will AXPO have anything to recover?[/] {found.verdict}", highlight=False)
    if found.recovered.total:
        console.print(REFERENCE, style="dim", highlight=False)


@app.command(context_settings={"ignore_unknown_options": True})
def rehearse(
    recipe: Annotated[Path, typer.Option(help="The yaml file to rehearse, such as one of recipes/.")],
    overrides: Overrides = None,
    data: Annotated[
        Path | None, typer.Option(help="Your rows, of which the first are used.", show_default="generated")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="A new folder for the run.", show_default="one below rehearsals")
    ] = None,
    timeout_h: Timeout = None,
    verbose: Verbose = False,
) -> None:
    """Run a recipe on this machine's CPU for two steps and, from their checkpoint, a third, with a tiny model.

    Checks, workers, rewards, loggers, validation and checkpoints are the recipe's own. What is changed is printed with
    the reason; at the end, a table tells what was rehearsed and what was not. The exit code is 1 if a part failed.
    """
    from verl_mapo.rehearsal.command import rehearse as rehearse_recipe

    raise typer.Exit(rehearse_recipe(recipe, run, data, overrides or [], timeout_h, verbose))


@app.command(context_settings={"ignore_unknown_options": True})
def train(
    run: Run,
    overrides: Overrides = None,
    config: Config = None,
    recipe: Recipe = None,
    timeout_h: Timeout = None,
    verbose: Verbose = False,
) -> None:
    """Run verl's trainer and watch it: if a worker dies, the run is stopped and the worker is named.

    method=mapo (axpo, vgpo, hdpo, naar, dtpo, pepo, gdpo, vppo, srpo, papo, pgpo) selects the method; --recipe PATH
    takes all of it from a yaml file.

    Settings, data and tokenizer are checked before Ray starts. An interrupted run continues from its last checkpoint.

    On a machine without an accelerator, stack=cpu is added.
    """
    raise typer.Exit(launch_run(run, primary(config, recipe), overrides or [], timeout_h, verbose))


@app.command("eval", context_settings={"ignore_unknown_options": True})
def evaluate(
    run: Run,
    overrides: Overrides = None,
    config: Config = None,
    recipe: Recipe = None,
    timeout_h: Timeout = None,
    verbose: Verbose = False,
) -> None:
    """Evaluate the run's last checkpoint (or the model if there is none) on data.val_files, without training."""
    # verl opens the training data even where it does not train, and obeys val_only only where it validates first.
    arguments = [f"{names.TRAIN_FILES}=${{{names.VAL_FILES}}}", *(overrides or [])]
    arguments += ["trainer.val_only=true", "trainer.val_before_train=true"]
    raise typer.Exit(launch_run(run, primary(config, recipe), arguments, timeout_h, verbose))


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", exists=True, file_okay=False)],
    out: Annotated[Path | None, typer.Option(help="Folder to write to.", show_default="the folder of the run")] = None,
    samples: Annotated[int, typer.Option(help="Number of rollouts to show.")] = 12,
) -> None:
    """Write report.html and curves.png: alarms, learning curves, and trajectories with their images."""
    from verl_mapo.report.build import build_report

    files = build_report(run, out, samples=samples)
    typer.echo(f"Wrote {files.html} and {files.curves}")


def _plan(
    recipe: Path, overrides: list[str], data: Path | None, gpu_memory: float | None, host_memory: float | None
) -> list[Line]:
    """The lines of a plan; the arguments are those of ``planned_run``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # verl warns of each of its engines that is not installed
        from verl_mapo.planning.make import planned_run
        from verl_mapo.planning.plan import plan_lines
        from verl_mapo.planning.start import start_lines

        run = planned_run(recipe, overrides, data, gpu_memory, host_memory)
        return [*plan_lines(run), *start_lines(run.config)]


def _recovery_table(found: Recovery) -> Table:
    table = Table("", title=f"Rollouts of {found.steps} step{'s' * (found.steps != 1)}", title_justify="left")
    for title in ("count", "of", "share", "95 % interval"):
        table.add_column(title, justify="right")

    def row(title: str, rate: Rate, interval: bool = False) -> None:
        share = "–" if rate.share is None else f"{rate.share:.1%}"
        ends = " to ".join(f"{end:.1%}" for end in rate.interval) if interval and rate.total else ""
        table.add_row(title, str(rate.hits), str(rate.total), share, ends)

    row("rollouts that called a tool", found.users)
    row("  of these, correct", found.correct)
    row("groups with tool users", found.groups)
    row("  of these, triggered: all tool users wrong", found.triggered, interval=True)
    if found.expected is not None:
        table.add_row("  expected if rollouts were independent", "", "", f"{found.expected:.1%}", "")
    table.add_section()
    if found.slots is not None:
        row("slots used, of those in the budget", found.slots)
    row("prefixes recovered, of those resampled", found.recovered, interval=True)
    row("groups recovered, of those triggered", found.recovered_groups, interval=True)
    return table


if __name__ == "__main__":
    app()

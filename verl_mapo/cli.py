# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The ``verl-mapo`` command: doctor, data, probe, train, eval, report."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from verl_mapo.settings import ConfigError, parse_node

if TYPE_CHECKING:
    from verl_mapo.report.recovery import Rate, Recovery


class ConfigErrorGroup(TyperGroup):
    """Commands whose settings, set wrong, end them with the sentence and without a traceback."""

    def invoke(self, ctx: typer.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            raise typer.BadParameter(str(error), ctx) from None


app = typer.Typer(
    cls=ConfigErrorGroup,
    help="MAPO, AXPO and VGPO for stock verl: vision-language models that think with images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()

Run = Annotated[Path, typer.Option(help="Folder of the run: metrics, trajectories, checkpoints, log.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Hydra overrides, as for verl's main_ppo.")]
Config = Annotated[str, typer.Option(help="Name of a configuration in verl_mapo.config.")]
Verbose = Annotated[bool, typer.Option(help="Show everything verl writes, and not a line a step.")]
Timeout = Annotated[float, typer.Option(help="Hours after which the run is ended.")]


@app.command()
def doctor(
    ray: Annotated[bool, typer.Option(help="Look inside a fresh ray actor too.")] = True,
) -> None:
    """Show whether verl sees this package, here and inside a ray actor; exit 1 with a sentence if not."""
    from verl_mapo.doctor import examine, missing_symbols, versions

    table = Table("package", "found", "tested", title="Versions")
    for name, found, tested in versions():
        mark = "green" if found.split("+")[0] in tested else "yellow"
        table.add_row(name, f"[{mark}]{found or 'not installed'}", ", ".join(tested))
    console.print(table)
    findings = examine(ray)
    table = Table("where", "what", "", title="Registered")
    for finding in findings:
        table.add_row(finding.where, finding.what, "[red]missing" if finding.fault else "[green]ok")
    console.print(table)
    faults = [f"{finding.where}, {finding.what}: {finding.fault}" for finding in findings if finding.fault]
    faults += [f"verl no longer has {symbol}: use a tested version of verl." for symbol in missing_symbols()]
    for fault in faults:
        console.print(f"[red]{fault}")
    if faults:
        raise typer.Exit(1)
    console.print("[green]verl knows everything this package adds.")


@app.command()
def toy(
    out: Annotated[Path, typer.Option(help="Folder for pictures, parquet files and models; what is there is kept.")],
    family: Annotated[Literal["qwen2_5_vl", "qwen3_vl"], typer.Option(help="Model family.")] = "qwen2_5_vl",
    size: Annotated[Literal["smoke", "full"], typer.Option(help="smoke: seconds; full: one that learns.")] = "full",
    letters: Annotated[int, typer.Option(help="Different letters; with 2 a blind answer is often right.")] = 10,
    shared_letters: Annotated[bool, typer.Option(help="Several objects may carry one letter.")] = False,
    no_zoom_share: Annotated[float, typer.Option(help="Share of questions that need no zoom.")] = 0.0,
    background: Annotated[Literal["gradient", "photos"], typer.Option(help="What the objects lie on.")] = "gradient",
    tool_rate: Annotated[
        float | None,
        typer.Option(
            help="Share of demonstrations that zoom, and so of the model's rollouts; AXPO's paper saw 0.3.",
            min=0,
            max=1,
            show_default="all that need it, half of the others",
        ),
    ] = None,
    tool_accuracy: Annotated[
        float,
        typer.Option(
            help="Share of demonstrated zooms at the right place; the model's own are right less often.", min=0, max=1
        ),
    ] = 0.7,
    seed: Annotated[int, typer.Option(help="Of the data and of every weight.")] = 0,
) -> None:
    """Make the toy: synthetic visual search, a tiny warm-started model, a tiny CLIP.

    Prints the overrides that make a run use it: verl-mapo train --run RUN task=toy $(verl-mapo toy --out TOY)

    A warm start for AXPO, whose paper saw 0.3 of rollouts call, mostly wrongly: --tool-rate 0.3 --tool-accuracy 0.5.

    Then verl-mapo probe says what came of it. Only the model is made anew for other rates; all else is shared.
    """
    from verl_mapo.toy.dialogue import Demonstrations
    from verl_mapo.toy.prepare import prepare
    from verl_mapo.toy.visual_search import VisualSearch

    dials = {"letters": letters, "shared_letters": shared_letters, "no_zoom_share": no_zoom_share}
    task = parse_node(VisualSearch, dials | {"background": background}, "verl-mapo toy")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    rates = {} if tool_rate is None else {"p_call": tool_rate, "p_call_optional": tool_rate}
    shown = Demonstrations(p_right=tool_accuracy, **rates)
    made = prepare(out.resolve(), family=family, size=size, task=task, seed=seed, demonstrations=shown)
    typer.echo(f"data.train_files={made.train}")
    typer.echo(f"data.val_files={made.test}")
    typer.echo(f"actor_rollout_ref.model.path={made.model}")
    typer.echo(f"reward.description_alignment.scorer.model={made.clip}")


@app.command(context_settings={"ignore_unknown_options": True})
def probe(
    run: Run,
    overrides: Overrides = None,
    steps: Annotated[int, typer.Option(help="Steps of rollouts, each of data.train_batch_size questions.", min=1)] = 4,
    config: Config = "mapo",
    timeout_h: Timeout = 24.0,
    verbose: Verbose = False,
) -> None:
    """Before any training: will AXPO have anything to recover here?

    Takes the overrides of the training that is planned, rolls out with AXPO and trains nothing.

    A run that has rollouts already is only read.
    """
    from verl_mapo.report.load import Run as Opened
    from verl_mapo.report.recovery import REFERENCE, recovery_of

    if any((run / "trajectories" / "train").glob("*.jsonl")):
        console.print(
            f"{run} has rollouts already: they are read, nothing is launched. A new probe takes a new folder."
        )
    else:
        idle = ["method=axpo", "actor_rollout_ref.actor.optim.lr=0", f"trainer.total_training_steps={steps}"]
        idle += ["trainer.val_before_train=false", "trainer.test_freq=-1", "trainer.save_freq=-1"]
        if code := _launch(run, config, [*(overrides or []), *idle], timeout_h, verbose):
            raise typer.Exit(code)
    found = recovery_of(Opened.open(run))
    console.print(_recovery_table(found))
    console.print(f"[bold]Will AXPO have anything to recover here?[/] {found.verdict}", highlight=False)
    if found.recovered.total:
        console.print(REFERENCE, style="dim", highlight=False)


@app.command(context_settings={"ignore_unknown_options": True})
def train(
    run: Run,
    overrides: Overrides = None,
    config: Config = "mapo",
    timeout_h: Timeout = 24.0,
    verbose: Verbose = False,
) -> None:
    """Run verl's trainer with a configuration of this package; when a worker dies it ends with a sentence.

    A run that was cut goes on from its last checkpoint. On a machine without accelerator the CPU stack is chosen.
    """
    raise typer.Exit(_launch(run, config, overrides or [], timeout_h, verbose))


@app.command("eval", context_settings={"ignore_unknown_options": True})
def evaluate(
    run: Run,
    overrides: Overrides = None,
    config: Config = "mapo",
    timeout_h: Timeout = 24.0,
    verbose: Verbose = False,
) -> None:
    """Validate only: the model, or the last checkpoint of the run, on data.val_files."""
    raise typer.Exit(_launch(run, config, ["trainer.val_only=true", *(overrides or [])], timeout_h, verbose))


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", exists=True, file_okay=False)],
    out: Annotated[Path | None, typer.Option(help="Folder of the report; the run's own by default.")] = None,
    samples: Annotated[int, typer.Option(help="Trajectories to show.")] = 12,
) -> None:
    """Write report.html and curves.png: what happened, to look at."""
    from verl_mapo.report.build import build_report

    files = build_report(run, out, samples=samples)
    console.print(f"Wrote {files.html} and {files.curves}")


def _recovery_table(found: Recovery) -> Table:
    table = Table("", title=f"Rollouts of {found.steps} step{'s' * (found.steps != 1)}", title_justify="left")
    for title in ("count", "of", "share", "95 % interval"):
        table.add_column(title, justify="right")

    def row(title: str, rate: Rate, interval: bool = False) -> None:
        share = "–" if rate.share is None else f"{rate.share:.1%}"
        ends = " to ".join(f"{end:.1%}" for end in rate.interval) if interval and rate.total else ""
        table.add_row(title, str(rate.hits), str(rate.total), share, ends)

    row("rollouts that called a tool", found.users)
    row("  of these, right", found.right)
    row("groups with tool users", found.groups)
    row("  of these, triggered: all tool users wrong", found.triggered, interval=True)
    if found.expected is not None:
        table.add_row("  expected, were rollouts independent", "", "", f"{found.expected:.1%}", "")
    table.add_section()
    if found.slots is not None:
        row("slots used, of those the budget offers", found.slots)
    row("prefixes recovered, of those resampled", found.recovered, interval=True)
    row("groups recovered, of those triggered", found.recovered_groups, interval=True)
    return table


def _launch(run: Path, config: str, overrides: list[str], timeout_h: float, verbose: bool) -> int:
    import torch

    from verl_mapo.launcher import launch
    from verl_mapo.platforms import cpu
    from verl_mapo.report.progress import Progress

    run = run.resolve()
    (run / "metrics").mkdir(parents=True, exist_ok=True)
    attempt = len(list((run / "metrics").glob("*.jsonl")))
    environment = {**os.environ, "VERL_FILE_LOGGER_PATH": str(run / "metrics" / f"{attempt:03d}.jsonl")}
    arguments = ["--config-path", "pkg://verl_mapo.config", "--config-name", config]
    arguments += [
        f"hydra.run.dir={run}/hydra",
        f"trainer.rollout_data_dir={run}/trajectories",
        f"trainer.default_local_dir={run}/checkpoints",
        "trainer.logger=[console,file]",
    ]
    if not torch.cuda.is_available():
        environment = {**cpu.environment(), **environment}
        arguments.append("stack=cpu")
    arguments += overrides
    about = {
        "command": " ".join(sys.argv),
        "arguments": arguments,
        "started": time.strftime("%Y-%m-%d %H:%M:%S"),
        "versions": {name: metadata.version(name) for name in ("verl-mapo", "verl", "torch", "transformers")},
    }
    (run / "run.json").write_text(json.dumps(about, indent=1))
    # The last one counts, as hydra has it.
    steps = next(
        (value.split("=")[1] for value in reversed(overrides) if value.startswith("trainer.total_training_steps=")),
        None,
    )
    progress = Progress(typer.echo, int(steps) if steps else None)
    echo = None if verbose else progress
    code = launch(arguments, timeout_s=timeout_h * 3600, env=environment, log=run / "train.log", echo=echo)
    if code and not verbose:
        typer.echo(f"{progress.explain()}\nThe run ended with code {code}; its whole output is in {run / 'train.log'}.")
    return code


if __name__ == "__main__":
    app()

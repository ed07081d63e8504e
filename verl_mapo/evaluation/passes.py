# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""One pass of a model over the questions of benchmark files: with or without tools, k samples of each question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Literal

import pyarrow.parquet as pq
from pydantic import Field, PositiveInt
from pydantic.dataclasses import dataclass

from verl_mapo import names
from verl_mapo.overrides import check_data_path, path_override, quoted
from verl_mapo.planning.compose import composed
from verl_mapo.rewards.answers import JUDGE
from verl_mapo.run_command import primary_file
from verl_mapo.run_folder import RunFolder
from verl_mapo.server_run import ServerRun, ServerSettings, made
from verl_mapo.settings import STRICT, ConfigError, select
from verl_mapo.validation_run import ValidationRun, sampling_overrides

Protocol = Literal["direct", "tools"]

_TOOLS = f"{names.VISUAL_TOOL_NODE}.tools"


@dataclass(frozen=True, config=STRICT)
class PassSettings:
    """How the questions are asked.

    Attributes:
        protocol: ``tools`` runs the loop of training. ``direct`` declares no tool and allows one turn
            (``visual_tool.tools=[]``), whose text is the answer.
        k: number of samples of a question. A folder may get more of them later.
        temperature: None for 0 with one sample, greedy, and for 1 with several.
        top_p: share of the probability that is sampled from.
        seed: ``visual_tool.seed``, which makes a resumed pass sample what an uninterrupted one does.
        batch: number of questions that are rolled out, and recorded, together; what a kill may cost. A server records
            every rollout by itself.
    """

    protocol: Protocol = "tools"
    k: PositiveInt = 1
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: Annotated[int, Field(ge=0)] = 0
    batch: PositiveInt = 64

    @property
    def heat(self) -> float:
        """The temperature that is used."""
        return (0.0 if self.k == 1 else 1.0) if self.temperature is None else self.temperature


def run_pass(
    files: Sequence[Path],
    out: Path,
    settings: PassSettings,
    config: list[str],
    overrides: Sequence[str] = (),
    server: ServerSettings | None = None,
    timeout_h: float | None = None,
    verbose: bool = False,
) -> int:
    """Make the rollouts of a pass that are missing in its folder, a run folder.

    Rollouts that failed or got no reply are made again; those that fail again stay counted
    (:func:`verl_mapo.benchmarks.answers.answers_of_run`).

    Args:
        files: neutral rows, which ``verl-mapo bench prepare`` writes.
        out: the folder. It holds the rollouts of one configuration: the model, what decides its replies, and the
            questions.
        settings: how they are asked.
        config: see :func:`verl_mapo.run_command.primary`.
        overrides: hydra overrides of the run, such as its model.
        server: a model on a server that is asked in the place of the run's own; its sampling is that of ``settings``.
        timeout_h: time limit of rollouts of the run's own model, in hours; None for no limit.
        verbose: show verl's whole output.

    Returns:
        the exit code; 0 although single rollouts may have failed.

    Raises:
        ConfigError: a setting, the data or the model cannot be used, or the folder holds other rollouts.
    """
    given = [*overrides_before(settings), *overrides, *overrides_after(files, settings)]
    whole = composed(primary_file(config), given)
    if select(whole, f"{names.ALIGNMENT_NODE}.judge") is None and needs_judge(files):
        outcome = f"{names.ALIGNMENT_NODE}.outcome=exact"  # the rollouts are scored later, and only there counted
        given.append(outcome)
        whole = composed(primary_file(config), given)
    identity = {"questions": digest(files), "protocol": settings.protocol}
    if server is not None:
        asked = replace(server, n=settings.k, temperature=settings.heat, top_p=settings.top_p)
        return 0 if made(ServerRun(whole, asked, out, identity)) else 1
    return ValidationRun(whole, out, settings.k, identity).roll_out(config, given, timeout_h, verbose)


def overrides_before(settings: PassSettings) -> list[str]:
    """The overrides of a pass that those of the command line may replace."""
    return [
        f"{names.VISUAL_TOOL_NODE}.max_unreadable=1",  # counted instead
        f"{names.VISUAL_TOOL_NODE}.seed={settings.seed}",
        f"data.val_batch_size={settings.batch}",
    ]


def overrides_after(files: Sequence[Path], settings: PassSettings) -> list[str]:
    """The overrides of a pass that hold whatever the command line says."""
    for file in files:
        check_data_path("NAME", file.resolve())
    listed = ",".join(quoted(str(file.resolve())) for file in files)
    fixed = [f"{setting}=[{listed}]" for setting in (names.TRAIN_FILES, names.VAL_FILES)]
    fixed += sampling_overrides(settings.heat, settings.top_p)
    if settings.protocol == "direct":
        fixed += [f"{_TOOLS}=[]", f"{names.MAX_ASSISTANT_TURNS}=1"]
    return fixed


def checkpoint_overrides(run: Path) -> list[str]:
    """The overrides with which verl loads a checkpoint before it validates.

    Args:
        run: the folder of a run, of which the last checkpoint is taken, or one of its folders ``global_step_N``.

    Raises:
        ConfigError: there is no checkpoint.
    """
    folder = run.resolve()
    if not folder.name.startswith("global_step_"):
        step = RunFolder(folder).marked_step
        if not step:
            raise ConfigError(
                f"--run {run} has no checkpoint: give the folder of a run of verl-mapo train that saved one, or a "
                "folder global_step_N. A model in a folder of its own is given with --model."
            )
        folder = RunFolder(folder).checkpoints / f"global_step_{step}"
    if not (folder / "actor").is_dir():
        raise ConfigError(f"--run {run} is no checkpoint: {folder} has no folder actor.")
    return [f"{names.RESUME_MODE}=resume_path", path_override(names.RESUME_PATH, folder)]


def needs_judge(files: Sequence[Path]) -> bool:
    """Whether a question is one that only a judge can score."""
    targets = (pq.read_table(file, columns=["reward_model"]).column("reward_model") for file in files)
    return any(target["style"] == JUDGE for column in targets for target in column.to_pylist())


def digest(files: Sequence[Path]) -> str:
    """16 hexadecimal digits that are equal for equal questions in any order of the files."""
    parts = []
    for file in files:
        table = pq.read_table(file, columns=["data_source", "prompt", "reward_model", "extra_info"])
        parts += [repr(sorted(row.items())).encode() for row in table.to_pylist()]
    found = blake2b(digest_size=8)
    for part in sorted(parts):
        found.update(part)
    return found.hexdigest()

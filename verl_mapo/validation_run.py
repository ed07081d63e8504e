# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Rollouts of a run's own model by verl's validation, without training, which go on with what is missing.

They stand in ``RUN/trajectories/val/<step>.jsonl``, to which each batch of ``data.val_batch_size`` questions is
appended when it has ended. :mod:`verl_mapo.server_run` makes the same of a model on a server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from omegaconf import DictConfig
from tqdm import tqdm

from verl_mapo import names
from verl_mapo.made_rollouts import settled
from verl_mapo.overrides import path_override
from verl_mapo.report.progress import Progress
from verl_mapo.run_command import launch_run
from verl_mapo.run_folder import RunFolder
from verl_mapo.run_identity import claim, deciding_settings
from verl_mapo.training.questions import Questions

SAMPLING = f"{names.ROLLOUT}.val_kwargs"
"""The node with the sampling of a validation."""

_DECIDING = tuple(f"{SAMPLING}.{name}" for name in ("temperature", "top_p", "top_k")) + (names.RESUME_PATH,)
_RECORDED = re.compile(r"verl-mapo: (\d+) rollouts of the validation are recorded")


class ValidationRun:
    """The rollouts of all questions of ``data.train_files``, ``n`` each.

    Args:
        config: the whole configuration of the run: the data and the model's tokenizer and processor are read.
        run: the folder of the run.
        n: number of rollouts of a question.
        identity: what else decides the rollouts, by name.

    Raises:
        ConfigError: a setting, the model or the data cannot be used; or the folder holds other rollouts.
    """

    def __init__(self, config: DictConfig, run: Path, n: int, identity: Mapping[str, Any] | None = None):
        self.folder, self.n = RunFolder(run.resolve()), n
        self.questions = Questions(config)
        claim(self.folder, deciding_settings(config, *_DECIDING) | dict(identity or {}))

    def roll_out(self, config: list[str], overrides: list[str], timeout_h: float | None, verbose: bool) -> int:
        """Make the rollouts that are missing; returns the exit code of the run, see :func:`launch_run`.

        A question of which a rollout is missing is rolled out again as a whole, and what there was before is kept.

        Args:
            config: see :func:`verl_mapo.run_command.primary`.
            overrides: hydra overrides of the command line.
            timeout_h: time limit in hours; None for no limit.
            verbose: show verl's whole output.
        """
        places, rows = self._missing(), self.folder.missing
        if not places:
            return 0
        pq.write_table(self.questions.table(places), rows)
        done, total = len(self.questions) - len(places), len(self.questions)
        with tqdm(total=total * self.n, initial=done * self.n, desc="rollouts", unit="rollout") as bar:
            given = [*overrides, *validation_overrides(rows, self.n)]
            code = launch_run(self.folder.path, config, given, timeout_h, verbose, progress=_Bar(bar))
        for file in self.folder.rollouts("val").values():
            settled(file, keep_failed=True)
        if code == 0:
            rows.unlink()
        return code

    def _missing(self) -> list[int]:
        """The places in the data of the questions of which a rollout is missing."""
        done = {place for file in self.folder.rollouts("val").values() for place in settled(file)}
        return [
            row["place"]
            for row in self.questions
            if any((row["question_id"], session) not in done for session in range(self.n))
        ]


def validation_overrides(rows: Path, n: int) -> list[str]:
    """The overrides with which verl only validates, on some rows in their order, and records every rollout at once.

    Args:
        rows: a data file.
        n: number of rollouts of each of its questions.
    """
    return [
        path_override(names.TRAIN_FILES, rows),  # verl opens the training data even where it does not train
        path_override(names.VAL_FILES, rows),
        "data.train_max_samples=-1",
        f"{names.VAL_ROWS}=-1",
        "data.validation_shuffle=false",
        f"{names.VAL_ONLY}=true",
        "trainer.val_before_train=true",
        f"{names.TOTAL_STEPS}=1",  # there may be fewer rows than in a batch of training
        "records.share=1",
        "records.append=true",
        f"{SAMPLING}.n={n}",
    ]


def sampling_overrides(temperature: float, top_p: float = 1.0) -> list[str]:
    """The overrides of the sampling of a validation.

    Args:
        temperature: 0 for greedy rollouts.
        top_p: share of the probability that is sampled from.
    """
    return [
        f"{SAMPLING}.temperature={temperature}",
        f"{SAMPLING}.top_p={top_p}",
        f"{SAMPLING}.do_sample={str(temperature > 0).lower()}",
    ]


class _Bar(Progress):
    """Moves a progress bar by the lines in which the trainer says how many rollouts are recorded."""

    def __init__(self, bar: tqdm):
        super().__init__(lambda line: bar.write(line))
        self.bar, self.before = bar, bar.n

    def __call__(self, text: str) -> None:
        if (found := _RECORDED.search(text)) is None:
            super().__call__(text)
            return
        self.bar.update(self.before + int(found[1]) - self.bar.n)

    def again(self, step: int) -> str:
        return "goes on with the rollouts that are missing"

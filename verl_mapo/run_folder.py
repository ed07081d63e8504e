# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The paths of a run folder, which the trainer and the command line write and the report reads.

::

    RUN/run.json                              command, arguments, start, versions
    RUN/run.lock                              held by the command that writes into the folder, see run_lock.py
    RUN/train.log                             everything the run printed
    RUN/hydra/.hydra/config.yaml              the whole configuration, as hydra records it
    RUN/metrics/<attempt>.jsonl               metrics by step, one file for every time the run was started
    RUN/trajectories/<split>/<step>.jsonl     records of rollouts, split ``train`` or ``val``
    RUN/identity.json                         the settings that decide the rollouts of a run that only makes rollouts
    RUN/missing.parquet                       the questions of such a run that have to be rolled out, while they are
    RUN/failures.jsonl                        the rollouts of a model on a server that got no reply, and why
    RUN/checkpoints/                          verl's checkpoints
    RUN/checkpoints/not_finite/               batches that stopped the run, see training/finite_checks.py
    RUN/report.html, RUN/curves.png           the report
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verl_mapo import names
from verl_mapo.settings import ConfigError

SPLITS = ("train", "val")


@dataclass(frozen=True)
class RunFolder:
    """The paths in the folder of a run. This class creates no file.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def about(self) -> Path:
        """The command, the arguments, the start and the versions of the run."""
        return self.path / "run.json"

    @property
    def lock(self) -> Path:
        """The file that is locked while a command writes into the folder, see :mod:`verl_mapo.run_lock`."""
        return self.path / "run.lock"

    @property
    def identity(self) -> Path:
        """The settings that decide which rollouts a run makes, see :mod:`verl_mapo.run_identity`."""
        return self.path / "identity.json"

    @property
    def missing(self) -> Path:
        """The questions that a validation rolls out; there until all of them are."""
        return self.path / "missing.parquet"

    @property
    def log(self) -> Path:
        """The whole output of the run."""
        return self.path / "train.log"

    @property
    def hydra(self) -> Path:
        """hydra's ``hydra.run.dir``."""
        return self.path / "hydra"

    @property
    def config(self) -> Path:
        """The whole configuration, as hydra records it."""
        return self.hydra / ".hydra" / "config.yaml"

    @property
    def trajectories(self) -> Path:
        """verl's ``trainer.rollout_data_dir``."""
        return self.path / "trajectories"

    @property
    def failures(self) -> Path:
        """The rollouts of a model on a server that were lost because it gave no reply, one line for each time."""
        return self.path / "failures.jsonl"

    @property
    def checkpoints(self) -> Path:
        """verl's ``trainer.default_local_dir``."""
        return self.path / "checkpoints"

    @property
    def not_finite(self) -> Path:
        """The batches that stopped the run, because a reward, an advantage, a loss or a gradient is not finite."""
        return self.checkpoints / "not_finite"

    @property
    def marked_step(self) -> int:
        """The step after which the run would go on, see :func:`marked_step`."""
        return marked_step(self.checkpoints)

    @property
    def html(self) -> Path:
        """The page of the report."""
        return self.path / "report.html"

    @property
    def curves(self) -> Path:
        """The learning curves of the report."""
        return self.path / "curves.png"

    @property
    def metrics(self) -> list[Path]:
        """The metrics files in the order of the attempts; ``metrics.jsonl`` of another launcher comes first."""
        return [*self.path.glob("metrics.jsonl"), *sorted(self.path.glob("metrics/*.jsonl"))]

    def next_metrics(self) -> Path:
        """The metrics file of the next attempt; verl empties the file that it is given, so it is a new one."""
        attempts = [int(file.stem) for file in self.path.glob("metrics/*.jsonl") if file.stem.isdecimal()]
        return self.path / "metrics" / f"{max(attempts, default=-1) + 1:03d}.jsonl"

    def rollouts(self, split: str) -> dict[int, Path]:
        """Step to file of the rollouts of a split, in ascending order of the steps."""
        files = (self.trajectories / split).glob("*.jsonl")
        return dict(sorted((int(file.stem), file) for file in files if file.stem.isdecimal()))


def mark_file(checkpoints: Path) -> Path:
    """The file in which verl marks the latest checkpoint of its ``trainer.default_local_dir``."""
    return checkpoints / "latest_checkpointed_iteration.txt"


def marked_step(checkpoints: Path) -> int:
    """The step of the checkpoint that verl has marked as the latest; 0 without a mark.

    Args:
        checkpoints: verl's ``trainer.default_local_dir``.

    Raises:
        ConfigError: the mark names no step, as after a full disk.
    """
    mark = mark_file(checkpoints)
    if not mark.is_file():
        return 0
    step = mark.read_text(errors="replace").strip()
    if not step.isdecimal():
        raise wrong_mark(checkpoints, "names no step")
    return int(step)


def wrong_mark(checkpoints: Path, fault: str) -> ConfigError:
    """The error of a mark from which no run can go on; it says what to write into the mark.

    Args:
        checkpoints: verl's ``trainer.default_local_dir``.
        fault: what is wrong with the mark, as the rest of a sentence.
    """
    steps = (folder.name.removeprefix("global_step_") for folder in checkpoints.glob("global_step_*"))
    last = max((int(step) for step in steps if step.isdecimal()), default=None)
    right = "remove it" if last is None else f"write {last}, the last one that is there, into it"
    return ConfigError(f"{mark_file(checkpoints)} {fault}: {right}, or set {names.RESUME_MODE}=disable to begin anew.")


def rollouts_file(rollout_data_dir: Path | str, split: str, step: int) -> Path:
    """The file that holds the rollouts of one step.

    Args:
        rollout_data_dir: verl's ``trainer.rollout_data_dir``.
        split: ``train`` or ``val``.
        step: the global step.
    """
    return Path(rollout_data_dir) / split / f"{step}.jsonl"


def append_records(file: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Append records as JSON lines, which a kill of the process cannot take back; missing folders are made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as lines:
        lines.write(_lines(records))


def write_records(file: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write records as JSON lines in the place of what the file held, see :func:`write_whole`."""
    write_whole(file, _lines(records))


def _lines(records: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def read_records(file: Path) -> Iterator[dict[str, Any]]:
    """The records of a file, without an incomplete last line, which a kill leaves; none if there is no file.

    Raises:
        ConfigError: another line is no JSON.
    """
    if not file.is_file():
        return
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield json.loads(line)
            except ValueError as error:
                raise ConfigError(
                    f"line {number} of {file} is damaged ({error}): remove this line, and make its rollout again."
                ) from None


def write_whole(file: Path, content: str | bytes) -> None:
    """Write a file so that a kill at any moment leaves either its previous content or all of the new one.

    Args:
        file: the file; missing folders are made. While it is written, the new content is in ``<file>.part``.
        content: the new content, which is on the disk when the function returns.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    with part.open("wb") as stream:
        stream.write(content.encode() if isinstance(content, str) else content)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(file)


def answers_file(run: Path) -> Path:
    """The judged answers of a run.

    Args:
        run: the folder that holds them, or the file itself.
    """
    return run / "answers.jsonl" if run.is_dir() else run

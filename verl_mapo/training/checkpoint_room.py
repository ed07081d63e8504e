# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Room on the disk for the next checkpoint: checked before it is written, and told after the one before it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from verl.utils.checkpoint.checkpoint_manager import find_latest_ckpt_path

from verl_mapo.ray_errors import reason

logger = logging.getLogger(__name__)


class CheckpointRoom:
    """The disk of a run's checkpoints, as the node of the trainer sees it.

    Args:
        folder: verl's ``trainer.default_local_dir``.
        keep: number of checkpoints that verl keeps; None for all. It removes the oldest one of this start before it
            writes another.
    """

    def __init__(self, folder: Path, keep: int | None):
        self.folder = folder
        self.keep = keep
        self.saved: list[Path] = []
        self.needed = 0

    @contextmanager
    def saving(self, step: int) -> Iterator[None]:
        """Check the room before the checkpoint of a step is written in the ``with`` block, and the next one's after it.

        A checkpoint that could not be written is removed, so that the run can go on from the marked one.

        Raises:
            RuntimeError: there is no room for it, or it could not be written; with the folder and the bytes.
        """
        checkpoint = self.folder / f"global_step_{step}"
        self.needed = self.needed or self._size_of_marked()
        if self.free + self.freed + size_of(checkpoint) < self.needed:  # what a killed start left there is overwritten
            raise RuntimeError(self._sentence(step, "is not written"))
        try:
            yield
        except Exception as error:
            sentence = self._sentence(step, "could not be written")
            shutil.rmtree(checkpoint, ignore_errors=True)
            raise RuntimeError(f"{sentence} The error is: {reason(error)}") from error
        self.saved.append(checkpoint)
        self.needed = size_of(checkpoint)
        if self.free + self.freed < self.needed:
            logger.warning("verl-mapo: the next checkpoint will not fit: %s", self._room())

    @property
    def free(self) -> int:
        """Bytes that are free."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self.folder).free

    @property
    def freed(self) -> int:
        """Bytes of the checkpoint that verl removes before it writes the next one."""
        left = [checkpoint for checkpoint in self.saved if checkpoint.is_dir()]
        return size_of(left[0]) if 0 < (self.keep or 0) <= len(left) else 0

    def _size_of_marked(self) -> int:
        """Bytes of the checkpoint from which the run went on; 0 without one."""
        marked = find_latest_ckpt_path(str(self.folder))
        return size_of(Path(marked)) if marked else 0

    def _room(self) -> str:
        needed = f"the last one has {_size(self.needed)}" if self.needed else "it is the first"
        return (
            f"{_size(self.free)} are free in {self.folder}, and {needed}. Make room there, set "
            "trainer.default_local_dir to a folder on another disk, or trainer.max_actor_ckpt_to_keep=2."
        )

    def _sentence(self, step: int, what: str) -> str:
        marked = find_latest_ckpt_path(str(self.folder))
        goes_on = f"{Path(marked).name} is whole, and the same command goes on from it." if marked else ""
        return f"The checkpoint of step {step} {what}: {self._room()} {goes_on}".rstrip()


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder and below it."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _size(amount: float) -> str:
    return f"{amount / 1e9:,.1f} GB" if amount >= 1e9 else f"{amount / 1e6:,.1f} MB"

# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What the studies know of the toy's scenes beside the records: where the target is, and whether a crop shows it."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from verl_mapo.rollout.trajectory import Trajectory, Turn

Box = tuple[float, float, float, float]
"""(x1, y1, x2, y2) in pixels of the scene."""


Targets = dict[str, Box | None]
"""The box of the object that a question is about, by the file name of its scene; None for a count."""


def target_boxes(*files: Path) -> Targets:
    """The targets of the questions in parquet files of the toy."""
    rows = [row for file in files for row in pq.read_table(file, columns=["images", "extra_info"]).to_pylist()]
    return {Path(row["images"][0]).name: tuple(row["extra_info"]["target_box"]) or None for row in rows}


def target_of(trajectory: Trajectory, targets: Targets) -> Box | None:
    """The target of a rollout's question."""
    return targets[Path(trajectory.images[0]).name]


def shows(turn: Turn, target: Box) -> bool:
    """Whether the crop of a turn holds the centre of the target, where its letter is."""
    if turn.box_executed is None:
        return False
    left, top, right, bottom = turn.box_executed
    x, y = (target[0] + target[2]) / 2, (target[1] + target[3]) / 2
    return left <= x < right and top <= y < bottom


def hit(trajectory: Trajectory, targets: Targets) -> bool | None:
    """Whether the last crop of a rollout shows the target; None without a crop or without a target."""
    target = target_of(trajectory, targets)
    crops = [turn for turn in trajectory.turns if turn.box_executed is not None]
    return shows(crops[-1], target) if crops and target else None

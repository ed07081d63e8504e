# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Which rollouts of a run are made already, so that the run goes on with those that are missing or failed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from verl_mapo.rollout.statuses import EndReason

UNREADABLE = "its image or message cannot be shown"
UNRECORDED = "its agent loop recorded no trajectory"


def failure_of(record: Mapping[str, Any]) -> str:
    """Why a recorded rollout has no answer that counts, although the model is not to blame; empty if it has one.

    Such a rollout is made again when the run goes on: what failed is the code of a tool or check, the judge, or the
    reading of an image.

    Args:
        record: a line of ``trajectories/<split>/<step>.jsonl``.
    """
    trajectory = record["trajectory"]
    if trajectory is None:
        return UNRECORDED
    if trajectory.get("error"):
        return trajectory["error"]
    return UNREADABLE if trajectory["end_reason"] == EndReason.UNREADABLE_IMAGE else ""


def settled(file: Path, keep_failed: bool = False) -> set[tuple[str, int]]:
    """Question id and session of the rollouts of a file, of which it is left with one whole line each.

    An incomplete last line, which a kill leaves, is removed, and so are rollouts that were made twice, of which the
    first is kept.

    Args:
        file: the records of a split and step; it need not exist.
        keep_failed: whether failed rollouts (:func:`failure_of`) stay; otherwise they are removed, to be made again.
    """
    found: set[tuple[str, int]] = set()
    if not file.is_file():
        return found
    part, lines, kept = file.with_name(f"{file.name}.part"), 0, 0
    with file.open("rb") as before, part.open("wb") as after:
        for lines, line in enumerate(before, 1):
            record = json.loads(line) if line.endswith(b"\n") else None
            if record is None or (failure_of(record) and not keep_failed):
                continue
            place = record["question_id"], record["session"]
            if place in found:
                continue
            found.add(place)
            after.write(line)
            kept += 1
    if kept < lines:
        part.replace(file)
    else:
        part.unlink()
    return found

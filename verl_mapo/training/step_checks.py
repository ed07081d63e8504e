# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The checks of a step before its advantages: errors are rare, images can be shown, and there is a token."""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePath
from typing import TYPE_CHECKING

from verl_mapo.names import TRAIN_FILES
from verl_mapo.rollout.statuses import EndReason
from verl_mapo.rollout.trajectory import Trajectory

if TYPE_CHECKING:
    from verl_mapo.training.step_batch import StepBatch

logger = logging.getLogger(__name__)

_MOST_NAMED = 3
"""Number of folders, and of nodes, that a message names."""


def check_errors(step: StepBatch, most: float) -> None:
    """Stop a run at a step in which the code of a tool, of the answer check, of the reward function or the judge failed
    too often.

    Args:
        step: a scored batch.
        most: largest share of the rollouts with an error.

    Raises:
        RuntimeError: with the share and the first error, which names the code that failed.
    """
    kept = step.not_padding.tolist()
    errors = [found.error for found, rollout in zip(step.trajectories, kept, strict=True) if rollout and found]
    errors = [error for error in errors if error]
    if len(errors) > most * sum(kept):
        raise RuntimeError(
            f"{len(errors)} of {sum(kept)} rollouts of step {step.number} have no outcome, because the code of a tool, "
            "of the answer check or of the reward function failed, or the judge, which is more than "
            f"visual_tool.max_errors={most} allows. The first error is: {errors[0]} Correct that; the log has the "
            "tracebacks."
        )


def check_lost(step: StepBatch, prompts: int, n: int, most: float) -> dict[str, float]:
    """Stop a run at a step of which too many rollouts are lost, and log any that are.

    verl trains on the rollouts that are left of a prompt when the agent loops of others end with an exception, as all
    of them do that a dead process has worked for.

    Args:
        step: a scored batch.
        prompts: number of prompts of the batch.
        n: number of original rollouts of each; those with other session numbers are continuations.
        most: largest share of the original rollouts that may be lost.

    Returns:
        The metric ``rollout_visual/lost/share``.

    Raises:
        RuntimeError: with the numbers.
    """
    rows = zip(step.batch.keys, step.not_padding.tolist(), strict=True)
    sessions = {tuple(key.rsplit("_", 2)[:2]) for key, kept in rows if kept}
    expected = prompts * n
    lost = max(expected - sum(int(session) < n for _, session in sessions), 0)
    if lost:
        sentence = (
            f"{lost} of {expected} rollouts of step {step.number} are lost: their agent loops ended with an exception, "
            "which the log has as 'Error in _run_prompt'."
        )
        if lost > most * expected:
            raise RuntimeError(
                f"{sentence} visual_tool.max_errors={most} allows fewer. If a process died, the same command goes on "
                "from the last checkpoint."
            )
        logger.warning("verl-mapo: %s The step goes on without them.", sentence)
    return {"rollout_visual/lost/share": lost / expected}


def check_unreadable(step: StepBatch, most: float, of: str, files: str) -> None:
    """Stop a run at a batch in which the images of too many rollouts could not be shown.

    A folder that is not mounted on one node would otherwise take the node's share out of every batch without a word.

    Args:
        step: a batch of training or of validation. Continuations do not count: they have the images of their source.
        most: largest share of the rollouts.
        of: what the message calls the batch, such as ``step 7``.
        files: the setting that names the data.

    Raises:
        RuntimeError: with the nodes and their shares, the first image with what is wrong with it, and the folders.
    """
    found = _originals(step)
    unreadable = [rollout for rollout in found if rollout.end_reason == EndReason.UNREADABLE_IMAGE]
    rollouts = int(step.original.sum())
    if len(unreadable) > most * rollouts:
        enough = math.ceil(100 * len(unreadable) / rollouts) / 100
        raise RuntimeError(
            f"{len(unreadable)} of {rollouts} rollouts of {of} ended before their first turn, because their images "
            f"cannot be shown, which is more than visual_tool.max_unreadable={most} allows. {_where(found, files)} If "
            f"such rows have to be expected, set visual_tool.max_unreadable={enough:g}."
        )


def check_tokens(step: StepBatch) -> None:
    """Stop a run at a step in which no rollout has a token that the loss could act on.

    verl would go on with such a batch, or end with a message about its masks.

    Raises:
        RuntimeError: with the number of rollouts of each end reason, and what :func:`check_unreadable` tells.
    """
    if any(mask.any() for mask in step.rows("response_mask")):
        return
    found = _originals(step)
    reasons = Counter(trajectory.end_reason for trajectory in found)
    ends = "; ".join(
        f"{count} of {int(step.original.sum())} ended as {reason} ({reason.sentence.rstrip('.')})"
        for reason, count in reasons.most_common()
        if reason is not None
    )
    message = f"No rollout of step {step.number} has a token to train on" + (f": {ends}." if ends else ".")
    if reasons[EndReason.UNREADABLE_IMAGE]:
        message += f" {_where(found, TRAIN_FILES)}"
    raise RuntimeError(message)


def _originals(step: StepBatch) -> list[Trajectory]:
    """The trajectories of the original rollouts that recorded one."""
    rows = zip(step.trajectories, step.original.tolist(), strict=True)
    return [trajectory for trajectory, original in rows if original and trajectory]


def _where(trajectories: list[Trajectory], files: str) -> str:
    """Sentences about the nodes and the images of rollouts of which some could not be shown."""
    unreadable = [found for found in trajectories if found.end_reason == EndReason.UNREADABLE_IMAGE]
    tried, failed = (Counter(found.node for found in group) for group in (trajectories, unreadable))
    nodes = [f"{count} of {tried[node]} on node {node or 'unknown'}" for node, count in failed.most_common(_MOST_NAMED)]
    first = next((found.unreadable for found in unreadable if found.unreadable), "")
    places = _places(image for found in unreadable for image in found.images)
    return (
        f"These are {', '.join(nodes)}{_more(failed, 'nodes')}{f', among {len(tried)} nodes' * (len(tried) > 1)}."
        + (f" The first is {first.rstrip('.')}." if first else "")
        + (f" Their images are in {places}: make the folder readable on every node" if places else "")
        + (" (verl-mapo doctor looks on each of them), or correct" if places else " Correct")
        + f" the rows of {files}. The log names each of them and what is wrong with it."
    )


def _places(images: Iterable[str]) -> str:
    """The folders that hold most of the images, in words; an image that is no file is in the data itself."""
    paths = [image.removeprefix("file://") for image in images]
    found = Counter(str(PurePath(path).parent) if _is_path(path) else "the data itself" for path in paths)
    return ", ".join(place for place, _ in found.most_common(_MOST_NAMED)) + _more(found, "folders")


def _more(found: Counter[str], what: str) -> str:
    return f" and {len(found) - _MOST_NAMED} more {what}" if len(found) > _MOST_NAMED else ""


def _is_path(image: str) -> bool:
    """Whether a reference is a path; others are empty or begin with a scheme, such as ``data:`` or ``sha256:``."""
    return bool(image) and not re.match(r"[A-Za-z0-9+.-]{2,}:", image)

# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The checks of a step before its advantages are computed: errors are rare, and there is a token to train on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePath
from typing import TYPE_CHECKING

from verl_mapo.rollout.statuses import EndReason

if TYPE_CHECKING:
    from verl_mapo.training.step_batch import StepBatch

_MOST_FOLDERS = 3
"""Number of folders that a message names."""


def check_errors(step: StepBatch, most: float) -> None:
    """Stop a run at a step in which the code of a tool, of the answer check or of the reward function failed too often.

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
            f"of the answer check or of the reward function failed, which is more than visual_tool.max_errors={most} "
            f"allows. The first error is: {errors[0]} Correct that code; the log has the tracebacks."
        )


def check_tokens(step: StepBatch) -> None:
    """Stop a run at a step in which no rollout has a token that the loss could act on.

    Every image is missing, for example, because a folder is not mounted. verl would go on with such a batch, or end
    with a message about its masks.

    Raises:
        RuntimeError: with the number of rollouts of each end reason, and the folders of images that cannot be shown.
    """
    if any(mask.any() for mask in step.rows("response_mask")):
        return
    kept = step.original.tolist()
    trajectories = [found for found, original in zip(step.trajectories, kept, strict=True) if original and found]
    reasons = Counter(trajectory.end_reason for trajectory in trajectories)
    ends = "; ".join(
        f"{count} of {sum(kept)} ended as {reason} ({reason.sentence.rstrip('.')})"
        for reason, count in reasons.most_common()
        if reason is not None
    )
    message = f"No rollout of step {step.number} has a token to train on" + (f": {ends}." if ends else ".")
    if reasons[EndReason.UNREADABLE_IMAGE]:
        unreadable = [found for found in trajectories if found.end_reason == EndReason.UNREADABLE_IMAGE]
        places = _places(image for trajectory in unreadable for image in trajectory.images)
        message += (
            f" Their images are in {places}: correct the paths in data.train_files, or make the folder readable where "
            "the rollouts run. The log names each image and what is wrong with it."
        )
    raise RuntimeError(message)


def _places(images: Iterable[str]) -> str:
    """The folders that hold most of the images, in words; an image that is no file is in the data itself."""
    paths = [image.removeprefix("file://") for image in images]
    found = Counter(str(PurePath(path).parent) if _is_path(path) else "the data itself" for path in paths)
    named = [place for place, _ in found.most_common(_MOST_FOLDERS)]
    more = len(found) - len(named)
    return ", ".join(named) + (f" and {more} more folders" if more else "")


def _is_path(image: str) -> bool:
    """Whether a reference is a path; others are empty or begin with a scheme, such as ``data:`` or ``sha256:``."""
    return bool(image) and not re.match(r"[A-Za-z0-9+.-]{2,}:", image)

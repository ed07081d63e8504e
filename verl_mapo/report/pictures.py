# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The images of a trajectory: its originals, and the images that its tool calls returned."""

from __future__ import annotations

import io
import logging
from pathlib import Path

from PIL import Image

from verl_mapo.rollout.decode import UnreadableImage, decode, read_file
from verl_mapo.rollout.statuses import TurnStatus
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.tools.coordinates import Size
from verl_mapo.tools.image_history import ImageHistory, full_view

logger = logging.getLogger(__name__)

UNKNOWN_SIZE = (640, 480)
"""Size in pixels of the placeholder for an original whose size was not recorded."""


def open_originals(trajectory: Trajectory, root: Path) -> list[Image.Image | None]:
    """The originals of a trajectory, in order; None for one that cannot be read or no longer has its recorded size.

    Args:
        trajectory: the trajectory, which has the references of its originals.
        root: the run folder. A relative path that does not exist in the working directory refers to it.
    """
    sizes = trajectory.image_sizes or [None] * len(trajectory.images)
    return [open_picture(reference, size, root) for reference, size in zip(trajectory.images, sizes, strict=True)]


def open_picture(reference: str, size: Size | None, root: Path) -> Image.Image | None:
    """A picture; None if it cannot be read or has another size.

    Args:
        reference: its path.
        size: its recorded (width, height) in pixels; None for any.
        root: see :func:`open_originals`.
    """
    try:
        path = Path(reference.removeprefix("file://"))
        opened = decode(read_file(path if path.is_file() else root / path))
    except (UnreadableImage, OSError) as error:
        logger.warning("The report shows a placeholder for image %r: %s", reference, error)
        return None
    if size is not None and opened.size != size:
        logger.warning(
            "The report shows a placeholder for image %r: it is %s pixels now and was %s in the rollout.",
            reference,
            opened.size,
            size,
        )
        return None
    return opened


def original_size(trajectory: Trajectory, index: int, original: Image.Image | None) -> Size:
    """(width, height) of an original in pixels: of the image, else as recorded, else :data:`UNKNOWN_SIZE`.

    Args:
        trajectory: the trajectory, which has the recorded sizes.
        index: index of the original among the trajectory's originals.
        original: the image; None where it could not be read.
    """
    if original is not None:
        return original.size
    return trajectory.image_sizes[index] if index < len(trajectory.image_sizes) else UNKNOWN_SIZE


def shown_image(turn: Turn, originals: list[Image.Image | None]) -> Image.Image | None:
    """The image that a turn's tool call returned, before the processor's resize.

    Args:
        turn: the turn, which has a view or, if a tool computed the image, the pixels.
        originals: the originals of the trajectory, see :func:`open_originals`.

    Returns:
        None where the model was not shown an image, or the original could not be read.
    """
    if turn.status != TurnStatus.OK:
        return None
    if turn.computed and turn.pixels:
        return Image.open(io.BytesIO(turn.pixels))
    original = originals[turn.view.image] if turn.view else None
    if original is None:
        return None
    history = ImageHistory.of([full_view(original, 0, _same_size)], _same_size)
    return history.crop(0, turn.view.region, turn.view.quarter_turns).pixels


def _same_size(size: Size) -> Size:
    return size

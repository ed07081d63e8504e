# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Makes an image square, so that a model with a square input sees the whole of it.

The released CLIPs resize the shortest edge of an image and then cut out its centre: of a crop four times as wide as it
is high they see the middle quarter. Of a square image they see everything.
"""

from __future__ import annotations

from typing import Literal

from PIL import Image, ImageOps

Fit = Literal["stretch", "letterbox", "model"]
"""The values of ``scorer.fit``, see :class:`~verl_mapo.rewards.scorers.settings.ScorerSettings`."""

CLIP_MEAN = (122, 116, 104)
"""CLIP's mean colour, RGB from 0 to 255, which its preprocessing turns into about 0."""


def stretched(image: Image.Image) -> Image.Image:
    """The image resized to a square whose side is its longer side."""
    return image.resize((max(image.size),) * 2, Image.Resampling.BICUBIC)


def letterboxed(image: Image.Image, fill: tuple[int, ...] = CLIP_MEAN) -> Image.Image:
    """The image in the middle of a square whose side is its longer side.

    Args:
        image: RGB.
        fill: colour of the rest, RGB from 0 to 255.
    """
    return ImageOps.pad(image, (max(image.size),) * 2, color=fill)

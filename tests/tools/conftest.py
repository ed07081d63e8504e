# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A small original, a processor that sees every image at one size, and the history of a rollout about the two."""

from __future__ import annotations

import pytest
from PIL import Image

from verl_mapo.tools.base import ToolContext
from verl_mapo.tools.coordinates import CoordinateSpace
from verl_mapo.tools.image_history import ImageHistory, full_view

SEEN = (56, 56)


def see_at_56(size: tuple[int, int]) -> tuple[int, int]:
    return SEEN


@pytest.fixture
def history() -> ImageHistory:
    """A 100 x 100 original whose pixel (x, y) has red 2x and green 2y, seen at 56 x 56."""
    image = Image.new("RGB", (100, 100))
    image.putdata([(2 * (i % 100), 2 * (i // 100), 0) for i in range(10_000)])
    return ImageHistory.of([full_view(image, 0, see_at_56)], see_at_56)


@pytest.fixture
def context() -> ToolContext:
    return ToolContext(CoordinateSpace.pixels, labels=True, image_token_side=4)

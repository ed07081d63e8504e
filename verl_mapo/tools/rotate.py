# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The rotate tool: shows an image shown so far again, turned by quarter turns."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from verl_mapo.tools.base import Arguments, VisualTool
from verl_mapo.tools.image_history import ImageHistory, ToolImage


class RotateArguments(Arguments):
    """Arguments of :class:`Rotate`.

    Attributes:
        angle: degrees, clockwise.
    """

    angle: Literal[90, 180, 270] = Field(description="degrees, clockwise")


class Rotate(VisualTool):
    """Turns an image clockwise. A later box on the turned image is converted to the original."""

    name = "rotate"
    description = "Rotate an image clockwise."
    arguments = RotateArguments

    def run(self, arguments: RotateArguments, history: ImageHistory) -> ToolImage:
        """See :meth:`VisualTool.run`."""
        return history.crop(arguments.img_idx, quarter_turns=arguments.angle // 90)

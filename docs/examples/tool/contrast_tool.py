# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A tool that raises the contrast of an image: a complete tool outside verl_mapo."""

from __future__ import annotations

from typing import Annotated

from PIL import ImageEnhance
from pydantic import Field
from pydantic.dataclasses import dataclass

from verl_mapo.settings import STRICT
from verl_mapo.tools.base import Arguments, VisualTool
from verl_mapo.tools.image_history import ImageHistory, ToolImage


class ContrastArguments(Arguments):
    """Arguments of a call, beside ``img_idx``; the schema that the model sees is made from them."""

    strength: float = Field(1.0, ge=0, le=3, description="how much contrast to add, from 0 to 3")


@dataclass(frozen=True, config=STRICT)
class ContrastOptions:
    """Settings of a run: ``visual_tool.tool_options.contrast``."""

    gain: Annotated[float, Field(gt=0)] = 1.0


class Contrast(VisualTool):
    """Shows an image again with more contrast. A later zoom on that image shows it with more contrast, too."""

    name = "contrast"
    description = "Raise the contrast of an image."
    arguments = ContrastArguments
    Options = ContrastOptions

    def run(self, arguments: ContrastArguments, history: ImageHistory) -> ToolImage:
        pixels = history.pixels(arguments.img_idx)
        enhanced = ImageEnhance.Contrast(pixels).enhance(1 + self.options.gain * arguments.strength)
        return history.computed(arguments.img_idx, enhanced)

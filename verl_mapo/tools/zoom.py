# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The zoom tool: shows a region of any image shown so far, at the full resolution of the original."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field, PositiveInt
from pydantic.dataclasses import dataclass

from verl_mapo.settings import STRICT
from verl_mapo.tools.base import LabelledArguments, VisualTool
from verl_mapo.tools.coordinates import Box, clip, grow
from verl_mapo.tools.image_history import ImageHistory, ToolImage


class ZoomArguments(LabelledArguments):
    """Arguments of :class:`Zoom`.

    Attributes:
        bbox_2d: x1, y1, x2, y2 in the model's units.
    """

    bbox_2d: list[float] = Field(min_length=4, max_length=4, description="x1, y1, x2, y2, {units}")


@dataclass(frozen=True, config=STRICT)
class ZoomOptions:
    """Options of :class:`Zoom`, ``visual_tool.tool_options.zoom``.

    Attributes:
        min_side: shortest side of a crop in pixels of the original; smaller boxes grow around their centre. None is the
            side of one image token of the model's processor [ours].
        max_aspect: largest ratio of a crop's sides; thinner boxes grow in the same way [ours].
    """

    min_side: PositiveInt | None = None
    max_aspect: Annotated[float, Field(gt=1, le=150)] = 20.0


class Zoom(VisualTool):
    """Crops a box. Its calls are visual turns: the crop is scored against the label."""

    name = "zoom"
    description = "Zoom in on a region of an image."
    arguments = ZoomArguments
    scored = True
    Options = ZoomOptions

    def box_of(self, arguments: ZoomArguments) -> Box:
        """See :meth:`VisualTool.box_of`."""
        return tuple(arguments.bbox_2d)

    def run(self, arguments: ZoomArguments, history: ImageHistory) -> ToolImage:
        """See :meth:`VisualTool.run`."""
        view = history.view(arguments.img_idx)
        asked = self.context.space.to_view(self.box_of(arguments), view.size)
        min_side = self.options.min_side or self.context.image_token_side
        box = view.to_original(clip(asked, view.size))
        box = grow(box, history.bounds(arguments.img_idx), min_side, self.options.max_aspect)
        return replace(history.crop(arguments.img_idx, box), asked=view.to_original(asked))

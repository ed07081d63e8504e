# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The mark tool: shows an image shown so far again, with a box or a point drawn on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from PIL import Image, ImageColor, ImageDraw
from pydantic import Field, field_validator, model_validator
from pydantic.dataclasses import dataclass

from verl_mapo.settings import STRICT
from verl_mapo.tools.base import Arguments, VisualTool
from verl_mapo.tools.coordinates import Box, BoxError, Point, clip, outward, scale
from verl_mapo.tools.image_history import ImageHistory, ToolImage


class MarkArguments(Arguments):
    """Arguments of :class:`Mark`; a call gives exactly one of the two.

    Attributes:
        bbox_2d: x1, y1, x2, y2 in the model's units.
        point_2d: x, y in the model's units.
    """

    bbox_2d: Annotated[list[float], Field(min_length=4, max_length=4)] | None = Field(
        None, description="the box to draw: x1, y1, x2, y2, {units}"
    )
    point_2d: Annotated[list[float], Field(min_length=2, max_length=2)] | None = Field(
        None, description="or the point to draw: x, y, {units}"
    )

    @model_validator(mode="after")
    def _one_mark(self) -> MarkArguments:
        if (self.bbox_2d is None) == (self.point_2d is None):
            raise ValueError("Give either bbox_2d or point_2d")
        return self


@dataclass(frozen=True, config=STRICT)
class MarkOptions:
    """Options of :class:`Mark`, ``visual_tool.tool_options.mark``.

    Attributes:
        colour: colour of the mark, a name or ``#rrggbb`` [ours].
        line_width: width of the lines of a box, as a share of the image's longer side; a point is a disc four times as
            wide [ours].
    """

    colour: str = "red"
    line_width: Annotated[float, Field(gt=0, le=0.1)] = 0.01

    @field_validator("colour")
    @classmethod
    def _is_colour(cls, colour: str) -> str:
        try:
            ImageColor.getrgb(colour)
        except ValueError:
            raise ValueError("it should be a colour such as 'red' or '#d55e00'") from None
        return colour


class Mark(VisualTool):
    """Draws a box or a point on an image. Its calls are not visual turns, because the image shows nothing new.

    The model is shown the whole image with the mark. A later zoom on that image shows the mark, too.
    """

    name = "mark"
    description = "Draw a box or a point on an image."
    arguments = MarkArguments
    Options = MarkOptions

    def box_of(self, arguments: MarkArguments) -> Box | None:
        """See :meth:`VisualTool.box_of`."""
        return None if arguments.bbox_2d is None else tuple(arguments.bbox_2d)

    def point_of(self, arguments: MarkArguments) -> Point | None:
        """See :meth:`VisualTool.point_of`."""
        return None if arguments.point_2d is None else tuple(arguments.point_2d)

    def run(self, arguments: MarkArguments, history: ImageHistory) -> ToolImage:
        """See :meth:`VisualTool.run`."""
        view = history.view(arguments.img_idx)
        box = self.box_of(arguments) or (*arguments.point_2d, *arguments.point_2d)
        seen = self.context.space.to_view(box, view.size)
        pixels = history.pixels(arguments.img_idx)
        if arguments.bbox_2d is not None:
            self._draw_box(pixels, scale(clip(seen, view.size), view.size, pixels.size))
            return replace(history.computed(arguments.img_idx, pixels), asked=view.to_original(seen))
        if not (0 <= seen[0] <= view.size[0] and 0 <= seen[1] <= view.size[1]):
            raise BoxError("the point lies outside the image")
        x, y, *_ = scale(seen, view.size, pixels.size)
        radius = 2 * self._line_width(pixels)
        ImageDraw.Draw(pixels).ellipse((x - radius, y - radius, x + radius, y + radius), fill=self.options.colour)
        return history.computed(arguments.img_idx, pixels)

    def _draw_box(self, pixels: Image.Image, box: Box) -> None:
        """Draw lines outside a box, so that they hide nothing inside it, except at the edge of the image."""
        width = self._line_width(pixels)
        x1, y1, x2, y2 = outward(box, pixels.size)
        line = max(x1 - width, 0), max(y1 - width, 0), min(x2 + width, pixels.width), min(y2 + width, pixels.height)
        corners = (line[0], line[1], line[2] - 1, line[3] - 1)  # PIL includes the second corner.
        ImageDraw.Draw(pixels).rectangle(corners, outline=self.options.colour, width=width)

    def _line_width(self, pixels: Image.Image) -> int:
        return max(1, round(self.options.line_width * max(pixels.size)))

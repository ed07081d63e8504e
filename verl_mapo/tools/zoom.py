# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Zoom: look at a region of any image seen so far, at the full resolution of the original."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from verl_mapo.tools.base import Arguments, VisualTool
from verl_mapo.tools.coordinates import Box, CoordinateSpace, clip, grow
from verl_mapo.tools.image_history import ImageHistory, ToolImage

_UNITS = {
    CoordinateSpace.pixels: "in pixels of that image",
    CoordinateSpace.normalized_1000: "each from 0 to 1000 across that image",
}


class ZoomArguments(Arguments):
    """``label`` may be missing here: the call is carried out all the same, and the alignment score is zero."""

    bbox_2d: Annotated[list[float], Field(min_length=4, max_length=4)]
    label: str | None = None


class Zoom(VisualTool):
    """Crop a box out of the full-resolution original.

    Args:
        min_side: shortest side of a crop in pixels of the original; smaller boxes grow around their centre.
        max_aspect: largest ratio of a crop's sides; thinner boxes grow likewise.
    """

    name = "zoom"
    arguments = ZoomArguments
    described = True
    description = "Zoom in on a region of an image."

    def __init__(self, space: CoordinateSpace, labelled: bool, min_side: int, max_aspect: float):
        super().__init__(space, labelled)
        self.min_side = min_side
        self.max_aspect = max_aspect

    def parameters(self) -> dict[str, Any]:
        properties = {
            "label": {"type": "string", "description": "what you expect to see in the region"},
            "bbox_2d": {
                "type": "array",
                "description": f"x1, y1, x2, y2, {_UNITS[self.space]}",
                "items": {"type": "number"},
                "minItems": 4,
                "maxItems": 4,
            },
            "img_idx": {"type": "integer", "description": "which image seen so far; 0 is the first", "default": 0},
        }
        if not self.labelled:
            properties.pop("label")
        return {"type": "object", "properties": properties, "required": [*properties][:-1]}

    def label_of(self, arguments: ZoomArguments) -> str | None:
        return arguments.label

    def box_of(self, arguments: ZoomArguments) -> Box:
        return tuple(arguments.bbox_2d)

    def look(self, arguments: ZoomArguments, gallery: ImageHistory) -> ToolImage:
        view = gallery.view(arguments.img_idx)
        asked = self.space.to_view(self.box_of(arguments), view.size)
        box = view.to_original(clip(asked, view.size))
        box = grow(box, gallery.size(view.image), self.min_side, self.max_aspect)
        sight = gallery.look(view.image, box, view.quarter_turns)
        return replace(sight, asked=view.to_original(asked))

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
"""Rotate: look at an image seen so far, turned by quarter turns."""

from __future__ import annotations

from typing import Any, Literal

from verl_mapo.tools.base import Arguments, VisualTool
from verl_mapo.tools.image_history import ImageHistory, ToolImage


class RotateArguments(Arguments):
    angle: Literal[90, 180, 270]


class Rotate(VisualTool):
    """Turn a view clockwise; a later box on the turned view is mapped back to the original."""

    name = "rotate"
    arguments = RotateArguments
    described = False
    description = "Rotate an image clockwise."

    def parameters(self) -> dict[str, Any]:
        properties = {
            "angle": {"type": "integer", "enum": [90, 180, 270], "description": "degrees, clockwise"},
            "img_idx": {"type": "integer", "description": "which image seen so far; 0 is the first", "default": 0},
        }
        return {"type": "object", "properties": properties, "required": ["angle"]}

    def look(self, arguments: RotateArguments, gallery: ImageHistory) -> ToolImage:
        view = gallery.view(arguments.img_idx)
        return gallery.look(view.image, view.region, (view.quarter_turns + arguments.angle // 90) % 4)

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

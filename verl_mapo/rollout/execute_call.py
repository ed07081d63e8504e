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
"""Carrying out what the model called; whatever goes wrong becomes a status and a sentence for the model."""

from __future__ import annotations

from collections.abc import Mapping

from verl_mapo.rollout.images import thumbnail
from verl_mapo.rollout.parser import BadCall, ToolCall
from verl_mapo.rollout.trajectory import Turn
from verl_mapo.tools.base import ArgumentError, VisualTool
from verl_mapo.tools.coordinates import BoxError
from verl_mapo.tools.image_history import ImageHistory, ToolImage


def execute_call(
    call: ToolCall | BadCall, turn: Turn, gallery: ImageHistory, tools: Mapping[str, VisualTool], scorer_side: int
) -> ToolImage | str:
    """Look as the call says, and write into ``turn`` what was called and what came of it.

    Returns:
        The sight, or a sentence that tells the model what was wrong. The gallery is not changed.
    """
    if isinstance(call, BadCall):
        turn.status = call.status
        return call.sentence
    tool = tools.get(call.name)
    if tool is None:
        turn.status = "unknown_tool"
        return f"There is no tool {call.name[:40]!r}; the tools are: {', '.join(tools)}."
    turn.tool = tool.name
    turn.described = tool.described
    try:
        arguments = tool.parse(call.arguments)
        turn.label = tool.label_of(arguments)
        turn.img_idx = arguments.img_idx
        turn.box_said = tool.box_of(arguments)
        sight = tool.look(arguments, gallery)
    except (ArgumentError, BoxError) as error:
        turn.status = "bad_arguments" if isinstance(error, ArgumentError) else "bad_box"
        turn.faults = ["refused"] if tool.described else []
        return f"The call of {tool.name} was refused: {error}."
    turn.status = "ok"
    turn.image = sight.view.image
    turn.quarter_turns = sight.view.quarter_turns
    turn.box_asked = sight.asked
    turn.box_executed = sight.view.region
    if tool.described:
        turn.crop = thumbnail(sight.crop, scorer_side)
    return sight

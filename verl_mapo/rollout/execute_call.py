# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Execution of a tool call. A call that cannot be executed becomes a status and a sentence for the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verl_mapo.rollout.images import thumbnail
from verl_mapo.rollout.parser import BadCall, ToolCall
from verl_mapo.rollout.statuses import LabelFault, TurnStatus
from verl_mapo.rollout.trajectory import Turn
from verl_mapo.tools.base import ArgumentError, VisualTool
from verl_mapo.tools.coordinates import BoxError
from verl_mapo.tools.image_history import ImageHistory, ToolImage


@dataclass(frozen=True)
class Refusal:
    """A call that was not executed.

    Attributes:
        sentence: the reason, written for the model.
    """

    sentence: str


def execute_call(
    call: ToolCall | BadCall, turn: Turn, history: ImageHistory, tools: Mapping[str, VisualTool], scorer_side: int
) -> ToolImage | Refusal:
    """Run a tool call, and fill in the fields of its turn.

    Args:
        call: the call that was parsed from the turn's text.
        turn: the turn of the call; changed in place.
        history: the images shown so far; it is not changed.
        tools: the tools by name.
        scorer_side: longest side, in pixels, of the copy of the image that is kept for the scorer and the report.

    Returns:
        The image to show to the model, or the reason why there is none.
    """
    if isinstance(call, BadCall):
        turn.status = call.status
        return Refusal(call.sentence)
    tool = tools.get(call.name)
    if tool is None:
        turn.status = TurnStatus.UNKNOWN_TOOL
        return Refusal(f"There is no tool {call.name[:40]!r}; the tools are: {', '.join(tools)}.")
    turn.tool = tool.name
    turn.described = tool.scored
    try:
        arguments = tool.parse(call.arguments)
        turn.label = tool.label_of(arguments)
        turn.img_idx = arguments.img_idx
        turn.box_said = tool.box_of(arguments)
        image = _run(tool, arguments, history)
    except (ArgumentError, BoxError) as error:
        turn.status = TurnStatus.BAD_ARGUMENTS if isinstance(error, ArgumentError) else TurnStatus.BAD_BOX
        turn.faults = [LabelFault.REFUSED] if tool.scored else []
        return Refusal(f"The call of {tool.name} was refused: {error}.")
    turn.status = TurnStatus.OK
    turn.view = image.view
    turn.box_asked = image.asked
    turn.computed = image.computed
    if tool.scored or image.computed:
        turn.pixels = thumbnail(image.pixels, scorer_side)
    return image


def _run(tool: VisualTool, arguments: Any, history: ImageHistory) -> ToolImage:
    """Run a tool; any exception that is not meant for the model is an error in the tool, which the message names."""
    try:
        image = tool.run(arguments, history)
    except (ArgumentError, BoxError):
        raise
    except Exception as error:
        raise RuntimeError(f"The tool {tool.name} raised {type(error).__name__}: {error}") from error
    if not isinstance(image, ToolImage):
        raise RuntimeError(
            f"The tool {tool.name} returned {type(image).__name__}; run() must return a ToolImage, as history.crop() "
            "and history.computed() do."
        )
    return image

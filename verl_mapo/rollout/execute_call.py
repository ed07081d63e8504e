# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Execution of a tool call. A call that cannot be executed becomes a status and a sentence for the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from verl_mapo.rollout.images import thumbnail
from verl_mapo.rollout.parser import BadCall, ToolCall
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.rollout.statuses import LabelFault, TurnStatus
from verl_mapo.rollout.trajectory import Turn, error_sentence
from verl_mapo.tools.base import ArgumentError, VisualTool
from verl_mapo.tools.coordinates import BoxError
from verl_mapo.tools.image_history import ImageHistory, ToolImage

_LONGEST_REASON = 300
"""Characters of a tool's reason that the model is told."""


class ToolError(RuntimeError):
    """The code of a tool failed. That is no mistake of the model, so it is not told; the message names the tool."""


@dataclass(frozen=True)
class Refusal:
    """A call that was not executed.

    Attributes:
        sentence: the reason, written for the model.
    """

    sentence: str


@dataclass(frozen=True)
class CallExecutor:
    """Executes the calls of a run.

    Attributes:
        tools: the tools by name.
        settings: ``aliases``, ``parsing`` and ``scorer_side`` are read.
    """

    tools: Mapping[str, VisualTool]
    settings: VisualToolSettings

    def execute(
        self, calls: Sequence[ToolCall | BadCall], turns: Sequence[Turn], history: ImageHistory
    ) -> list[ToolImage | Refusal]:
        """Execute the calls of an assistant turn in order; a call may be about the image of an earlier one.

        Args:
            calls: the calls that were read from the text.
            turns: the turn of each call; changed in place.
            history: the images shown so far; the new images are added.

        Returns:
            For each call the image to show to the model, or the reason why there is none.

        Raises:
            ToolError: the code of a tool failed. The turns of all calls that were not refused have the status
                ``tool_error``.
        """
        results = []
        try:
            for call, turn in zip(calls, turns, strict=True):
                result = self._execute(call, turn, history)
                if isinstance(result, ToolImage):
                    history.add(result)
                results.append(result)
        except ToolError:
            for turn, result in zip_longest(turns, results):
                if not isinstance(result, Refusal):
                    turn.withdraw(TurnStatus.TOOL_ERROR)
            raise
        return results

    def _execute(self, call: ToolCall | BadCall, turn: Turn, history: ImageHistory) -> ToolImage | Refusal:
        if isinstance(call, BadCall):
            turn.status = call.status
            return Refusal(call.sentence)
        turn.lenient = call.lenient
        tool = self.tools.get(self.settings.aliases.get(call.name, call.name)) if history.views else None
        if tool is None:
            turn.status = TurnStatus.UNKNOWN_TOOL
            tools = f"the tools are: {', '.join(self.tools)}" if self.tools else "there are none"
            reason = tools if history.views else "this question has no image"
            return Refusal(f"There is no tool {call.name[:40]!r}; {reason}.")
        turn.tool = tool.name
        turn.described = tool.scored
        try:
            image = self._run(tool, call.arguments, turn, history)
            pixels = thumbnail(image.pixels, self.settings.scorer_side) if tool.scored or image.computed else None
        except (ArgumentError, BoxError) as error:
            turn.status = TurnStatus.BAD_ARGUMENTS if isinstance(error, ArgumentError) else TurnStatus.BAD_BOX
            turn.faults = [LabelFault.REFUSED] if tool.scored else []
            return Refusal(f"The call of {tool.name} was refused: {str(error)[:_LONGEST_REASON]}.")
        except ToolError:
            raise
        except (Exception, SystemExit) as error:
            raise ToolError(error_sentence(f"The tool {tool.name}", error)) from error
        turn.status = TurnStatus.OK
        turn.view = image.view
        turn.box_asked = image.asked
        turn.computed = image.computed
        turn.pixels = pixels
        return image

    def _run(self, tool: VisualTool, written: Any, turn: Turn, history: ImageHistory) -> ToolImage:
        arguments = self._parse(tool, written, turn)
        turn.label = tool.label_of(arguments)
        turn.img_idx = arguments.img_idx
        turn.box_said = tool.box_of(arguments) or tool.point_of(arguments)
        if turn.box_said is not None:
            other = tool.context.space.other_space_of(turn.box_said, history.view(arguments.img_idx).size)
            turn.other_units = other and other.value
        image = tool.run(arguments, history)
        if not isinstance(image, ToolImage):
            raise ToolError(
                f"The tool {tool.name} returned {type(image).__name__}; run() must return a ToolImage, as "
                "history.crop() and history.computed() do."
            )
        return image

    def _named(self, written: Any) -> Any:
        """The arguments by their own names; an argument that is given under two names keeps both and is refused."""
        if not isinstance(written, dict):
            return written
        aliases = {name: own for name, own in self.settings.aliases.items() if own not in written}
        return {aliases.get(name, name): value for name, value in written.items()}

    def _parse(self, tool: VisualTool, written: Any, turn: Turn) -> Any:
        """The arguments of a call, spelled as the schema has it or, if the run allows it, in another way."""
        written = self._named(written)
        try:
            return tool.parse(written)
        except ArgumentError:
            if self.settings.parsing == "strict":
                raise
            try:
                arguments = tool.parse(tool.respell(self._named(tool.respell(written))))
            except ArgumentError:
                arguments = None
            if arguments is None:
                raise
            turn.lenient = True
            return arguments

# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of the rollout with visual tools: the top-level node ``visual_tool`` of the configuration."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveInt, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from verl_mapo.names import VISUAL_TOOL_NODE
from verl_mapo.rollout.swaps import AuditSettings
from verl_mapo.settings import STRICT, ConfigError, parse_node
from verl_mapo.tools.base import TOOLS, ToolContext, VisualTool
from verl_mapo.tools.coordinates import CoordinateSpace

Describe = Literal["before", "after", "both"]

LEAST_TURN_TOKENS = 16
"""Smallest number of policy tokens that a turn needs for a label and a box."""


@dataclass(frozen=True, config=STRICT)
class VisualToolSettings:
    """Settings of :class:`verl_mapo.rollout.loop.VisualToolAgentLoop`.

    The largest number of turns is verl's own ``actor_rollout_ref.rollout.multi_turn.max_assistant_turns``.

    Attributes:
        tools: the tools that the model may call, in the order in which they are declared: names in
            :data:`verl_mapo.tools.base.TOOLS`, or dotted paths of subclasses of
            :class:`verl_mapo.tools.base.VisualTool`. Empty: none is declared and none can be called, as an evaluation
            without tools needs it; the rows are shown as they are.
        aliases: other names under which the model may call a tool or give an argument, for example those in a row's own
            declaration of tools: ``{image_zoom_in_tool: zoom, bbox: bbox_2d}``. They are not declared.
        parsing: ``lenient`` reads calls in other spellings where their meaning is certain, and counts them; ``strict``
            refuses them [ours].
        calls_per_turn: largest number of calls in one assistant turn. They are executed in order and each has its own
            label, span and score; more of them are refused [ours: 1].
        tool_options: the options of each tool, by the tool's name; options that are not given have their defaults.
        describe: when the model describes a region. ``before``: a label with the call [reader]; ``after``: a
            description in the turn after the image [the abstract allows it]; ``both``.
        max_label_tokens: largest number of tokens of a label or a description [paper: capped; ours: the number].
        max_turn_tokens: largest number of tokens of one assistant turn; a rollout whose turn reaches it ends as
            ``turn_length``. None: a turn may use up the response [ours: None].
        stop_at_call: generation stops at ``</tool_call>``, so that nothing is written after a call; then there is one
            call in a turn. Otherwise what follows a call stays in the context and is counted [ours: false].
        max_retries: number of turns of one rollout whose calls all failed and that the model may correct; the next one
            ends the rollout.
        max_errors: largest share of the rollouts of a step on which the code of a tool, of the answer check, of the
            reward function or the judge may fail before the trainer stops the run, in [0, 1]; and the largest share
            that may be lost, because their agent loops ended with an exception. Such rollouts are not trained on. Up
            to a tenth, a group of eight loses less than one rollout on average, so that nearly every prompt is still
            compared; above it, the failure is no rare input, and what is left is a selection [ours].
        max_unreadable: largest share of the rollouts of a step, or of a recorded validation batch, whose images may be
            unreadable before the trainer stops the run, in [0, 1]. A few damaged files of a data set stay below a
            hundredth; a folder that is missing on one of 64 nodes does not [ours]. In a batch of less than 100 prompts
            the default allows no unreadable prompt.
        max_nonfinite_updates: number of updates in a row whose loss or gradient may be infinite or NaN before the
            trainer stops the run. verl's engines leave out such an optimizer step, except for Megatron [ours: 0].
        coordinates: the units of the model's coordinates; ``auto`` derives them from the model type.
        max_image_pixels: largest number of pixels at which the model sees an original; None: the processor's limit.
        max_crop_pixels: largest number of pixels at which the model sees a tool's image; None: the processor's limit.
        scorer_side: longest side in pixels of the copy of an image that is sent to the scorer.
        seed: when set, every generation gets a seed made of this number, the step, the row, the session and the turn,
            so that a resumed run samples the same tokens as an uninterrupted one; None leaves sampling to the engine.
        audit: which validation rollouts go on from their first look with other images, see :class:`AuditSettings`.
    """

    NODE: ClassVar[str] = VISUAL_TOOL_NODE

    tools: list[str] = Field(default_factory=lambda: ["zoom"])
    aliases: dict[str, str] = Field(default_factory=dict)
    parsing: Literal["strict", "lenient"] = "lenient"
    calls_per_turn: PositiveInt = 1
    tool_options: dict[str, dict[str, Any]] = Field(default_factory=dict, validate_default=True)
    describe: Describe = "before"
    max_label_tokens: PositiveInt = 32
    max_turn_tokens: Annotated[int, Field(ge=LEAST_TURN_TOKENS)] | None = None
    stop_at_call: bool = False
    max_retries: Annotated[int, Field(ge=0)] = 2
    max_errors: Annotated[float, Field(ge=0, le=1)] = 0.1
    max_unreadable: Annotated[float, Field(ge=0, le=1)] = 0.01
    max_nonfinite_updates: Annotated[int, Field(ge=0)] = 0
    coordinates: Literal["auto", "pixels", "normalized_1000", "normalized_1"] = "auto"
    max_image_pixels: PositiveInt | None = None
    max_crop_pixels: PositiveInt | None = None
    scorer_side: PositiveInt = 224
    seed: Annotated[int, Field(ge=0)] | None = None
    audit: AuditSettings = Field(default_factory=AuditSettings)

    @field_validator("tools")
    @classmethod
    def _are_tools(cls, tools: list[str]) -> list[str]:
        classes = [TOOLS.find(tool) for tool in tools]
        for tool in classes:
            tool.check_declaration()
        found = [tool.name for tool in classes]
        twice = next((name for name in found if found.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"there is more than one tool with the name {twice!r}")
        return tools

    @field_validator("aliases")
    @classmethod
    def _lead_to_tools(cls, aliases: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        if not info.data.get("tools"):  # they are invalid themselves, or none, so that nothing is called
            return aliases
        tools = [TOOLS.find(tool) for tool in info.data["tools"]]
        known = list(dict.fromkeys(name for tool in tools for name in (tool.name, *tool.arguments.model_fields)))
        for alias, name in aliases.items():
            if name not in known:
                raise ValueError(f"{alias!r} stands for {name!r}, which is none of {', '.join(known)}")
            if alias in known:
                raise ValueError(f"{alias!r} is the name of a tool or an argument itself")
        return aliases

    @field_validator("stop_at_call")
    @classmethod
    def _allows_the_calls_of_a_turn(cls, stop: bool, info: ValidationInfo) -> bool:
        calls = info.data.get("calls_per_turn", 1)
        if stop and calls > 1:
            raise ValueError(
                f"it ends a turn at its first call, and {cls.NODE}.calls_per_turn={calls} allows several: set one of "
                "them back, to false or to 1"
            )
        return stop

    @field_validator("tool_options")
    @classmethod
    def _are_options_of_tools(cls, options: dict[str, dict[str, Any]], info: ValidationInfo) -> dict[str, Any]:
        if not info.data.get("tools"):  # they are invalid themselves, or none, so that nothing is called
            return options
        tools = {tool.name: tool for tool in map(TOOLS.find, info.data["tools"])}
        for name, given in options.items():
            if name not in tools:
                raise ConfigError(
                    f"{_options_node(name)} is set, but {name} is not in {cls.NODE}.tools, which has "
                    f"{', '.join(tools)}: add it or leave the options out."
                )
        for name, tool in tools.items():
            parse_node(tool.Options, options.get(name), _options_node(name))
        return options

    def space(self, model_type: str | None) -> CoordinateSpace:
        """The units of a model's coordinates.

        Raises:
            ConfigError: ``auto`` with a model family whose units are not known.
        """
        if self.coordinates != "auto":
            return CoordinateSpace(self.coordinates)
        try:
            return CoordinateSpace.of_model(model_type or "")
        except KeyError:
            raise ConfigError(
                f"visual_tool.coordinates='auto' has no units for the model type {model_type!r}: set it to 'pixels' "
                "(absolute pixels of the image as seen), 'normalized_1000' (0 to 1000 along each side) or "
                "'normalized_1' (0 to 1 along each side)."
            ) from None

    def build_tools(self, space: CoordinateSpace, image_token_side: int) -> dict[str, VisualTool]:
        """The tools by name, in the order in which they are declared.

        Args:
            space: the units of the model's coordinates.
            image_token_side: pixels along one image token, patch size times merge size.
        """
        context = ToolContext(space, self.describe in ("before", "both"), image_token_side)
        classes = [TOOLS.find(tool) for tool in self.tools]
        return {
            tool.name: tool(
                context, parse_node(tool.Options, self.tool_options.get(tool.name), _options_node(tool.name))
            )
            for tool in classes
        }


def _options_node(tool: str) -> str:
    return f"{VISUAL_TOOL_NODE}.tool_options.{tool}"

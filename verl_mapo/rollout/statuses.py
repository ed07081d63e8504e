# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The statuses of a turn, the faults of a visual turn and the end reasons of a rollout, with a sentence for each.

Members are strings, so records and metrics hold their values: ``rollout_visual/bad_call/<TurnStatus>``,
``rollout_visual/faults/<LabelFault>`` and ``rollout_visual/end/<EndReason>``.
"""

from __future__ import annotations

from enum import Enum


class Explained(str, Enum):
    """Base class of the enumerations: each member is a string and has a sentence that explains it.

    Attributes:
        sentence: the meaning of the member.
    """

    sentence: str

    def __new__(cls, value: str, sentence: str) -> Explained:
        member = str.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        return member

    def __str__(self) -> str:
        return self.value

    __format__ = str.__format__


class TurnStatus(Explained):
    """How one assistant turn ended, and whether its call was executed."""

    ANSWER = "answer", "The turn holds no tool call."
    CUT = "cut", "The turn reached a length limit before it ended."
    OK = "ok", "The call was executed and its image was shown."
    NO_JSON = "no_json", "The call is not closed, is not valid JSON, or lacks a name or arguments."
    TOO_MANY_CALLS = "too_many_calls", "The turn holds more calls than visual_tool.calls_per_turn allows."
    UNKNOWN_TOOL = "unknown_tool", "The call names a tool that does not exist."
    BAD_ARGUMENTS = "bad_arguments", "The arguments do not have the form that the tool asks for."
    BAD_BOX = "bad_box", "The call names an image or a region that does not exist."
    NO_TURNS_LEFT = "no_turns_left", "The call came in the last turn and was not executed."
    NO_ROOM = "no_room", "The call was executed, but its observation would not have fitted."
    TOOL_ERROR = "tool_error", "The call was not answered, because the code of a tool failed on a call of this turn."

    @property
    def is_call(self) -> bool:
        """Whether the model tried to call a tool."""
        return self not in (TurnStatus.ANSWER, TurnStatus.CUT)


class LabelFault(Explained):
    """The reason why a visual turn has alignment 0 without the scorer being asked."""

    REFUSED = "refused", "The tool refused the call, so there is no image."
    NO_LABEL = "no_label", "The call has no label."
    LONG_LABEL = "long_label", "The label is longer than visual_tool.max_label_tokens."
    NO_DESCRIPTION = "no_description", "No later turn describes the image."
    LONG_DESCRIPTION = "long_description", "The description is longer than visual_tool.max_label_tokens."

    @property
    def is_of_description(self) -> bool:
        """Whether a description is missing or wrong."""
        return self in (LabelFault.NO_DESCRIPTION, LabelFault.LONG_DESCRIPTION)


_FORMER = {"max_turns": "turn_limit", "max_model_len": "context_length"}
"""End reasons in the records of earlier versions, under which verl averaged their metrics as maxima."""


class EndReason(Explained):
    """The reason why a rollout ended."""

    ANSWER = "answer", "A turn held no tool call."
    TURN_LIMIT = "turn_limit", "The last possible turn held a tool call."
    BAD_CALLS = "bad_calls", "More calls failed than visual_tool.max_retries allows."
    RESPONSE_LENGTH = "response_length", "There was no room left in data.max_response_length."
    CONTEXT_LENGTH = "context_length", "There was no room left in actor_rollout_ref.rollout.max_model_len."
    TURN_LENGTH = "turn_length", "A turn reached visual_tool.max_turn_tokens before it ended."
    VISION_TOKEN = "vision_token", "The model wrote an image token."
    EMPTY = "empty", "The model wrote nothing."
    UNREADABLE_IMAGE = (
        "unreadable_image",
        "The row cannot be shown: an image, or the form of its messages; nothing was generated.",
    )
    PROMPT_LENGTH = "prompt_length", "The prompt is longer than data.max_prompt_length; nothing was generated."
    TOOL_ERROR = "tool_error", "The code of a tool failed, so the rollout is not trained on."

    @classmethod
    def _missing_(cls, value: object) -> EndReason | None:
        return cls(_FORMER[value]) if value in _FORMER else None

# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Execution of one call, without a loop around it."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from verl_mapo.rollout.execute_call import CallExecutor, Refusal
from verl_mapo.rollout.parser import BadCall, ToolCall
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.rollout.statuses import LabelFault, TurnStatus
from verl_mapo.rollout.trajectory import Turn
from verl_mapo.tools.base import Arguments, ToolContext, VisualTool
from verl_mapo.tools.coordinates import CoordinateSpace, View
from verl_mapo.tools.image_history import ImageHistory, full_view

SETTINGS = VisualToolSettings(tools=["zoom", "rotate", "mark"], scorer_side=40)
TOOLS = SETTINGS.build_tools(CoordinateSpace.pixels, 28)


@pytest.fixture
def history():
    return ImageHistory.of([full_view(Image.new("RGB", (200, 100)), 0, lambda size: size)], lambda size: size)


def run(call, history):
    turn = Turn((0, 1), "")
    (result,) = CallExecutor(TOOLS, SETTINGS).execute([call], [turn], history)
    return result, turn


def test_scored_tool_fills_the_turn_and_keeps_a_thumbnail(history):
    image, turn = run(ToolCall("zoom", {"bbox_2d": [-20, 0, 100, 50], "label": "a dog"}), history)
    assert turn.status is TurnStatus.OK and turn.tool == "zoom" and turn.label == "a dog" and turn.img_idx == 0
    assert turn.view == image.view == View(0, (0, 0, 100, 50), 0, (100, 50)) and turn.described and not turn.computed
    assert turn.box_said == turn.box_asked == (-20, 0, 100, 50) and turn.box_executed == (0, 0, 100, 50)
    assert Image.open(io.BytesIO(turn.pixels)).size == (40, 20)
    assert history.views[1:] == [image.view]


def test_plain_image_of_an_unscored_tool_keeps_no_pixels(history):
    image, turn = run(ToolCall("rotate", {"angle": 90}), history)
    assert turn.status is TurnStatus.OK and turn.view.quarter_turns == 1 and turn.pixels is None
    assert not turn.described and turn.box_said is None and image.pixels.size == (100, 200)


def test_computed_image_of_an_unscored_tool_keeps_its_pixels(history):
    _, turn = run(ToolCall("mark", {"point_2d": [10, 10]}), history)
    assert turn.computed and turn.pixels and not turn.described and turn.to_record()["pixels"]


@pytest.mark.parametrize(
    ("call", "status", "faults", "sentence"),
    [
        (BadCall(TurnStatus.NO_JSON, "Why."), TurnStatus.NO_JSON, [], "Why."),
        (
            ToolCall("fly", {}),
            TurnStatus.UNKNOWN_TOOL,
            [],
            "There is no tool 'fly'; the tools are: zoom, rotate, mark.",
        ),
        (
            ToolCall("zoom", {}),
            TurnStatus.BAD_ARGUMENTS,
            [LabelFault.REFUSED],
            "The call of zoom was refused: bbox_2d: field required.",
        ),
        (
            ToolCall("zoom", {"bbox_2d": [9, 9, 1, 1]}),
            TurnStatus.BAD_BOX,
            [LabelFault.REFUSED],
            "The call of zoom was refused: the box is empty or inverted: it needs x1 < x2 and y1 < y2.",
        ),
        (
            ToolCall("mark", {"point_2d": [999, 0]}),
            TurnStatus.BAD_BOX,
            [],
            "The call of mark was refused: the point lies outside the image.",
        ),
        (
            ToolCall("rotate", {"angle": 90, "img_idx": 3}),
            TurnStatus.BAD_BOX,
            [],
            "The call of rotate was refused: there is no image 3: images 0 to 0 have been shown.",
        ),
    ],
)
def test_call_that_cannot_be_executed_has_a_status_and_a_sentence(history, call, status, faults, sentence):
    result, turn = run(call, history)
    assert result == Refusal(sentence) and turn.status is status and turn.faults == faults
    assert turn.view is None and turn.pixels is None


class Faulty(VisualTool):
    """A tool with an error in it."""

    name = "faulty"
    description = "Fail."
    arguments = Arguments

    def run(self, arguments, history):
        return history.pixels(0) if arguments.img_idx == 0 else 1 / 0


@pytest.mark.parametrize(
    ("index", "message"),
    [(0, r"faulty returned Image; run\(\) must return a ToolImage"), (1, "faulty raised ZeroDivisionError")],
)
def test_error_in_a_tool_is_raised_with_the_name_of_the_tool(history, index, message):
    tools = {"faulty": Faulty(ToolContext(CoordinateSpace.pixels, True, 28))}
    with pytest.raises(RuntimeError, match=message):
        CallExecutor(tools, SETTINGS).execute([ToolCall("faulty", {"img_idx": index})], [Turn((0, 1), "")], history)

# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Execution of one call, without a loop around it."""

from __future__ import annotations

import io
import json
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from enum import Enum
from random import Random
from typing import Annotated
from unittest.mock import Mock

import pytest
from PIL import Image
from pydantic import BaseModel, Field

from verl_mapo.rollout.execute_call import CallExecutor, Refusal, ToolError
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


class Size(BaseModel):
    width: int


class Named(BaseModel):
    title: str


class Colour(Enum):
    RED = "red"


@dataclass
class Corner:
    x: float


class PinArguments(Arguments):
    """Arguments of many types, of which some have names in Python."""

    point_2d: list[float] | None = Field(None, description="x, y")
    size: Size | None = Field(None, description="a size")
    either: Size | Named | list[int] | None = Field(None, description="either")
    colour: Colour | None = Field(None, description="a colour")
    corner: Corner | None = Field(None, description="a corner")
    corners: list[Corner] | None = Field(None, description="corners")
    sizes: dict[str, Size] | None = Field(None, description="sizes")
    pair: tuple[int, str] | None = Field(None, description="a pair")
    day: date | None = Field(None, description="a day")
    word: Annotated[str, Field(pattern="^a+$", max_length=3)] | None = Field(None, description="a word")


class Pin(VisualTool):
    """A tool of another package, which does not say where its point is."""

    name = "outside"
    description = "Pin a point."
    arguments = PinArguments

    def run(self, arguments, history):
        x, y = (arguments.point_2d or [9, 9])[:2]
        self.context.space.to_view((x, y, x, y), history.view(0).size)
        return history.crop(0)


@pytest.mark.parametrize("tool", ["zoom", "mark", "mark_point", "outside"])
@pytest.mark.parametrize("space", [CoordinateSpace.pixels, CoordinateSpace.normalized_1000])
def test_place_in_fractions_is_refused_and_counted_for_every_tool(history, space, tool):
    tools = {**SETTINGS.build_tools(space, 28), "outside": Pin(ToolContext(space, True, 28))}
    box = tool in ("zoom", "mark")
    place = [0.2, 0.1, 0.6, 0.5] if box else [0.4, 0.9]
    turn = Turn((0, 1), "")
    call = ToolCall(tool.removesuffix("_point"), {"bbox_2d" if box else "point_2d": place})
    (result,) = CallExecutor(tools, SETTINGS).execute([call], [turn], history)
    assert isinstance(result, Refusal) and turn.status is TurnStatus.BAD_BOX
    assert f"the numbers look like fractions of the image; they have to be {space.units}." in result.sentence
    if tool != "outside":
        assert turn.other_units == "normalized_1" and turn.box_said == tuple(place)
        assert Turn.from_record(json.loads(json.dumps(turn.to_record()))) == turn


def test_point_in_the_units_of_the_run_is_drawn(history):
    for space, point in (("normalized_1", [0.4, 0.9]), ("pixels", [0, 0]), ("pixels", [150, 1]), ("pixels", [0.5, 2])):
        tools = SETTINGS.build_tools(CoordinateSpace(space), 28)
        turn = Turn((0, 1), "")
        (image,) = CallExecutor(tools, SETTINGS).execute([ToolCall("mark", {"point_2d": point})], [turn], history)
        assert turn.status is TurnStatus.OK and turn.other_units is None and image.computed


def test_point_in_other_units_than_the_runs_is_counted(history):
    _, turn = run(ToolCall("mark", {"point_2d": [900, 700]}), history)
    assert turn.status is TurnStatus.BAD_BOX and turn.other_units == "normalized_1000"


@pytest.mark.parametrize("written", [None, 3, "x", [1], [], "[1, 2, 3, 4]", True, [[10, 20, 30, 40]]])
@pytest.mark.parametrize("name", ["zoom", "rotate", "mark"])
def test_arguments_that_are_no_dictionary_are_answered_with_an_example_that_works(history, name, written):
    result, turn = run(ToolCall(name, written), history)
    assert turn.status is TurnStatus.BAD_ARGUMENTS
    assert "refused: arguments: it should be a JSON object, such as {" in result.sentence
    example = json.loads(result.sentence.split("such as ")[1].removesuffix("."))
    _, turn = run(ToolCall(name, example), history)
    assert turn.status is TurnStatus.OK and not turn.lenient


def test_no_message_to_the_model_names_a_python_class(history):
    rng, tool = Random(0), Pin(ToolContext(CoordinateSpace.pixels, True, 28))
    tools, refused = {**TOOLS, "outside": tool}, set()
    values = [None, 3, 0.5, "x", "red", True, [], {}, [1], ["x"], [1, "x"], {"x": 1}, {"width": "x"}, {"title": 3}]
    values += [[{}], [{"x": "y"}], {"a": {}}, {"a": {"width": []}}, {"width": 1, "more": 2}, "2024-13-01", -1e999]
    names = [*PinArguments.model_fields, "bbox_2d", "angle", "label", "more"]
    for _ in range(1500):
        written = {name: rng.choice(values) for name in rng.sample(names, rng.randint(0, 3))}
        call = ToolCall(rng.choice([*tools]), rng.choice([written, written, written, *values]))
        with suppress(ToolError):
            (result,) = CallExecutor(tools, SETTINGS).execute([call], [Turn((0, 1), "")], history.first(1))
            refused |= {result.sentence} if isinstance(result, Refusal) else set()
    assert len(refused) > 40
    python = re.compile(r"nstance|ictionary|Arguments|Python|class|function|tuple|[a-z]\[|\b(Size|Named|Corner|None)\b")
    assert not [sentence for sentence in refused if python.search(sentence)]


@pytest.mark.parametrize(
    "written",
    [
        *("1,234, 2, 300", "1,234, 200, 300, 400", "1,234 200 300", "10, 20,30, 40", "[1,234, 2, 300]", "0,5 0,7"),
        *("(1,234, 2, 300)", "1 234, 2, 300", "1,234; 2; 300; 400", "1.234.5, 2, 3, 4"),
        *(["1,234", 2, 300, 400], ["1 234", 2, 300, 400], {"x1": "1,234", "y1": 2, "x2": 300, "y2": 400}),
    ],
)
def test_numbers_with_separators_inside_are_refused_in_words(history, written):
    result, turn = run(ToolCall("zoom", {"bbox_2d": written}), history)
    assert turn.status is TurnStatus.BAD_ARGUMENTS and "The call of zoom was refused: bbox_2d" in result.sentence
    assert not turn.lenient


@pytest.mark.parametrize("gap", [",", ", ", " , ", " ", "  ", "\n", ",\n"])
@pytest.mark.parametrize("frame", ["[]", "()", ("", "")])
def test_numbers_that_are_separated_alike_are_read(history, gap, frame):
    written = frame[0] + gap.join(["10", "20.0", "100", "80"]) + frame[1]
    _, turn = run(ToolCall("zoom", {"bbox_2d": written}), history)
    assert turn.status is TurnStatus.OK and turn.lenient and turn.box_said == (10, 20, 100, 80)


class Faulty(VisualTool):
    """A tool of which one method fails with an exception."""

    name = "faulty"
    description = "Fail."
    arguments = Arguments
    scored = True

    def __init__(self, method: str, error: BaseException | None):
        super().__init__(ToolContext(CoordinateSpace.pixels, True, 28))
        if error is not None:
            setattr(self, method, Mock(side_effect=error))

    def run(self, arguments, history):
        return history.crop(0, (0, 0, 50, 50))


ERRORS = [ZeroDivisionError("x"), KeyError("x"), StopIteration("x"), SystemExit("x"), MemoryError("x"), OSError(5, "x")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("method", ["parse", "label_of", "box_of", "point_of", "run"])
def test_error_in_any_method_of_a_tool_is_raised_with_its_name_and_no_call_counts_as_answered(history, method, error):
    tools = {**TOOLS, "faulty": Faulty(method, error)}
    fine = ToolCall("zoom", {"bbox_2d": [0, 0, 50, 50], "label": "a dog"})
    calls = [ToolCall("fly", {}), fine, ToolCall("faulty", {}), fine]
    turns = [Turn((place, place + 1), "") for place in range(4)]
    with pytest.raises(ToolError, match=rf"^The tool faulty raised {type(error).__name__}: .*x.*\.$"):
        CallExecutor(tools, SETTINGS).execute(calls, turns, history)
    assert [turn.status for turn in turns] == [TurnStatus.UNKNOWN_TOOL] + [TurnStatus.TOOL_ERROR] * 3
    assert not any(turn.described or turn.pixels or turn.faults for turn in turns), "none of them is a visual turn"


@pytest.mark.parametrize(
    "result", [None, Image.new("RGB", (9, 9)), "image", Mock(spec=object)], ids=lambda value: type(value).__name__
)
def test_tool_that_returns_no_image_is_an_error_with_its_name(history, result):
    faulty = Faulty("run", None)
    faulty.run = lambda arguments, history: result
    turn = Turn((0, 1), "")
    with pytest.raises(ToolError, match=r"^The tool faulty returned \w+; run\(\) must return a ToolImage"):
        CallExecutor({"faulty": faulty}, SETTINGS).execute([ToolCall("faulty", {})], [turn], history)
    assert turn.status is TurnStatus.TOOL_ERROR


def test_image_that_cannot_be_encoded_is_an_error_of_its_tool(history):
    faulty = Faulty("run", None)
    faulty.run = lambda arguments, history: replace(history.crop(0), pixels=Image.new("F", (9, 9)))
    with pytest.raises(ToolError, match="^The tool faulty raised OSError: cannot write mode F as JPEG"):
        CallExecutor({"faulty": faulty}, SETTINGS).execute([ToolCall("faulty", {})], [Turn((0, 1), "")], history)

# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
import ast
import json
import time
from pathlib import Path

import pytest
from pydantic import Field

import verl_mapo.tools
from verl_mapo.tools.base import TOOLS, ArgumentError, Arguments, LabelledArguments, ToolContext, VisualTool
from verl_mapo.tools.coordinates import CoordinateSpace

PIXELS, NORMALIZED = CoordinateSpace.pixels, CoordinateSpace.normalized_1000

LABEL = '"label": {"type": "string", "description": "what you expect to see in the region"}, '
IMG_IDX = '"img_idx": {"type": "integer", "description": "which image seen so far; 0 is the first", "default": 0}'


def zoom_schema(units: str, labelled: bool) -> str:
    """The zoom tool's schema as the models of earlier runs were shown it."""
    return (
        '{"type": "function", "function": {"name": "zoom", "description": "Zoom in on a region of an image.", '
        '"parameters": {"type": "object", "properties": {' + (LABEL if labelled else "") + '"bbox_2d": {"type": '
        f'"array", "description": "x1, y1, x2, y2, {units}", "items": {{"type": "number"}}, "minItems": 4, '
        '"maxItems": 4}, ' + IMG_IDX + '}, "required": [' + ('"label", ' if labelled else "") + '"bbox_2d"]}}}'
    )


ROTATE_SCHEMA = (
    '{"type": "function", "function": {"name": "rotate", "description": "Rotate an image clockwise.", "parameters": '
    '{"type": "object", "properties": {"angle": {"type": "integer", "enum": [90, 180, 270], "description": '
    '"degrees, clockwise"}, ' + IMG_IDX + '}, "required": ["angle"]}}}'
)

MARK_SCHEMA = (
    '{"type": "function", "function": {"name": "mark", "description": "Draw a box or a point on an image.", '
    '"parameters": {"type": "object", "properties": {"bbox_2d": {"type": "array", "description": "the box to draw: '
    'x1, y1, x2, y2, in pixels of that image", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}, '
    '"point_2d": {"type": "array", "description": "or the point to draw: x, y, in pixels of that image", "items": '
    '{"type": "number"}, "minItems": 2, "maxItems": 2}, ' + IMG_IDX + "}}}}"
)


def shown(name: str, space: CoordinateSpace, labels: bool) -> str:
    return json.dumps(TOOLS.find(name)(ToolContext(space, labels, 28)).schema())


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize(
    ("space", "units"), [(PIXELS, "in pixels of that image"), (NORMALIZED, "each from 0 to 1000 across that image")]
)
def test_generated_schemas_are_byte_identical_to_the_written_ones(space, units, labels):
    assert shown("zoom", space, labels) == zoom_schema(units, labels)
    assert shown("rotate", space, labels) == ROTATE_SCHEMA


def test_argument_that_may_be_left_out_is_not_required_and_has_no_default():
    assert shown("mark", PIXELS, True) == MARK_SCHEMA


class NamedArguments(LabelledArguments):
    title: str = Field(description="a word")
    loud: bool = Field(False, description="whether to shout")


class Named(VisualTool):
    name = "named"
    description = "Name something."
    arguments = NamedArguments
    scored = True

    def run(self, arguments, history):
        return history.crop(arguments.img_idx)


def test_schema_of_an_outside_tool_has_its_arguments_before_img_idx():
    schema = Named(ToolContext(PIXELS, True, 28)).schema()["function"]["parameters"]
    assert list(schema["properties"]) == ["label", "title", "loud", "img_idx"]
    assert schema["properties"]["title"] == {"type": "string", "description": "a word"}
    assert schema["properties"]["loud"] == {"type": "boolean", "description": "whether to shout", "default": False}
    assert schema["required"] == ["label", "title"]


def test_label_is_optional_when_a_call_is_parsed(context):
    tool = Named(context)
    assert tool.label_of(tool.parse({"title": "x"})) is None
    assert tool.label_of(tool.parse({"title": "x", "label": "y"})) == "y"


def test_tool_is_found_by_name_or_dotted_path():
    assert {"zoom", "rotate", "mark"} <= set(TOOLS.names)
    assert TOOLS.find("verl_mapo.tools.zoom.Zoom") is TOOLS.find("zoom")
    with pytest.raises(ValueError, match="did you mean 'zoom'"):
        TOOLS.find("zom")
    with pytest.raises(ValueError, match="is not a subclass of verl_mapo.tools.base.VisualTool"):
        TOOLS.find("verl_mapo.tools.base.Arguments")


class Undescribed(Arguments):
    """Arguments of which one has no description."""

    size: int


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"arguments": Arguments}, "the arguments of the scored tool 'named' must derive from LabelledArguments"),
        ({"scored": False, "arguments": dict}, "the arguments of the tool 'named' must derive from Arguments"),
        ({"scored": False, "arguments": Undescribed}, "the argument 'size' of the tool 'named' has no description"),
        ({"description": None}, "the tool Wrong has no description"),
        ({"name": None}, "the tool Wrong has no name"),
        ({"run": VisualTool.run}, r"the tool 'named' does not define run\(\)"),
    ],
)
def test_tool_that_declares_too_little_is_refused(declared, message):
    with pytest.raises(ValueError, match=message):
        type("Wrong", (Named,), declared).check_declaration()
    for name in TOOLS.names:
        TOOLS.find(name).check_declaration()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (None, r'arguments: it should be a JSON object, such as {"label": "...", "title": "..."}$'),
        ({}, "title: field required"),
        ({"title": "x", "size": 3}, "size: extra inputs are not permitted"),
        ({"title": "x", "loud": "yes"}, "loud: input should be a valid boolean"),
    ],
)
def test_argument_error_names_the_argument(context, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        Named(context).parse(arguments)


def test_tools_import_nothing_of_verl_or_ray_and_little_of_the_package():
    allowed = ("verl_mapo.names", "verl_mapo.registry", "verl_mapo.settings", "verl_mapo.tools")
    for file in Path(verl_mapo.tools.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] not in ("verl", "ray"), f"{file.name} imports {name}"
                assert not name.startswith("verl_mapo") or name.startswith(allowed), f"{file.name} imports {name}"


BOX = [10, 20, 30, 40]


@pytest.mark.parametrize(
    "written",
    [
        {"bbox_2d": "[10, 20, 30, 40]"},
        {"bbox_2d": "10, 20, 30, 40"},
        {"bbox_2d": "(10.0 20 30 40)"},
        {"bbox_2d": "(10,20),(30,40)"},
        {"bbox_2d": "[[10, 20], [30, 40]]"},
        {"bbox_2d": "[(10, 20) (30.0, 40)]"},
        {"bbox_2d": ["10", "20", "30", "40.0"]},
        {"bbox_2d": [[10, 20, 30, 40]]},
        {"bbox_2d": [[10, 20], [30, 40]]},
        {"bbox_2d": {"x1": 10, "y1": 20, "x2": 30, "y2": 40}},
        {"bbox_2d": BOX, "img_idx": 0.0},
        {"bbox_2d": BOX, "img_idx": "0"},
        '{"bbox_2d": [10, 20, 30, 40]}',
    ],
)
def test_other_spelling_of_a_value_is_read_where_its_meaning_is_certain(written):
    zoom = TOOLS.find("zoom")(ToolContext(CoordinateSpace.pixels, labels=True, image_token_side=28))
    with pytest.raises(ArgumentError):
        zoom.parse(written)
    arguments = zoom.parse(zoom.respell(written))
    assert arguments.bbox_2d == BOX and arguments.img_idx == 0


@pytest.mark.parametrize(
    "written",
    [
        {"bbox_2d": [10, 20, 30]},
        {"bbox_2d": "ten"},
        {"bbox_2d": "(10,20),(30)"},
        {"bbox_2d": "(10,20,30),(40)"},
        {"bbox_2d": "(10,20),(30,40),(50,60)"},
        {"bbox_2d": BOX, "img_idx": 0.5},
        {"bbox_2d": BOX, "img_idx": True},
        {"bbox_2d": BOX, "img_idx": None},
        {"bbox_2d": {"x": 10, "y": 20, "w": 30, "h": 40}},
        {"bbox_2d": [BOX, BOX]},
        {"bbox_2d": [True, 1, 2, 3]},
        {"bbox_2d": BOX, "more": 1},
        "x",
        [1],
        None,
    ],
)
def test_value_without_a_certain_meaning_is_refused(written):
    zoom = TOOLS.find("zoom")(ToolContext(CoordinateSpace.pixels, labels=True, image_token_side=28))
    with pytest.raises(ArgumentError):
        zoom.parse(zoom.respell(written))


@pytest.mark.parametrize("gap", [" ", "  ", ", ", " , "])
def test_long_strings_of_numbers_are_refused_in_little_time(gap):
    zoom = TOOLS.find("zoom")(ToolContext(CoordinateSpace.pixels, labels=True, image_token_side=28))
    text = gap.join(["1"] * 5000) + "x"
    begin = time.process_time()
    for value in (text, [text], text[:190] + "x"):
        zoom.respell({"bbox_2d": value})
    assert time.process_time() - begin < 1


def test_values_in_the_right_form_are_not_respelled():
    zoom = TOOLS.find("zoom")(ToolContext(CoordinateSpace.pixels, labels=True, image_token_side=28))
    written = {"bbox_2d": BOX, "label": "12"}
    assert zoom.respell(written) == written
    assert zoom.respell({"bbox_2d": "[10, 20, 30, 40]", "label": "12"})["label"] == "12"

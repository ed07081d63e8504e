# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of the visual tool rollout."""

from __future__ import annotations

import pytest
from support.scripted import compose_config

from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.settings import ConfigError, parse, parse_node
from verl_mapo.tools.base import ToolContext
from verl_mapo.tools.coordinates import CoordinateSpace
from verl_mapo.tools.mark import MarkOptions
from verl_mapo.tools.zoom import ZoomOptions


def test_unknown_model_family_needs_its_coordinates_set():
    with pytest.raises(ConfigError, match="visual_tool.coordinates='auto' has no units for the model type 'llava'"):
        VisualToolSettings().space("llava")
    assert VisualToolSettings(coordinates="pixels").space("llava").value == "pixels"


def test_tools_are_built_in_the_order_given_with_their_options():
    settings = VisualToolSettings(
        tools=["mark", "verl_mapo.tools.zoom.Zoom"], tool_options={"zoom": {"min_side": 7}}, describe="after"
    )
    tools = settings.build_tools(CoordinateSpace.pixels, 28)
    assert list(tools) == ["mark", "zoom"]
    assert tools["zoom"].options == ZoomOptions(min_side=7) and tools["mark"].options == MarkOptions()
    assert tools["zoom"].context == ToolContext(CoordinateSpace.pixels, labels=False, image_token_side=28)


def test_without_tools_their_options_and_aliases_have_no_effect():
    settings = VisualToolSettings(tools=[], aliases={"crop": "zoom"}, tool_options={"zoom": {"min_side": 7}})
    assert settings.build_tools(CoordinateSpace.pixels, 28) == {}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"tools": ["zom"]}, "visual_tool.tools=['zom'] is refused: there is no tool 'zom': did you mean 'zoom'?"),
        ({"tools": ["my.package.Flip"]}, "the dotted path 'my.package.Flip' leads to no tool"),
        ({"tools": ["zoom", "verl_mapo.tools.zoom.Zoom"]}, "there is more than one tool with the name 'zoom'"),
        (
            {"tool_options": {"rotate": {"x": 1}}},
            "visual_tool.tool_options.rotate is set, but rotate is not in visual_tool.tools, which has zoom",
        ),
        ({"tool_options": {"zoom": {"min_sid": 3}}}, "did you mean visual_tool.tool_options.zoom.min_side?"),
        ({"tool_options": {"zoom": {"max_aspect": 1}}}, "visual_tool.tool_options.zoom.max_aspect=1 is refused"),
        ({"tool_options": {"zoom": 3}}, "visual_tool.tool_options.zoom=3 is refused"),
        (
            {"tools": ["rotate"], "tool_options": {"rotate": {"x": 1}}},
            "visual_tool.tool_options.rotate.x=1 is not a setting; there are no settings here.",
        ),
        (
            {"aliases": {"crop": "zom"}},
            "visual_tool.aliases={'crop': 'zom'} is refused: 'crop' stands for 'zom'",
        ),
        ({"aliases": {"label": "zoom"}}, "'label' is the name of a tool or an argument itself"),
        ({"calls_per_turn": 0}, "visual_tool.calls_per_turn=0 is refused"),
        ({"parsing": "loose"}, "visual_tool.parsing='loose' is refused"),
        ({"min_side": 3}, "visual_tool.min_side=3 is not a setting"),
    ],
)
def test_invalid_tools_and_options_are_refused_with_a_sentence(settings, sentence):
    with pytest.raises(ConfigError) as error:
        parse_node(VisualToolSettings, settings, VisualToolSettings.NODE)
    assert sentence in str(error.value)


def test_options_can_be_set_on_the_command_line():
    config = compose_config("+visual_tool.tool_options.zoom.max_aspect=3", "+visual_tool.tool_options.zoom.min_side=9")
    tools = parse(VisualToolSettings, config).build_tools(CoordinateSpace.pixels, 28)
    assert tools["zoom"].options == ZoomOptions(min_side=9, max_aspect=3.0)

# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The messages of the loop."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from verl_mapo.rollout.plain_text import PlainText
from verl_mapo.rollout.prompts import DEFAULT_SYSTEM, declare, image_text, observation, shown, text_of
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.tools.coordinates import CoordinateSpace

TOOLS = VisualToolSettings(tools=["zoom", "mark"]).build_tools(CoordinateSpace.pixels, 28).values()
USER = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}


@pytest.mark.parametrize("system", [None, "Be brief.", [{"type": "text", "text": "Be brief."}]])
def test_tools_are_declared_after_the_system_message(system):
    messages = [USER] if system is None else [{"role": "system", "content": system}, USER]
    declared = declare(messages, TOOLS, "before")
    start = DEFAULT_SYSTEM if system is None else "Be brief."
    assert declared[0]["content"].startswith(f"{start}\n\n# Tools") and declared[1:] == [USER]
    assert all(json.dumps(tool.schema()) in declared[0]["content"] for tool in TOOLS)
    assert messages[-1] is USER and len(messages) == (1 if system is None else 2)


@pytest.mark.parametrize(("describe", "asked"), [("before", False), ("after", True), ("both", True)])
def test_descriptions_are_asked_for_after_the_image(describe, asked):
    assert ("<description>" in declare([USER], TOOLS, describe)[0]["content"]) is asked


def test_observation_holds_the_image_and_its_text():
    image = Image.new("RGB", (28, 28))
    message = observation((image_text(2, (28, 56)), image))
    assert message["content"][1] == {"type": "image", "image": image}
    assert text_of(message) == "<tool_response>\nImage 2, 28 x 56 pixels.\n</tool_response>"
    assert text_of(observation(("No.", None))) == "<tool_response>\nNo.\n</tool_response>"
    assert text_of({"role": "user", "content": "plain"}) == "plain"


def test_a_row_is_shown_as_it_is_where_there_are_no_tools(tiny_models):
    plain, settings = PlainText(tiny_models["qwen2_5_vl"].tokenizer), VisualToolSettings(tools=[])
    assert shown([USER], plain, [], settings) == [USER]
    assert len(shown([USER], plain, TOOLS, VisualToolSettings())) == 2

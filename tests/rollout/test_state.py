# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The state of a continuation."""

from __future__ import annotations

import pytest
from support.scripted import compose_config, play, prompt_of


def call(name: str, **arguments) -> str:
    body = str({"name": name, "arguments": arguments}).replace("'", '"')
    return f"look <tool_call>{body}</tool_call>"


@pytest.fixture
def state(tiny_models, picture):
    zoom = call("zoom", label="a square", bbox_2d=[0, 0, 90, 90], img_idx=1)
    turns = [call("mark", bbox_2d=[9, 9, 90, 90]), call("zoom", bbox_2d=[9, 9, 1, 1]), zoom, "<answer>a</answer>"]
    config = compose_config("visual_tool.tools=[zoom,mark]")
    return play(tiny_models["qwen2_5_vl"], config, prompt_of(picture), turns).state


def test_prefix_holds_what_came_before_it(state):
    start, end = state.trajectory.turns[2].span
    prefix = state.prefix(start + 1)
    assert prefix.response_ids == state.response_ids[: start + 1] and prefix.turn_start == start
    assert prefix.response_mask == [0] * (start + 1) and prefix.response_logprobs == [0.0] * (start + 1)
    assert prefix.trajectory.end_reason is None and prefix.trajectory.prefix_length == start + 1
    assert prefix.trajectory.turns == state.trajectory.turns[:2] and prefix.retries == state.retries == 1
    assert prefix.request_id == state.request_id and prefix.extra_fields == {"min_global_steps": 1}


def test_prefix_counts_the_corrected_calls_before_it(tiny_models, picture):
    good, bad = call("zoom", label="a square", bbox_2d=[0, 0, 90, 90]), call("zoom", bbox_2d=[9, 9, 1, 1])
    state = play(tiny_models["qwen2_5_vl"], compose_config(), prompt_of(picture), [good, bad, bad, "a"]).state
    starts = [turn.span[0] for turn in state.trajectory.turns]
    assert state.retries == 2 and [state.prefix(start).retries for start in starts] == [0, 0, 1, 2]


def test_prefix_shares_images_with_the_source_and_keeps_computed_ones(state):
    prefix = state.prefix(state.trajectory.turns[2].span[0])
    assert len(prefix.history.images) == 2 and len(state.history.images) == 3
    assert prefix.history.canvases[1] is state.history.canvases[1] and 2 not in prefix.history.canvases
    assert prefix.history.crop(1).computed


def test_turns_of_a_prefix_are_copies(state):
    prefix = state.prefix(state.trajectory.turns[2].span[0])
    prefix.trajectory.turns[0].observation = "changed"
    assert state.trajectory.turns[0].observation != "changed"


def test_position_in_an_observation_or_past_the_end_is_no_prefix(state):
    for position in (state.trajectory.turns[0].span[1] + 1, len(state.response_ids)):
        with pytest.raises(ValueError, match="not inside the first call"):
            state.prefix(position)

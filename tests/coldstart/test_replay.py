# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Texts replayed through the agent loop have the tokens, images and features of a rollout that sampled them."""

from __future__ import annotations

import asyncio

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.scripted import call, compose_config, play, prompt_of

from verl_mapo.coldstart.replay import Replayer, ReplayFault, TextServer, own_part
from verl_mapo.rollout.statuses import EndReason

ANSWER = "<think>It is red.</think>\n<answer>red</answer>"


def replay(model, turns, *overrides, picture):
    replayer = Replayer(compose_config(*overrides), model.tokenizer, model.processor, model.model_type)
    return replayer.replay(prompt_of(picture), turns)


def assert_same(replayed, output):
    assert replayed.token_ids == output.prompt_ids + output.response_ids
    assert replayed.mask == [0] * len(output.prompt_ids) + output.response_mask
    assert replayed.features.keys() == output.features.keys()
    for name, value in output.features.items():
        assert torch.equal(replayed.features[name], value), name
    images = output.multi_modal_data["images"]
    assert [image.tobytes() for image in replayed.output.multi_modal_data["images"]] == [i.tobytes() for i in images]


@pytest.mark.parametrize("overrides", [(), ("visual_tool.stop_at_call=true",)])
def test_replay_equals_a_rollout_that_samples_the_same_texts(model, picture, overrides):
    turns = [call(), call((1, 2, 300, 90)), ANSWER]
    replayed = replay(model, turns, *overrides, picture=picture)
    assert_same(replayed, play(model, compose_config(*overrides), prompt_of(picture), turns))
    assert replayed.findings == [] and len(replayed.trajectory.visual_turns) == 2


def test_a_call_in_a_thought_does_not_end_a_turn_that_stops_at_calls(model, picture):
    draft = "<think>Perhaps " + call().split("\n", 1)[1] + " or not.</think>\n" + call().split("\n", 1)[1]
    replayed = replay(model, [draft, ANSWER], "visual_tool.stop_at_call=true", picture=picture)
    assert replayed.findings == [] and replayed.trajectory.turns[0].text == draft


@pytest.mark.parametrize(
    ("turns", "overrides", "reasons"),
    [
        ([], (), [ReplayFault.NO_TURNS]),
        ([call(), " "], (), [ReplayFault.NO_TURNS]),
        ([call()], (), [ReplayFault.UNFINISHED]),
        ([ANSWER, ANSWER], (), [ReplayFault.EARLY_ANSWER]),
        ([call() + "<|im_end|> more", ANSWER], (), [ReplayFault.CHANGED_TEXT]),
        ([call() + " more", ANSWER], ("visual_tool.stop_at_call=true",), [ReplayFault.CHANGED_TEXT]),
        (["a<|image_pad|>b"], (), [EndReason.VISION_TOKEN]),
        ([call((40, 40, 10, 10)), call(), ANSWER], (), [ReplayFault.REFUSED_CALL]),
        ([call()] * 4, (), [EndReason.TURN_LIMIT]),
        (["<tool_call>"] * 4, ("visual_tool.max_retries=0",), [EndReason.BAD_CALLS]),
        (["a b c d e f g h"], ("data.max_response_length=5",), [EndReason.RESPONSE_LENGTH]),
        ([ANSWER], ("data.max_prompt_length=20",), [EndReason.PROMPT_LENGTH]),
    ],
)
def test_what_the_loop_does_not_do_is_a_finding(model, picture, turns, overrides, reasons):
    replayed = replay(model, turns, *overrides, picture=picture)
    assert [finding.reason for finding in replayed.findings] == reasons
    assert all(finding.detail for finding in replayed.findings)


def test_an_unreadable_image_is_a_finding(model, tmp_path):
    replayed = replay(model, [ANSWER], picture=str(tmp_path / "absent.png"))
    assert [finding.reason for finding in replayed.findings] == [EndReason.UNREADABLE_IMAGE]
    assert "absent.png" in replayed.findings[0].detail


@pytest.mark.parametrize(
    ("text", "opened", "own"),
    [
        ("<think>\na</think>b", True, "a</think>b"),
        ("a</think>b", True, "a</think>b"),
        ("<think>a</think>b", False, "<think>a</think>b"),
        ("a</think>b", False, "<think>\na</think>b"),
        ("b", False, "b"),
        ("b", True, "b"),
    ],
)
def test_the_opening_tag_of_a_thought_is_the_templates_or_the_models(text, opened, own):
    assert own_part(text, opened) == own


@given(st.text(min_size=1, max_size=40), st.integers(1, 60), st.integers(1, 20))
def test_a_turn_is_delivered_in_parts_that_together_are_its_tokens(tiny_models, text, first, room):
    """Whatever stops a turn, the loop gets the rest, and the next turn begins after an observation."""
    tokenizer = tiny_models["qwen2_5_vl"].tokenizer
    server, context, tokens = TextServer(tokenizer, [text, "next"]), [first], []
    whole = [*tokenizer.encode(own_part(text, False), add_special_tokens=False), tokenizer.eos_token_id]
    while len(tokens) < len(whole):
        part = asyncio.run(server.generate("", prompt_ids=context + tokens, sampling_params={"max_tokens": room}))
        tokens += part.token_ids
    assert tokens == whole and len(server.written) == 1
    after = context + tokens + [first]
    part = asyncio.run(server.generate("", prompt_ids=after, sampling_params={"max_tokens": 99}))
    assert part.token_ids == [*tokenizer.encode("next"), tokenizer.eos_token_id] and server.written[1] == "next"
    part = asyncio.run(server.generate("", prompt_ids=after, sampling_params={"max_tokens": 99}))
    assert part.token_ids == []

# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""AXPO with a thinking model, whose template puts the opening tag of the thought in the generation prompt."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
from support.scripted import compose_config, play, prompt_of

from verl_mapo.rollout.axpo.first_call import FirstCallFinder

OPENED = "<|im_start|>assistant\n<think>\n"
THOUGHT = "It is small.\n</think>\n\n"
CALL = '<tool_call>\n{"name": "zoom", "arguments": {"label": "red", "bbox_2d": [10, 10, 500, 500]}}\n</tool_call>'


@pytest.fixture(scope="module")
def thinking(tiny_models):
    """The tiny Qwen3-VL with a template whose generation prompt ends with an opening tag."""
    model = SimpleNamespace(**copy.deepcopy(vars(tiny_models["qwen3_vl"])))
    template = model.processor.chat_template
    assert template.count("'<|im_start|>assistant\\n'") == 1
    for each in (model.processor, model.tokenizer):
        each.chat_template = template.replace("assistant\\n'", "assistant\\n<think>\\n'")
    return model


@pytest.fixture
def state(thinking, picture):
    return play(thinking, compose_config(), prompt_of(picture), [THOUGHT + CALL, THOUGHT + "<answer>A</answer>"]).state


def test_prompt_holds_the_opening_tag_and_the_response_the_thought(thinking, state):
    decode = thinking.tokenizer.decode
    assert decode(state.prompt_ids).endswith(OPENED)
    given = [token for token, sampled in zip(state.response_ids, state.response_mask, strict=True) if not sampled]
    assert decode(given).endswith(OPENED)
    assert [turn.text for turn in state.trajectory.turns] == [THOUGHT + CALL, THOUGHT + "<answer>A</answer>"]
    assert state.trajectory.end_reason == "answer"


def test_prefix_of_a_call_is_the_thought_and_the_tag(thinking, state):
    call = FirstCallFinder(thinking.tokenizer).first_call(state)
    assert thinking.tokenizer.decode(state.response_ids[: call.prefix_length]) == THOUGHT + "<tool_call>"


def test_continuation_continues_inside_the_turn_of_its_prefix(thinking, state, picture):
    length = FirstCallFinder(thinking.tokenizer).first_call(state).prefix_length
    rest = CALL.removeprefix("<tool_call>").replace("red", "blue")
    again = play(
        thinking, compose_config(), prompt_of(picture), [rest, "<answer>B</answer>"], start=state.prefix(length)
    ).state
    assert again.trajectory.turns[0].text == THOUGHT + "<tool_call>" + rest
    assert again.trajectory.turns[0].label == "blue" and sum(again.response_mask[:length]) == 0
    assert thinking.tokenizer.decode(again.response_ids).count("<think>") == 1

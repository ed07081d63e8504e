# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The position of the first tool call, and the policy's probability of it."""

from __future__ import annotations

import math

import pytest
from support.scripted import compose_config, play, prompt_of
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from verl_mapo.rollout.axpo.first_call import FirstCallFinder
from verl_mapo.rollout.parser import OPEN
from verl_mapo.settings import ConfigError

CALL = '{"name": "zoom", "arguments": {"label": "a square", "bbox_2d": [0, 0, 40, 40]}}'
THOUGHT = "look at the square"


def rollout(model, picture, *turns):
    return play(model, compose_config(), prompt_of(picture), list(turns)).state


@pytest.mark.parametrize("space", ["", "\n", " ", "\n\n"])
def test_prefix_ends_with_the_tag_whatever_whitespace_follows(model, picture, space):
    state = rollout(model, picture, f"{THOUGHT} <tool_call>{space}{CALL}</tool_call>", "<answer>a</answer>")
    call = FirstCallFinder(model.tokenizer).first_call(state)
    assert model.tokenizer.decode(state.response_ids[: call.prefix_length]).endswith(OPEN)
    assert "zoom" not in model.tokenizer.decode(state.response_ids[: call.prefix_length])
    start = state.prefix(call.prefix_length)
    assert start.token_ids == state.token_ids[: len(state.prompt_ids) + call.prefix_length], (
        "tokens, never re-tokenised text"
    )
    assert start.history.images[0] is state.history.images[0], "images are shared"
    assert start.request_id == state.request_id, "so the engine that has the prefix in its cache is chosen"


def test_confidence_is_the_mean_over_the_tokens_of_the_call_alone(model, picture):
    state = rollout(model, picture, f"{THOUGHT} <tool_call>{CALL}</tool_call> done", "<answer>a</answer>")
    finder = FirstCallFinder(model.tokenizer)
    begin = state.response_ids.index(finder.open) + 1
    end = state.response_ids.index(finder.close)
    state.response_logprobs = [math.log(0.1)] * len(state.response_ids)
    state.response_logprobs[begin:end] = [math.log(0.9), *[math.log(0.5)] * (end - begin - 1)]
    call = finder.first_call(state)
    size = end - begin
    assert call.confidence == pytest.approx((0.9 + 0.5 * (size - 1)) / size), "the arithmetic mean of probabilities"
    assert call.entropy == pytest.approx(-(math.log(0.9) + math.log(0.5) * (size - 1)) / size)


def test_second_call_is_not_used(model, picture):
    state = rollout(
        model, picture, f"<tool_call>{CALL}</tool_call>", f"then <tool_call>{CALL}</tool_call>", "<answer>a</answer>"
    )
    assert FirstCallFinder(model.tokenizer).first_call(state).prefix_length == 1


def test_prefix_ends_at_the_first_of_two_tags(model, picture):
    state = rollout(model, picture, f"a <tool_call>{CALL}</tool_call> b <tool_call>{CALL}</tool_call>", "done")
    finder = FirstCallFinder(model.tokenizer)
    begin, end = state.trajectory.turns[0].span
    assert state.response_ids[begin:end].count(finder.open) == 2
    assert finder.first_call(state).prefix_length == state.response_ids.index(finder.open) + 1


def test_unclosed_call_reaches_to_the_end_of_its_turn(model, picture):
    state = rollout(model, picture, f"<tool_call>{CALL}", "<answer>a</answer>")
    assert FirstCallFinder(model.tokenizer).first_call(state).prefix_length == 1


def test_rollout_without_a_call_has_none(model, picture):
    assert FirstCallFinder(model.tokenizer).first_call(rollout(model, picture, "<answer>a</answer>")) is None


def test_tag_at_the_end_of_a_turn_is_no_call(model, picture):
    tag = model.tokenizer.convert_tokens_to_ids(OPEN)
    config = compose_config()
    config.actor_rollout_ref.rollout.response_length = 1
    state = play(model, config, prompt_of(picture), [[tag]]).state
    assert FirstCallFinder(model.tokenizer).first_call(state) is None


def test_tag_is_one_ordinary_token_as_in_the_real_families(model):
    """Both families add the tags as ordinary tokens, and so do the tiny tokenizers."""
    finder = FirstCallFinder(model.tokenizer)
    added = model.tokenizer.added_tokens_decoder
    assert added[finder.open].content == OPEN and not added[finder.open].special


def test_tokenizer_that_splits_the_tag_is_refused():
    words = {"<": 0, "tool_call": 1, ">": 2, "</": 3, "[UNK]": 4}
    tokenizer = Tokenizer(BPE(vocab=words, merges=[], unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    with pytest.raises(ConfigError, match="axpo cuts rollouts after <tool_call>, which is"):
        FirstCallFinder(PreTrainedTokenizerFast(tokenizer_object=tokenizer))

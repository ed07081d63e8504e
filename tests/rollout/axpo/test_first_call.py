# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Where a first call begins, by its tokens, and how sure the policy was of it."""

from __future__ import annotations

import math

import pytest
from scripted import compose_config, play, prompt_of
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
def test_a_prefix_ends_with_the_tag_whatever_whitespace_follows(model, picture, space):
    state = rollout(model, picture, f"{THOUGHT} <tool_call>{space}{CALL}</tool_call>", "<answer>a</answer>")
    call = FirstCallFinder(model.tokenizer).first_call(state)
    assert model.tokenizer.decode(state.response_ids[: call.length]).endswith(OPEN)
    assert "zoom" not in model.tokenizer.decode(state.response_ids[: call.length])
    start = state.prefix(call.length)
    assert start.token_ids == state.token_ids[: len(state.prompt_ids) + call.length], "tokens, never re-tokenised text"
    assert start.gallery.images[0] is state.gallery.images[0], "the fork shares the images"
    assert start.request_id == state.request_id, "and asks the engine that holds the prefix"


def test_confidence_is_of_the_calls_tokens_and_not_of_the_thinking(model, picture):
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


def test_only_the_first_call_is_a_fixed_point(model, picture):
    state = rollout(
        model, picture, f"<tool_call>{CALL}</tool_call>", f"then <tool_call>{CALL}</tool_call>", "<answer>a</answer>"
    )
    assert FirstCallFinder(model.tokenizer).first_call(state).length == 1


def test_an_unclosed_call_counts_to_the_end_of_its_turn(model, picture):
    state = rollout(model, picture, f"<tool_call>{CALL}", "<answer>a</answer>")
    assert FirstCallFinder(model.tokenizer).first_call(state).length == 1


def test_a_rollout_without_a_call_has_none(model, picture):
    assert FirstCallFinder(model.tokenizer).first_call(rollout(model, picture, "<answer>a</answer>")) is None


def test_a_tag_with_nothing_behind_it_is_no_fixed_point(model, picture):
    tag = model.tokenizer.convert_tokens_to_ids(OPEN)
    config = compose_config()
    config.actor_rollout_ref.rollout.response_length = 1
    state = play(model, config, prompt_of(picture), [[tag]]).state
    assert FirstCallFinder(model.tokenizer).first_call(state) is None


def test_the_tag_is_one_token_with_the_added_tokens_of_the_real_families(model):
    """Both families add the tags at these ids as normal, non-special tokens; the tiny tokenizers add them likewise."""
    finder = FirstCallFinder(model.tokenizer)
    added = model.tokenizer.added_tokens_decoder
    assert added[finder.open].content == OPEN and not added[finder.open].special


def test_a_tokenizer_that_spells_the_tag_is_refused_in_a_sentence():
    words = {"<": 0, "tool_call": 1, ">": 2, "</": 3, "[UNK]": 4}
    tokenizer = Tokenizer(BPE(vocab=words, merges=[], unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    with pytest.raises(ConfigError, match="cuts rollouts behind <tool_call>, which is"):
        FirstCallFinder(PreTrainedTokenizerFast(tokenizer_object=tokenizer))

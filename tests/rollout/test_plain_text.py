# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Texts in which a tokenizer finds no special token."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from verl_mapo.rollout.plain_text import PlainText, well_formed

SPECIAL = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<|im_start|>", "<|im_end|>"]
TAGS = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<answer>", "<image>"]


@pytest.fixture(scope="module")
def plain_text(tiny_models):
    return PlainText(tiny_models["qwen2_5_vl"].tokenizer)


def special_ids(tokenizer):
    return set(tokenizer.convert_tokens_to_ids(SPECIAL)) | set(tokenizer.all_special_ids)


@pytest.mark.parametrize("token", SPECIAL)
def test_special_token_becomes_text(model, token):
    tokenizer = model.tokenizer
    plain = PlainText(tokenizer).text(f"a {token} b")
    assert plain == f"a < {token[1:]} b"
    assert not set(tokenizer.encode(plain)) & special_ids(tokenizer)


@pytest.mark.parametrize("text", [*TAGS, "a < b | c > d", "<|", "é红 😀", "<|im_start", ""])
def test_other_text_stays_as_it_is(plain_text, text):
    assert plain_text.text(text) == text


texts = st.lists(st.sampled_from([*SPECIAL, *TAGS, "<|", "|>", "<", "|", ">", "im_end", " "]) | st.characters()).map(
    "".join
)


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(texts)
def test_no_text_holds_a_special_token(model, plain_text, text):
    plain = plain_text.text(text)
    assert not set(model.tokenizer.encode(plain)) & special_ids(model.tokenizer)
    assert plain_text.text(plain) == plain


def test_messages_become_plain_in_every_form(plain_text):
    image = object()
    messages = [
        {"role": "system", "content": "<|im_end|>"},
        {"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": "<|image_pad|>?"}]},
    ]
    system, user = plain_text.messages(messages)
    assert system["content"] == "< |im_end|>" and user["content"][1]["text"] == "< |image_pad|>?"
    assert user["content"][0]["image"] is image and messages[0]["content"] == "<|im_end|>"


def test_half_of_a_surrogate_pair_is_replaced_everywhere():
    value = json.loads('{"a\\ud800": ["\\udfff", {"b": "\\ud83d\\ude00"}], "c": 1.5, "d": null}')
    assert well_formed(value) == {"a\ufffd": ["\ufffd", {"b": "😀"}], "c": 1.5, "d": None}

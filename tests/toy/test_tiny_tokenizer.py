# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Every word of the task is one token, and every text survives encoding and decoding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_mapo.toy.dialogue import END, call, thought
from verl_mapo.toy.tiny_tokenizer import SPECIAL, STOPS, TAGS, build_tokenizer
from verl_mapo.toy.visual_search import COLOURS, LETTERS, SHAPES

TOKENIZER = build_tokenizer()


@given(st.text())
def test_decoding_restores_any_text(text):
    import unicodedata

    ids = TOKENIZER.encode(text, add_special_tokens=False)
    assert TOKENIZER.decode(ids) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("word", [*TAGS, *SPECIAL, *LETTERS, *"0123456789", *COLOURS, *SHAPES, "\n"])
def test_word_of_the_task_is_one_token(word):
    assert len(TOKENIZER.encode(word, add_special_tokens=False)) == 1
    if word.isalpha() and len(word) > 1:
        assert len(TOKENIZER.encode(f" {word}", add_special_tokens=False)) == 1


def test_decoding_keeps_tags_and_drops_special_tokens():
    text = thought("red square") + call("red square", [4, 32, 24, 52])
    assert TOKENIZER.decode(TOKENIZER.encode(text), skip_special_tokens=True) == text.removesuffix(END)
    assert TOKENIZER.eos_token == STOPS[0] and TOKENIZER.pad_token == STOPS[1]


def test_vocabulary_is_deterministic():
    assert build_tokenizer().get_vocab() == TOKENIZER.get_vocab()

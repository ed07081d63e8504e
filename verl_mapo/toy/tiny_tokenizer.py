# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A tokenizer of the Qwen family's kind, trained on the words of the task, and a plain ChatML template."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import get_args

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from verl_mapo.rollout import prompts
from verl_mapo.rollout.settings import Describe, VisualToolSettings
from verl_mapo.tools.coordinates import CoordinateSpace
from verl_mapo.toy import dialogue
from verl_mapo.toy.visual_search import COLOURS, LETTERS, NAMES, OBJECTS, SHAPES

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""The family's special tokens."""
STOPS = ("<|im_end|>", "<|endoftext|>")
"""The special tokens that a policy may sample."""

TAGS = tuple(
    f"<{slash}{tag}>"
    for tag in ("tool_call", "tool_response", "tools", "think", "answer", "description")
    for slash in ("", "/")
)
"""Tags that are one token each but not special tokens, so that decoding keeps them."""

CHAT_TEMPLATE = """{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['content'] is string -%}
{{- message['content'] -}}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>
{%- elif part['type'] == 'video' -%}<|vision_start|><|video_pad|><|vision_end|>
{%- else -%}{{- part['text'] -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""


@cache
def corpus() -> tuple[str, ...]:
    """Every text that a tiny model can meet, without tags and special tokens; the same for all settings of the task."""
    texts = [f"user\n assistant\n system\n {letter}" for letter in LETTERS]
    for space in dict.fromkeys(map(CoordinateSpace.of_model, dialogue.FRAMES)):
        for describe in get_args(Describe):
            tools = VisualToolSettings(tools=["zoom", "rotate"], describe=describe)
            texts.append(dialogue.messages("", tools, space, 28)[0]["content"])
    for name in NAMES:
        colour, shape = name.split()
        texts += [f"Which letter is inside the {name}?", f"Which colour is the {shape}?"]
        texts += [f"Which shape is the {colour} object?", f"How many {SHAPES[shape]} are there?"]
        texts += [dialogue.thought(subject) for subject in (name, shape, f"{colour} object", SHAPES[shape])]
        texts.append(dialogue.call(name, [0, 1, 2, 3]))
        texts.append(prompts.image_text(1, (45, 67)) + "\n")
        texts += [dialogue.answer(word) for word in (*COLOURS, *SHAPES, *map(str, range(OBJECTS + 1)))]
    return tuple(texts)


def build_tokenizer(first_special: int = 0, longest: int = 4096) -> Qwen2Tokenizer:
    """A byte-level BPE tokenizer in which every word of the task and every digit is one token.

    Args:
        first_special: id of the first special token; the ids between the task's tokens and this one belong to tokens
            that no text has. 0: there are none between.
        longest: the tokenizer's ``model_max_length``.
    """
    marks = pre_tokenizers.Split(Regex("|".join(map(re.escape, SPECIAL + TAGS))), behavior="removed")
    words = pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated")
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [marks, words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=4096, initial_alphabet=alphabet, show_progress=False)
    trained.train_from_iterator(corpus(), trainer)
    learnt = json.loads(trained.to_str())["model"]
    vocabulary = learnt["vocab"]
    if first_special:
        vocabulary |= {f"<unused-{index}>": index for index in range(len(vocabulary), first_special)}
        vocabulary |= {token: first_special + index for index, token in enumerate(SPECIAL)}
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary,
        merges=[tuple(merge) for merge in learnt["merges"]],
        eos_token="<|im_end|>",
        model_max_length=longest,
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer

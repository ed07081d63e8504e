# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The dialogues that the stages train on."""

from __future__ import annotations

import random

import torch

from verl_mapo.toy.dialogue import DemonstrationRates
from verl_mapo.toy.warm_start import one_thread


def test_whole_dialogue_begins_with_the_prompt_and_trains_on_what_the_model_writes(start):
    tokenizer = start.writer.processor.tokenizer
    rows = [start._dialogue(random.Random(seed), DemonstrationRates(1.0, 1.0, 1.0)) for seed in range(8)]
    for row in rows:
        text = tokenizer.decode([token for token, trained in zip(row.ids, row.trained, strict=True) if trained])
        assert text.startswith("<think>") and text.count("<tool_call>") == 1 and text.endswith("</answer><|im_end|>")
        (scene, none), (same, crop) = row.images
        assert none is None and scene == same and 0 <= crop < start.images.crops.shape[1]


def test_short_dialogue_trains_on_box_and_letter_alone(start):
    tokenizer = start.writer.processor.tokenizer
    rows = [start._short(random.Random(seed)) for seed in range(12)]
    with_zoom = [row for row in rows if len(row.images) == 2]
    assert with_zoom and len(with_zoom) < len(rows)
    for row in with_zoom:
        text = tokenizer.decode([token for token, trained in zip(row.ids, row.trained, strict=True) if trained])
        box, _, letter = text.partition("]")
        assert box.startswith("[") and letter.startswith("<answer>") and len(row.ids) < 120


def test_one_thread_restores_the_number_of_threads():
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before

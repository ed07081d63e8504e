# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The tiny CLIP scores matching crops higher than others, also through the package's scorer."""

from __future__ import annotations

import torch
from transformers import AutoModel, AutoProcessor, CLIPModel

from verl_mapo.rewards.scorers.base import build_scorer
from verl_mapo.rewards.scorers.settings import ScorerSettings
from verl_mapo.toy.tiny_clip import CAPTIONS, build_processor, draw_pairs, similarities
from verl_mapo.toy.visual_search import VisualSearch


def test_matching_crops_have_higher_similarity(toys):
    folder = toys["qwen2_5_vl"].clip
    model, processor = AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    assert isinstance(model, CLIPModel)
    pixels, captions = draw_pairs(VisualSearch(), processor, seed=99, scenes=20)
    with torch.inference_mode():
        cosines = similarities(model, processor, pixels, list(CAPTIONS))
    own = cosines[torch.arange(len(captions)), captions]
    assert own.mean() > 0.6
    assert own.mean() - cosines.mean() > 0.5
    assert (cosines.argmax(1) == captions).float().mean() > 0.4


def test_scorer_scores_labels_of_any_text(toys):
    scorer = build_scorer(ScorerSettings(model=str(toys["qwen2_5_vl"].clip), device="cpu"))
    scene = VisualSearch().scene(1, "test", 0)
    thing, other = scene.objects[:2]
    crop = scene.image.crop(thing.box)
    right, wrong, odd = scorer.score([thing.name, other.name, "§ 12 nonsense " * 20], [crop] * 3)
    assert right > wrong and -1 <= odd <= 1


def test_words_of_the_task_are_tokens_and_other_text_is_bytes():
    tokenizer = build_processor().tokenizer
    assert [len(tokenizer(name)["input_ids"]) for name in CAPTIONS] == [4] * len(CAPTIONS)
    assert tokenizer("Red Square")["input_ids"] == tokenizer("red square")["input_ids"]
    assert tokenizer.eos_token_id not in tokenizer("zebra §")["input_ids"][1:-1]

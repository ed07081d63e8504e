# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of tiny models load in transformers and verl, and suppressed tokens are not sampled."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor
from verl.workers.config import HFModelConfig

from verl_mapo.toy.dialogue import Demonstration, DialogueWriter
from verl_mapo.toy.tiny_vlm import build_model, build_processor, forbidden_tokens, save, suppress
from verl_mapo.toy.visual_search import VisualSearch

FAMILIES = ("qwen2_5_vl", "qwen3_vl", "qwen3_5")


@pytest.mark.parametrize("family", FAMILIES)
def test_loaded_model_equals_the_saved_one_rounded_to_float16(family, tmp_path):
    processor = build_processor(family)
    model = build_model(family, processor.tokenizer, 0)
    hidden = torch.randn(200, model.config.text_config.hidden_size) + 1
    suppress(model, forbidden_tokens(processor.tokenizer), hidden)
    save(model, processor, tmp_path)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert len(loaded.lm_head.weight) == len(processor.tokenizer), "verl masks further rows in vLLM alone"
    assert loaded.dtype == torch.float32 and loaded.config.model_type == family
    assert not torch.equal(loaded.lm_head.weight, loaded.get_input_embeddings().weight)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight.half().float(), loaded.state_dict()[name]), name
    again = AutoProcessor.from_pretrained(tmp_path)
    assert type(again) is type(processor)
    assert again.tokenizer.get_vocab() == processor.tokenizer.get_vocab()


@pytest.mark.parametrize("family", FAMILIES)
def test_verl_loads_the_folder(family, tmp_path):
    processor = build_processor(family)
    save(build_model(family, processor.tokenizer, 0), processor, tmp_path)
    config = HFModelConfig(path=str(tmp_path))
    assert config.hf_config.model_type == family
    assert config.processor is not None and config.tokenizer.eos_token == "<|im_end|>"


def test_suppressed_tokens_have_no_probability_where_the_model_writes(toy):
    processor = AutoProcessor.from_pretrained(toy.model)
    model = AutoModelForImageTextToText.from_pretrained(toy.model)
    writer = DialogueWriter(processor, model.config.model_type)
    forbidden = forbidden_tokens(processor.tokenizer)
    assert processor.image_token_id in forbidden and processor.tokenizer.eos_token_id not in forbidden
    for index in range(4):
        scene = VisualSearch().scene(0, "evaluation", index)
        target, history = scene.question.target, writer.image_history(scene.image)
        images = [history.images[0], writer.zoom_at(history, target.cell).image]
        shown = Demonstration(scene.question, target.letter, target.name, target.cell)
        tokens = writer.dialogue(shown, *((None, image.size) for image in images))
        ids = torch.tensor([tokens.ids])
        pixels = processor.image_processor(images=images, do_resize=False, return_tensors="pt")
        with torch.inference_mode():
            kinds = (ids == processor.image_token_id).int()
            shares = model(input_ids=ids, mm_token_type_ids=kinds, **pixels).logits[0].softmax(-1)
        written = torch.tensor(tokens.trained)[1:]
        assert shares[:-1][written][:, forbidden].sum(-1).max() < 1e-8


def test_weights_depend_on_the_seed():
    tokenizer = build_processor("qwen3_vl").tokenizer
    first, same, other = (build_model("qwen3_vl", tokenizer, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])

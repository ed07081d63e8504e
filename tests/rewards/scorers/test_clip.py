# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The CLIP scorer with tiny random CLIP, SigLIP and SigLIP2 models, loaded by transformers."""

import pytest
import torch
from support.scorers import picture
from transformers import AutoModel, AutoProcessor, BertConfig, BertModel

from verl_mapo.rewards.scorers.base import build_scorer
from verl_mapo.rewards.scorers.clip import ClipScorer
from verl_mapo.rewards.scorers.settings import ScorerSettings
from verl_mapo.settings import ConfigError

TEXTS = ["red square", "a blue circle", "a long label that does not fit into the text tower of a tiny model at all"]


@pytest.fixture(params=["clip", "siglip", "siglip2"])
def folder(request) -> str:
    return request.getfixturevalue(f"{request.param}_folder")


def scorer_of(folder: str, **changed) -> ClipScorer:
    return build_scorer(ScorerSettings(model=folder, device="cpu", **changed))


def test_scores_equal_the_cosines_of_the_models_embeddings(folder):
    images = [picture(index, size) for index, size in enumerate([(80, 60), (30, 200), (56, 56)])]
    scores = scorer_of(folder, fit="model").score(TEXTS, images)
    model, processor = AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    padding = "max_length" if "siglip" in model.config.model_type else True
    length = model.config.text_config.max_position_embeddings
    inputs = processor(
        text=TEXTS, images=images, padding=padding, truncation=True, max_length=length, return_tensors="pt"
    )
    with torch.inference_mode():
        outputs = model(**inputs)
    expected = (outputs.text_embeds * outputs.image_embeds).sum(-1)
    assert scores == pytest.approx(expected.tolist(), abs=1e-5)
    assert len(set(scores)) == 3 and all(-1 <= score <= 1 for score in scores)


def test_score_does_not_depend_on_the_batch(folder):
    scorer, images = scorer_of(folder), [picture(index) for index in range(3)]
    together = scorer.score(TEXTS, images)
    alone = [scorer.score([text], [image])[0] for text, image in zip(TEXTS, images, strict=True)]
    assert together == pytest.approx(alone, abs=1e-5)


def test_half_precision_changes_scores_little(clip_folder):
    images = [picture(index) for index in range(3)]
    half = scorer_of(clip_folder, dtype="bfloat16").score(TEXTS, images)
    assert half == pytest.approx(scorer_of(clip_folder).score(TEXTS, images), abs=0.05)


def test_unusual_texts_and_small_images_are_scored(clip_folder):
    scores = scorer_of(clip_folder).score(["", "🦊\n\x00", "<|endoftext|>" * 50], [picture(0, (1, 1))] * 3)
    assert all(-1 <= score <= 1 for score in scores)


def test_folder_without_a_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"reward\.description_alignment\.scorer\.model=.* cannot be loaded"):
        scorer_of(str(tmp_path))


def test_model_without_two_towers_is_refused(tmp_path, clip_folder):
    AutoProcessor.from_pretrained(clip_folder).save_pretrained(tmp_path)
    config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=520)
    BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="is a bert, which does not embed texts and images in one space"):
        scorer_of(str(tmp_path))


@pytest.mark.parametrize(
    ("device", "seen", "sentence"),
    [
        ("cuda", 0, "the scorer sees no GPU; set scorer.device=cpu"),
        ("cuda:0", 0, "the scorer sees no GPU; set scorer.device=cpu"),
        ("cuda:2", 2, "the scorer sees 2 GPUs, numbered from 0; name one of them"),
    ],
)
def test_gpu_that_is_not_there_is_refused(clip_folder, monkeypatch, device, seen, sentence):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(seen))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: seen)
    with pytest.raises(ConfigError, match=rf"scorer\.device='{device}' is refused: on .*{sentence}"):
        build_scorer(ScorerSettings(model=clip_folder, device=device, placement="actor"))

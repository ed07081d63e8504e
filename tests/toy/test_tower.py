# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A few steps of the first stage are enough to read some names."""

from __future__ import annotations

import pytest
import torch

from verl_mapo.toy.language import Stage
from verl_mapo.toy.scene_images import tower_features
from verl_mapo.toy.tower import Heads, train_tower
from verl_mapo.toy.visual_search import NAMES, VisualSearch
from verl_mapo.toy.warm_start import Recipe, WarmStart


@pytest.mark.parametrize("family", ["qwen2_5_vl", pytest.param("qwen3_vl", marks=pytest.mark.matrix)])
def test_tower_learns_names(family):
    stage = Stage(25, 8, 2e-3)
    start = WarmStart(family, VisualSearch(no_zoom_share=0.3), Recipe(24, stage, None, stage, stage), 0)
    train_tower(start.model, start.writer, start.images, stage, 0)
    heads = Heads(start.model.get_input_embeddings(), start.writer)
    width = start.model.config.text_config.hidden_size
    with torch.no_grad():
        tokens = tower_features(start.model, start.writer, start.images.scenes[:8])[..., :width]
        read = heads.name(tokens)[..., : len(NAMES)].argmax(-1)
    objects = [(scene, each) for scene in range(8) for each in start.images.objects[scene]]
    right = [read[scene, each.cell] == NAMES.index(each.name) for scene, each in objects]
    assert sum(right) / len(right) > 0.25

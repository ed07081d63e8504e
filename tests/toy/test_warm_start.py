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
"""The warm start's short cuts change nothing, and its stages teach."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F

from verl_mapo.toy.album import linear_patches, look
from verl_mapo.toy.dialogue import Demonstrations
from verl_mapo.toy.language import Pace, collate, hidden_states, written
from verl_mapo.toy.tower import Heads, train_tower
from verl_mapo.toy.visual_search import NAMES, VisualSearch
from verl_mapo.toy.warm_start import Recipe, WarmStart

PACE = Pace(1, 2, 1e-3)
RECIPE = Recipe(6, PACE, PACE, PACE, PACE)


@pytest.fixture(scope="module", params=["qwen2_5_vl", "qwen3_vl"])
def start(request) -> WarmStart:
    return WarmStart(request.param, VisualSearch(no_zoom_share=0.3), RECIPE, 0)


def rows_of(start: WarmStart, count: int) -> list:
    rng = random.Random(0)
    return [start._dialogue(rng, Demonstrations()) for _ in range(count)]


def test_a_shared_start_changes_neither_loss_nor_gradient(start):
    batch, results = collate(start.model, rows_of(start, 5), start.features), []
    assert batch.shared > 200
    for shared in (batch.shared, 0):
        batch.shared = shared
        states, targets = written(hidden_states(start.model, batch), batch)
        loss = F.cross_entropy(start.model.lm_head(states), targets)
        weights = dict(start.model.model.language_model.named_parameters())
        results.append((loss, dict(zip(weights, torch.autograd.grad(loss, weights.values()), strict=True))))
    (loss, gradients), (plain_loss, plain_gradients) = results
    assert loss.item() == pytest.approx(plain_loss.item(), abs=1e-5)
    for name, gradient in plain_gradients.items():
        assert torch.allclose(gradients[name], gradient, atol=1e-4 * gradient.abs().max().item()), name


def test_cached_features_give_the_models_own_logits(start):
    row = next(row for row in rows_of(start, 9) if len(row.images) == 2)
    batch = collate(start.model, [row], start.features)
    batch.shared = 0
    (scene, _), (_, slot) = row.images
    pictures = [start.album.seen[scene], start.album.crops[scene, slot]]
    pixels = start.script.processor.image_processor(images=pictures, do_resize=False, return_tensors="pt")
    with torch.no_grad():
        kinds = (batch.ids == start.model.config.image_token_id).int()
        logits = start.model(input_ids=batch.ids, mm_token_type_ids=kinds, **pixels).logits
        assert torch.allclose(start.model.lm_head(hidden_states(start.model, batch)), logits, atol=1e-4)


def test_linear_patches_are_the_convolution(start):
    tower, pixels = start.model.model.visual, start.album.seen[:2]
    with torch.no_grad():
        plain = look(start.model, start.script, pixels)
        with linear_patches(tower):
            assert torch.allclose(look(start.model, start.script, pixels), plain, atol=1e-4)
    assert "forward" not in vars(tower.patch_embed)


def test_the_tower_learns_names(start):
    start.recipe = Recipe(24, Pace(25, 8, 2e-3), None, PACE, PACE)
    for cached in ("album", "features"):
        vars(start).pop(cached, None)
    train_tower(start.model, start.script, start.album, start.recipe.tower, 0)
    heads = Heads(start.model.get_input_embeddings(), start.script)
    width = start.model.config.text_config.hidden_size
    with torch.no_grad():
        tokens = look(start.model, start.script, start.album.seen[:8])[..., :width]
        read = heads.name(tokens)[..., : len(NAMES)].argmax(-1)
    things = [(scene, thing) for scene in range(8) for thing in start.album.things[scene]]
    right = [read[scene, thing.cell] == NAMES.index(thing.name) for scene, thing in things]
    assert sum(right) / len(right) > 0.25

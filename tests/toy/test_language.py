# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Shared starts and cached features do not change what the language model computes."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F

from verl_mapo.toy.dialogue import DemonstrationRates
from verl_mapo.toy.language import Stage, collate, hidden_states, states_and_targets
from verl_mapo.toy.warm_start import WarmStart


def rows_of(start: WarmStart, count: int) -> list:
    rng = random.Random(0)
    return [start._dialogue(rng, DemonstrationRates()) for _ in range(count)]


def test_shared_start_changes_neither_loss_nor_gradient(start):
    batch, results = collate(start.model, rows_of(start, 5), start.features), []
    assert batch.shared > 200
    for shared in (batch.shared, 0):
        batch.shared = shared
        states, targets = states_and_targets(hidden_states(start.model, batch), batch)
        loss = F.cross_entropy(start.model.lm_head(states), targets)
        weights = dict(start.model.model.language_model.named_parameters())
        results.append((loss, dict(zip(weights, torch.autograd.grad(loss, weights.values()), strict=True))))
    (loss, gradients), (plain_loss, plain_gradients) = results
    assert loss.item() == pytest.approx(plain_loss.item(), abs=1e-5)
    for name, gradient in plain_gradients.items():
        assert torch.allclose(gradients[name], gradient, atol=1e-4 * gradient.abs().max().item()), name


def test_cached_features_give_the_logits_of_the_whole_model(start):
    row = next(row for row in rows_of(start, 9) if len(row.images) == 2)
    batch = collate(start.model, [row], start.features)
    batch.shared = 0
    (scene, _), (_, crop) = row.images
    images = [start.images.scenes[scene], start.images.crops[scene, crop]]
    pixels = start.writer.processor.image_processor(images=images, do_resize=False, return_tensors="pt")
    with torch.no_grad():
        kinds = (batch.ids == start.model.config.image_token_id).int()
        logits = start.model(input_ids=batch.ids, mm_token_type_ids=kinds, **pixels).logits
        assert torch.allclose(start.model.lm_head(hidden_states(start.model, batch)), logits, atol=1e-4)


@pytest.mark.parametrize(("schedule", "last"), [("constant", 1.0), ("cosine", 0.05)])
def test_learning_rate_rises_for_five_percent_and_then_follows_the_schedule(schedule, last):
    stage = Stage(100, 1, 2.0, schedule)
    optimizer = stage.optimizer([torch.nn.Parameter(torch.zeros(1))])
    rates = []
    for step in range(stage.steps):
        stage.set_rate(optimizer, step)
        rates.append(optimizer.param_groups[0]["lr"] / 2.0)
    assert rates[0] == pytest.approx(0.2, abs=0.01) and max(rates) == pytest.approx(1.0, abs=0.01)
    assert rates.index(max(rates)) == 4 and rates[-1] == pytest.approx(last)

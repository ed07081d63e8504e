# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""PGPO: by hand, against a loop over tokens, and in a step of the trainer."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.scripted import compose_config
from support.tool_credit import step_of
from support.views import NAN, k3, score_rows, scores_of, viewed_fields

from verl_mapo.relatives.pgpo import Pgpo, pgpo_factor


def by_loop(row, threshold=0.4, gain=2.0):
    """Eq. 1 to 3 in plain Python."""
    at = [t for t, value in enumerate(row) if not math.isnan(value)]
    found = [1.0] * len(row)
    if not at:
        return found
    values = {t: math.log1p(row[t]) for t in at}
    low, high = min(values.values()), max(values.values())
    weights = {}
    for t, value in values.items():
        share = (value - low) / (high - low) if high > low else 0.0
        below = share < threshold
        weights[t] = share / threshold if below else 1 + gain * (share - threshold) / (1 - threshold)
    total = sum(weights.values())
    for t, weight in weights.items():
        found[t] = len(at) * weight / total if total else 1.0
    return found


def test_factor_by_hand():
    """I = 0, 0.2, 0.7, 1 of log(1 + k3): w = 0, 0.5, 2, 3, whose sum is 5.5."""
    score, scored = scores_of([[0.0, math.exp(0.2) - 1, math.exp(0.7) - 1, math.e - 1, NAN]])
    expected = [0, 4 * 0.5 / 5.5, 8 / 5.5, 12 / 5.5, 1]
    assert pgpo_factor(score, scored)[0].tolist() == pytest.approx(expected, abs=1e-6)


@given(score_rows, st.sampled_from([0.2, 0.4, 0.9]), st.sampled_from([0.0, 2.0]))
def test_factor_equals_that_of_a_loop_and_has_mean_1(rows, threshold, gain):
    score, scored = scores_of(rows)
    found = pgpo_factor(score, scored, threshold, gain)
    for row, at, values in zip(rows, scored, found, strict=True):
        assert values.tolist() == pytest.approx(by_loop(row, threshold, gain), abs=1e-5)
        assert not at.any() or values[at].mean().item() == pytest.approx(1, abs=1e-5)


def test_step_of_the_trainer_multiplies_grpos_advantage(queue, make_trainer):
    steps = [[0.0, 2.0, -1.0], [NAN, NAN, NAN]]
    _, metrics = step_of(queue, make_trainer, "method=pgpo", [1.0, 0.0], [0, 0], **viewed_fields(steps))
    found, base = torch.stack(queue.fields["advantages"].unbind()), math.sqrt(0.5)
    factors = by_loop([k3(value) for value in steps[0]])
    assert found[0].tolist() == pytest.approx([base * factor for factor in factors], abs=1e-5)
    assert found[1].tolist() == pytest.approx([-base] * 3, abs=1e-5)
    assert metrics["pgpo/factor/mean"] == pytest.approx(1) and metrics["pgpo/divergence/mean"] > 0


def test_images_are_hidden_by_default():
    assert Pgpo(compose_config("method=pgpo")).settings.view.change == "hidden"

# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""PAPO in a step of the trainer; its loss is tested in tests/views/test_auxiliary.py."""

from __future__ import annotations

import math

import pytest
import torch
from support.scripted import compose_config
from support.tool_credit import step_of
from support.views import NAN, k3, viewed_fields

from verl_mapo.relatives.papo import Papo
from verl_mapo.views.auxiliary import AUXILIARY


def test_advantages_are_those_of_grpo_and_the_divergence_is_logged(queue, make_trainer):
    fields = viewed_fields([[0.0, 2.0, -1.0, 3.0], [NAN] * 4]) | {"masks": [[1, 1, 1, 0]] * 2, "length": 4}
    _, metrics = step_of(queue, make_trainer, "method=papo", [1.0, 0.0], [0, 0], **fields)
    base = math.sqrt(0.5)
    found = torch.stack(queue.fields["advantages"].unbind())
    assert found.flatten().tolist() == pytest.approx([*[base] * 3, 0, *[-base] * 3, 0], abs=1e-5)
    assert metrics["papo/divergence/mean"] == pytest.approx((k3(0.0) + k3(2.0) + k3(-1.0)) / 3)


def test_update_asks_for_the_terms_with_the_aggregation_of_the_run():
    method = Papo(compose_config("method=papo", "actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-mean"))
    request = method.update_request()[AUXILIARY]
    expected = {"gain": 0.02, "entropy": 0.05, "loss_agg_mode": "seq-mean-token-mean", "loss_scale_factor": None}
    assert request == expected
    assert (method.settings.view.change, method.settings.view.share) == ("squares", 0.6)

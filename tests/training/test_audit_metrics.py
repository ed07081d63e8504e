# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Validation metrics of audits, against values computed by hand."""

from __future__ import annotations

import math

import pytest

from verl_mapo.rollout.audit_record import Audit, Swap
from verl_mapo.rollout.trajectory import Trajectory
from verl_mapo.training.audit_metrics import audit_metrics, called_without_looking, visual_evidence_gain


def rollout(real: float, *swapped: float | None, evidence=(-1.0, -3.0), error: str = "", kind: str = "blank"):
    swaps = [Swap(kind, outcome=outcome, evidence=evidence[1]) for outcome in swapped]
    return "toy", real, Trajectory([], audit=Audit(0, evidence[0], swaps), error=error)


def test_shares_and_evidence_of_a_source():
    rollouts = [
        rollout(1.0, 1.0),
        rollout(1.0, 0.0, evidence=(-1.0, -2.0)),
        rollout(1.0, None),
        rollout(0.0, 1.0, evidence=(None, None)),
        rollout(1.0, 1.0, error="zoom failed"),
        ("toy", 1.0, Trajectory([])),
        ("other", 1.0, None),
    ]
    assert audit_metrics(rollouts) == {
        "val-audit/looks/toy": 4.0,
        "val-audit/accuracy/toy": 0.75,
        "val-audit/accuracy/toy/blank": pytest.approx(2 / 3),
        "val-audit/without_looking/toy/blank": 0.5,
        "val-audit/evidence/toy/blank": pytest.approx((2 + 1 + 2) / 3),
    }


def test_share_of_no_right_answer_is_left_out():
    assert "val-audit/without_looking/toy/blank" not in audit_metrics([rollout(0.0, 0.0)])
    assert audit_metrics([]) == {}


def test_called_without_looking_is_the_share_of_right_answers_that_survive():
    assert called_without_looking([1, 1, 1, 0], [1, 0, 0, 1]) == pytest.approx(1 / 3)
    assert math.isnan(called_without_looking([0, 0], [1, 1]))
    with pytest.raises(ValueError, match="2 real and 1 swapped"):
        called_without_looking([0, 0], [0])


def test_visual_evidence_gain_is_the_mean_difference_of_log_probabilities():
    assert visual_evidence_gain([-0.1, -1.0], [-1.1, -0.5]) == pytest.approx(0.25)
    assert math.isnan(visual_evidence_gain([], []))
    with pytest.raises(ValueError, match="2 real and 1 swapped"):
        visual_evidence_gain([0, 0], [0])

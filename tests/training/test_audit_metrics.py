# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Validation metrics of audits, against values computed by hand."""

from __future__ import annotations

import pytest

from verl_mapo.rollout.audit_record import Audit, Swap
from verl_mapo.rollout.trajectory import Trajectory
from verl_mapo.training.audit_metrics import audit_metrics


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

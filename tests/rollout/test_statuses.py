# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Every status, fault and end reason has a sentence, a metric and a line in the glossary."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest

from verl_mapo.rollout.statuses import EndReason, LabelFault, TurnStatus
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.training.rollout_metrics import trajectory_metrics

GLOSSARY = Path(__file__).parents[2] / "docs" / "glossary.md"
MEMBERS = [*TurnStatus, *LabelFault, *EndReason]


@pytest.mark.parametrize("member", MEMBERS, ids=repr)
def test_member_is_a_string_with_a_sentence(member):
    assert member.sentence[0].isupper() and member.sentence.endswith(".")
    assert f"{member}" == str(member) == member.value and json.dumps(member) == f'"{member.value}"'
    assert copy.deepcopy(member) is pickle.loads(pickle.dumps(member)) is type(member)(member.value) is member


@pytest.mark.parametrize("reason", EndReason)
def test_end_reason_has_a_metric(reason):
    assert trajectory_metrics([Trajectory([], end_reason=reason)])[f"rollout_visual/end/{reason.value}"] == 1


@pytest.mark.parametrize("status", [status for status in TurnStatus if status.is_call and status is not TurnStatus.OK])
def test_status_of_a_call_that_failed_has_a_metric(status):
    metrics = trajectory_metrics([Trajectory([], turns=[Turn((0, 1), "", status)], end_reason=EndReason.ANSWER)])
    assert metrics[f"rollout_visual/bad_call/{status.value}"] == 1


@pytest.mark.parametrize("fault", LabelFault)
def test_fault_has_a_metric(fault):
    turn = Turn((0, 1), "", TurnStatus.OK, described=True, faults=[fault])
    metrics = trajectory_metrics([Trajectory([], turns=[turn], end_reason=EndReason.ANSWER)])
    assert metrics[f"rollout_visual/faults/{fault.value}"] == 1


@pytest.mark.parametrize("member", MEMBERS, ids=repr)
def test_member_has_a_line_in_the_glossary(member):
    assert any(f"`{member.value}`" in line for line in GLOSSARY.read_text().splitlines())

# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""verl aggregates the metrics of the updates of a step by substrings of their names; ours hold none by accident."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from verl.trainer.ppo.v1.utils import MetricsAggregator

import verl_mapo
from verl_mapo.rollout.statuses import EndReason, LabelFault, TurnStatus
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.training.rollout_metrics import LOOP_SECONDS, trajectory_metrics

_NAME = re.compile(r"[a-z_0-9]*(/[a-z_0-9]*)*")
PREFIXES = ("rollout_visual/end/", "rollout_visual/bad_call/", "rollout_visual/faults/")


def literals() -> list[str]:
    """Every text that may be a part of a metric's name: those of the functions whose name ends with ``metrics``."""
    found = set()
    for file in Path(verl_mapo.__file__).parent.rglob("*.py"):
        for function in ast.walk(ast.parse(file.read_text())):
            if isinstance(function, ast.FunctionDef) and function.name.endswith("metrics"):
                texts = (each.value for each in ast.walk(function) if isinstance(each, ast.Constant))
                found |= {text for text in texts if isinstance(text, str) and _NAME.fullmatch(text)}
    return sorted(found - {""})


def aggregation(name: str) -> str:
    return MetricsAggregator()._get_aggregation_type(name)


def intended(name: str) -> str:
    last = name.rpartition("/")[2]
    return last if last in ("max", "min") else "weighted_avg"


def test_names_are_found_where_they_are_written():
    assert {"tool_rate", "axpo/", "seconds/max", "cosine/min", "alignment/mean", "rollout_visual/seconds/"} <= {
        *literals()
    }


@pytest.mark.parametrize("name", literals())
def test_name_in_the_code_is_aggregated_as_it_is_meant(name):
    assert aggregation(name) == intended(name)


@pytest.mark.parametrize("value", [*EndReason, *TurnStatus, *LabelFault, *LOOP_SECONDS], ids=repr)
def test_name_made_of_a_value_is_averaged(value):
    assert {aggregation(f"{prefix}{value}") for prefix in PREFIXES} == {"weighted_avg"}


@pytest.mark.parametrize("reason", EndReason)
def test_share_of_an_end_reason_is_the_mean_over_the_updates_of_a_step(reason):
    ends = [Trajectory([], turns=[Turn((0, 1), "")], end_reason=end) for end in (reason, EndReason.ANSWER)]
    aggregator, name = MetricsAggregator(), f"rollout_visual/end/{reason}"
    aggregator.add_step_metrics(trajectory_metrics(ends[:1]), sample_count=3)
    aggregator.add_step_metrics({name: 0.0} | trajectory_metrics(ends[1:]), sample_count=1)
    assert aggregator.get_aggregated_metrics()[name] == (1.0 if reason is EndReason.ANSWER else 0.75)


@pytest.mark.parametrize(("former", "reason"), [("max_turns", "turn_limit"), ("max_model_len", "context_length")])
def test_records_of_earlier_versions_keep_their_end_reason(former, reason):
    record = Trajectory([], end_reason=EndReason(reason)).to_record() | {"end_reason": former}
    assert Trajectory.from_record(record).end_reason is EndReason(reason)

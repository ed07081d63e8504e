# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Rollouts with calls, as tensors, drawn by hypothesis, and as a step of the trainer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from support.fake_queue import FakeQueue, scored_rows
from verl_mapo.rollout.statuses import EndReason, TurnStatus
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.training.step_batch import StepBatch

NO_LOSS = [0, 0]


@dataclass(frozen=True)
class Rows:
    """Outcome, calls and group of some rollouts, each (B,), and their masks, (B, 2)."""

    outcome: Tensor
    calls: Tensor
    group: Tensor
    mask: Tensor

    @property
    def live(self) -> Tensor:
        return self.mask.any(dim=1)

    def same(self, row: int, other: int) -> bool:
        return bool(self.group[row] == self.group[other])

    def at(self, order: list[int]) -> Rows:
        return Rows(self.outcome[order], self.calls[order], self.group[order], self.mask[order])


def rows_of_calls(outcome: list, calls: list, group: list | None = None, masks: list | None = None) -> Rows:
    return Rows(
        torch.tensor(outcome, dtype=torch.float64),
        torch.tensor(calls),
        torch.tensor(group or [0] * len(outcome)),
        torch.tensor(masks or [[1, 1]] * len(outcome)),
    )


def groups_of() -> st.SearchStrategy[Rows]:
    """Up to three groups of up to six rollouts; outcomes are 0, a half or 1, and some rows are not in the loss."""
    row = st.tuples(
        st.sampled_from([0.0, 0.5, 1.0, 1.0]),
        st.integers(0, 3),
        st.integers(0, 2),
        st.sampled_from([[1, 1], [1, 1], [0, 1], NO_LOSS]),
    )
    return st.lists(row, min_size=1, max_size=12).map(lambda rows: rows_of_calls(*map(list, zip(*rows, strict=True))))


def step_of(
    queue: FakeQueue,
    make_trainer: Any,
    method: str,
    outcomes: list[float],
    calls: list[int],
    trajectories: list[Trajectory] | None = None,
    length: int = 3,
    masks: list[list[int]] | None = None,
    uids: str | None = None,
    **fields: Any,
) -> tuple[Any, dict[str, float]]:
    """One step of the trainer over some rollouts; returns the trainer, with ``last_step``, and metrics.

    All tokens are the policy's where there are no ``masks``. ``uids`` has a letter for the question of each rollout;
    None for one question.
    """
    called = Turn((0, 1), "x", TurnStatus.OK, tool="zoom")
    turns = [[called] * count + [Turn((0, length), "y")] for count in calls]
    trajectories = trajectories or [Trajectory([], [], each, EndReason.ANSWER) for each in turns]
    of_rows = [torch.tensor(mask) for mask in masks or [[1] * length] * len(outcomes)]
    queue.fields.update(scored_rows(of_rows, outcomes, trajectories))
    uids = uids or "a" * len(outcomes)
    queue.fields["uid"] = list(uids)
    queue.fields.update(fields)
    trainer, metrics, steps = make_trainer(method), {}, []
    fetch = trainer._fetch

    def fetch_and_keep(batch: Any) -> StepBatch:
        steps.append(fetch(batch))
        return steps[-1]

    trainer._fetch = fetch_and_keep
    keys = [f"{uid}_{row}_0" for row, uid in enumerate(uids)]
    prompts = {"prompt_len": [1] * len(keys), "response_len": [length] * len(keys)}
    trainer._compute_advantage(queue.batch(keys, **prompts), metrics)
    trainer.last_step = steps[-1]
    return trainer, metrics

# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The placebo of MAPO in training: its advantage, with the alignment scores exchanged within each group.

A group keeps the scores that it has, and they say nothing about a rollout any more. A gain that this arm shares with
MAPO does not come from what the scores say. With this folder on ``PYTHONPATH``:
``method=mapo algorithm.adv_estimator=shuffled_mapo.ShuffledMapo``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from verl_mapo.columns import SCORED, TURN_SCORES, TURN_STATUS
from verl_mapo.lens.estimators import exchanged
from verl_mapo.training.mapo import Mapo, align

if TYPE_CHECKING:
    from verl_mapo.training.step_batch import StepBatch


class ShuffledMapo(Mapo):
    """MAPO on scores that were exchanged among the scored rollouts of a group, by random numbers of the step.

    The records of a rollout keep its own score; ``alignment`` and ``a_sem`` in them are those that it was given.
    """

    name = "shuffled_mapo"

    def advantages(self, step: StepBatch, rewards: Tensor, response_mask: Tensor) -> Tensor:
        """See :func:`verl_mapo.training.mapo.align`."""
        return align(shuffled(step), response_mask, self.settings, self.norm_by_std).advantages


def shuffled(step: StepBatch) -> StepBatch:
    """A batch with exchanged scores; it shares everything else, also ``results``, with the original."""
    scores, status = (step.columns[name] for name in (TURN_SCORES.name, TURN_STATUS.name))
    member = (status == SCORED).any(dim=1) & step.original & step.judged
    source = exchanged(member, step.comparison_group, torch.Generator().manual_seed(step.number))
    columns = step.columns | {TURN_SCORES.name: scores[source], TURN_STATUS.name: status[source]}
    return replace(step, columns=columns)

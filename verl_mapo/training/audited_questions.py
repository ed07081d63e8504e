# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Which validation questions are audited: the same ones at every validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verl_mapo.rewards.answers import truths_of
from verl_mapo.training.question_id import is_in_share, question_id


@dataclass(frozen=True)
class AuditedQuestions:
    """A share of the rows; see :attr:`verl_mapo.rollout.row_dataset.RowDataset.audited`.

    Attributes:
        share: see :class:`verl_mapo.rollout.swaps.AuditSettings`.
    """

    share: float

    def __call__(self, row: Mapping[str, Any]) -> str:
        """The first accepted answer of an audited row; empty for any other."""
        truth = row["reward_model"]["ground_truth"]
        identity = question_id(row.get("data_source"), row.get("index"), truth, row["raw_prompt"])
        return truths_of(truth)[0] if is_in_share(identity, self.share) else ""

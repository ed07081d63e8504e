# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Columns of a step whose log-probs under a changed view are given, and rows of scores drawn by hypothesis."""

from __future__ import annotations

import math
from typing import Any

import torch
from hypothesis import strategies as st

from support.fake_queue import jagged
from verl_mapo.columns import CHANGED_LOG_PROBS, Column

NAN = float("nan")

score_rows = st.lists(
    st.lists(st.one_of(st.just(NAN), st.integers(0, 64).map(lambda n: n / 16)), min_size=4, max_size=4),
    min_size=1,
    max_size=5,
)
"""Rows of four scores; NaN is a token without one."""


def k3(step: float) -> float:
    return math.exp(step) - step - 1


def viewed_fields(steps: list[list[float]], old: float = -1.0, column: Column = CHANGED_LOG_PROBS) -> dict[str, Any]:
    """Fields of rows of one prompt token: log q - log p of each response token, NaN for none."""
    # a log-prob lies one place before its token
    changed = jagged([torch.tensor([*[old + value for value in row], NAN]) for row in steps])
    return {"old_log_probs": jagged([torch.full((len(row),), old) for row in steps]), column.name: changed}


def scores_of(rows: list[list[float]]) -> tuple[torch.Tensor, torch.Tensor]:
    score = torch.tensor(rows)
    return score, ~score.isnan()
